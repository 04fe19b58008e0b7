"""Our UNet against diffusers' UNet3DConditionModel, which is its specification."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shards.errors import ConfigError
from train.config import VideoUNetConfig
from train.models.api import Conditions, all_conditions
from train.models.build import build_model
from train.models.modelscope import (
    diffusers_config,
    is_added,
    load_published,
    load_weights,
    save_folder,
    shared_weights,
)
from train.presets import MODELS

SMALL = VideoUNetConfig(
    space_channels=4,
    channels=(16, 32),
    attention=(True, False),
    blocks=2,
    head_width=8,
    norm_groups=8,
    text=24,
    image=12,
    static=True,
)

pytestmark = pytest.mark.slow  # diffusers alone takes seconds to import


def theirs(config: VideoUNetConfig) -> Any:
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

    return UNet3DConditionModel(**diffusers_config(config))  # pyright: ignore[reportArgumentType]


def shaken(model: nn.Module, only_shared: bool = False) -> nn.Module:
    """Give all weights values that count, layers that start at zero too."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not (only_shared and is_added(name)):
                spread = 0.3 / max(1, parameter[0].numel()) ** 0.5
                parameter.add_(torch.randn(parameter.shape, generator=source) * spread)
    return model.eval()


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Conditions]:
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source)

    given = Conditions(
        image=normal(2, 4, 8, 8),
        camera=normal(2, 3, 4, 4),
        motion=normal(2),
        keep=all_conditions(2),
        text=normal(2, 5, 24),
        text_null=normal(2, 5, 24),
        static=normal(2, 3, 4, 8, 8),
    )
    return normal(2, 3, 4, 8, 8), torch.tensor([3, 900]), given


@torch.no_grad()
def answer_of(peer: Any, noisy: Tensor, step: Tensor, text: Tensor | None) -> Tensor:
    return peer(noisy.transpose(1, 2), step, text, return_dict=False)[0].transpose(1, 2)


@torch.no_grad()
def test_their_weights_give_their_answers_with_every_condition_present() -> None:
    peer = shaken(theirs(SMALL))
    model = build_model(SMALL, 0).eval()
    load_weights(model, peer.state_dict(), "random weights")
    noisy, step, given = inputs()
    expected = answer_of(peer, noisy, step, given.text)
    assert expected.std() > 0.05
    torch.testing.assert_close(model(noisy, step, given), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_our_weights_give_our_answers_in_diffusers(tmp_path: Path) -> None:
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

    model = shaken(build_model(SMALL, 0), only_shared=True)
    save_folder(model, SMALL, tmp_path / "unet")
    peer: Any = UNet3DConditionModel.from_pretrained(str(tmp_path / "unet")).eval()
    noisy, step, given = inputs()
    expected = model(noisy, step, given)
    assert expected.std() > 0.05
    torch.testing.assert_close(
        answer_of(peer, noisy, step, given.text), expected, atol=2e-5, rtol=1e-4
    )


def test_a_folder_comes_back(tmp_path: Path) -> None:
    model, other = shaken(build_model(SMALL, 0)), build_model(SMALL, 1)
    save_folder(model, SMALL, tmp_path / "unet")
    load_published(other, str(tmp_path))
    mine = shared_weights(model)
    assert mine.keys() == load_file(tmp_path / "unet/diffusion_pytorch_model.safetensors").keys()
    assert all(mine[name].equal(value) for name, value in shared_weights(other).items())
    assert json.loads((tmp_path / "unet/config.json").read_bytes())["cross_attention_dim"] == 24


def test_gradients_agree_with_diffusers() -> None:
    peer = shaken(theirs(SMALL))
    model = build_model(SMALL, 0).eval()
    load_weights(model, peer.state_dict(), "random weights")
    noisy, step, given = inputs()
    peer(noisy.transpose(1, 2), step, given.text, return_dict=False)[0].square().sum().backward()
    model(noisy, step, given).square().sum().backward()
    for name, parameter in peer.named_parameters():
        grad = model.get_parameter(name).grad
        assert grad is not None, name
        assert parameter.grad is not None, name
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(grad, parameter.grad, atol=1e-4 * scale + 1e-6, rtol=1e-3)


def test_full_has_the_names_and_shapes_of_modelscopes_unet() -> None:
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

    with torch.device("meta"):
        published: Any = UNet3DConditionModel()  # its defaults are that model
        model = build_model(MODELS["full"], 0)
    ours = {name: value.shape for name, value in model.state_dict().items() if not is_added(name)}
    assert ours == {name: value.shape for name, value in published.state_dict().items()}
    assert diffusers_config(MODELS["full"])["attention_head_dim"] == 64


def test_weights_of_another_size_are_refused_by_name() -> None:
    model = build_model(SMALL, 0)
    weights = shared_weights(model)
    wrong = weights | {"conv_in.weight": torch.zeros(1, 2, 3, 3)}
    with pytest.raises(ConfigError, match=r"x: conv_in.weight has shape \(1, 2, 3, 3\)"):
        load_weights(model, wrong, "x")
    with pytest.raises(ConfigError, match="has unknown 1 parameters, 'more'"):
        load_weights(model, weights | {"more": torch.zeros(1)}, "x")
    del weights["conv_in.bias"]
    with pytest.raises(ConfigError, match=r"lacks 1 parameters, 'conv_in\.bias'"):
        load_weights(model, weights, "x")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unet '.*': none there .*or a published name"):
        load_published(build_model(SMALL, 0), str(tmp_path))


def test_settings_without_a_twin_are_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.scale_shift, model\.places, model\.zero_init"):
        diffusers_config(
            SMALL.model_copy(update={"scale_shift": True, "places": True, "zero_init": False})
        )
