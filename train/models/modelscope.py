"""Weights of ModelScope's text-to-video UNet, to and from our model.

The layout is that of diffusers' ``UNet3DConditionModel``: a folder with ``config.json`` and
``diffusion_pytorch_model.safetensors`` (or the ``unet`` folder of a pipeline). Our parameters have
the same names and shapes; what our model has beside them is listed in ``ADDED``.
"""

import json
from functools import partial
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from shards.errors import ConfigError
from shards.files import write_atomic
from train.config import VideoUNetConfig
from train.latents import load_pretrained

ADDED = ("camera.", "motion.", "joint.", "image.", "conv_in_image.", "conv_in_static.")
_ADDED_INSIDE = (".to_k_image.", ".to_v_image.")
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def is_added(name: str) -> bool:
    """Say whether a parameter is one that the text-to-video UNet lacks."""
    return name.startswith(ADDED) or any(part in name for part in _ADDED_INSIDE)


def load_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Take up a ``UNet3DConditionModel``'s weights; what is added stays as it is.

    Args:
        model: a ``VideoUNet`` of equal channels.
        weights: name -> tensor.
        where: they came from, for messages.

    Raises:
        ConfigError: if names or shapes differ, with the first of them.
    """
    own = model.state_dict()
    wanted = {name for name in own if not is_added(name)}
    for kind, names in (("lacks", wanted - set(weights)), ("has unknown", set(weights) - wanted)):
        if names:
            raise ConfigError(
                f"{where}: {kind} {len(names)} parameters, {min(names)!r} for one; expected a "
                "UNet3DConditionModel with model.channels, blocks, attention and text of this run"
            )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise ConfigError(
                f"{where}: {name} has shape {tuple(value.shape)}, the model "
                f"{tuple(own[name].shape)}; change model.* to those of its config.json"
            )
    model.load_state_dict(weights, strict=False)


def shared_weights(model: nn.Module) -> dict[str, Tensor]:
    """Give what a ``UNet3DConditionModel`` of the same size would hold."""
    state = model.state_dict().items()
    return {name: value.detach().contiguous() for name, value in state if not is_added(name)}


def load_published(model: nn.Module, name: str) -> None:
    """Load a folder in diffusers' layout, or published weights, the UNet's or a pipeline's.

    Raises:
        ConfigError: if there are none, or they do not fit.
    """
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

    loader = partial(UNet3DConditionModel.from_pretrained, low_cpu_mem_usage=False)
    load_weights(model, load_pretrained(loader, name, "unet", "unet").state_dict(), name)


def save_folder(model: nn.Module, config: VideoUNetConfig, folder: Path) -> None:
    """Write the weights that a ``UNet3DConditionModel`` has, with the config it needs.

    What our model has beside them is left out: it has no place there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(shared_weights(model), folder / _WEIGHTS)
    document = {"_class_name": "UNet3DConditionModel", **diffusers_config(config)}
    write_atomic(folder / "config.json", json.dumps(document, indent=2).encode())


def diffusers_config(config: VideoUNetConfig) -> dict[str, object]:
    """Give the arguments of a ``UNet3DConditionModel`` that computes the same.

    Raises:
        ConfigError: if no such model does.
    """
    differing = {
        "model.text": config.text is None,
        "model.scale_shift": config.scale_shift,
        "model.places": config.places,
        "model.zero_init": not config.zero_init,
        "model.temporal_convs": config.temporal_convs != 4,
        "model.embedding": config.embedding_width != 4 * config.channels[0],
    }
    if any(differing.values()):
        names = ", ".join(name for name, differs in differing.items() if differs)
        raise ConfigError(f"no UNet3DConditionModel has these settings: {names}")
    down = ["CrossAttnDownBlock3D" if a else "DownBlock3D" for a in config.attention]
    up = ["CrossAttnUpBlock3D" if a else "UpBlock3D" for a in reversed(config.attention)]
    inside = config.space_channels * config.patch**2
    return {
        "in_channels": inside,
        "out_channels": inside,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "cross_attention_dim": config.text,
        "attention_head_dim": config.head_width,
        "norm_num_groups": config.norm_groups,
    }
