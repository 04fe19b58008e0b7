"""Laws that every architecture keeps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.train.small import MODEL, all_kept, random_batch
from train.config import VideoUNetConfig
from train.models.api import CONDITIONS, Condition
from train.models.build import build_model
from train.models.video_unet import VideoUNet

ALL = MODEL.model_copy(update={"text": 12, "static": True, "clip": 6})
SKIP = MODEL.model_copy(update={"static": True, "static_skip": True, "patch": 2, "clip": 6})
MODELS = [
    ALL,
    SKIP,
    MODEL.model_copy(
        update={
            "patch": 2,
            "blocks": 2,
            "temporal_convs": 2,
            "scale_shift": True,
            "places": True,
            "zero_init": False,
        }
    ),
    VideoUNetConfig(
        channels=(8,), attention=(True,), head_width=8, norm_groups=2, image=8, temporal_convs=0
    ),
    VideoUNetConfig(
        channels=(8,), attention=(True,), head_width=8, norm_groups=2, image=None, text=12
    ),
]
LAST = {"camera": "camera.2", "motion": "motion.2", "static": "conv_in_static"}
STEP = torch.tensor([3, 999])


def awake(config: VideoUNetConfig) -> nn.Module:
    """Build a model whose zero-initialised layers are not zero."""
    model = build_model(config, 0)
    source = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.detach().eq(0).all():
            nn.init.normal_(parameter, std=0.05, generator=source)
    return model


@pytest.mark.parametrize("config", MODELS)
@pytest.mark.parametrize("step", [0, 999])
def test_output_has_the_shape_of_its_input_and_is_finite(
    config: VideoUNetConfig, step: int
) -> None:
    batch = random_batch()
    made = awake(config)(batch.orbit, torch.full((2,), step), all_kept(batch))
    assert made.shape == batch.orbit.shape
    assert made.isfinite().all()


@pytest.mark.parametrize("config", MODELS)
def test_every_parameter_gets_a_gradient(config: VideoUNetConfig) -> None:
    batch = random_batch(clips=3)
    keep = torch.ones(3, len(CONDITIONS), dtype=torch.bool)
    keep[1] = False  # dropped conditions have parameters too
    model = awake(config)
    model(
        batch.orbit, torch.tensor([3, 999, 400]), batch.conditions(keep)
    ).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.eq(0).all()]
    assert without == []


@pytest.mark.parametrize("config", MODELS)
def test_clips_of_a_batch_are_independent(config: VideoUNetConfig) -> None:
    model, batch, other = awake(config), random_batch(), random_batch(seed=1)
    mixed = batch.orbit.clone()
    mixed[1] = other.orbit[1]
    given, twin = all_kept(batch), all_kept(other)
    swapped = replace(
        given,
        image=torch.stack([given.image[0], twin.image[1]]),
        camera=torch.stack([given.camera[0], twin.camera[1]]),
        motion=torch.stack([given.motion[0], twin.motion[1]]),
        text=both(given.text, twin.text),
        static=both(given.static, twin.static),
        clip=both(given.clip, twin.clip),
    )
    torch.testing.assert_close(
        model(mixed, STEP, swapped)[0], model(batch.orbit, STEP, given)[0], atol=1e-5, rtol=1e-4
    )


def both(one: Tensor | None, other: Tensor | None) -> Tensor:
    assert one is not None
    assert other is not None
    return torch.stack([one[0], other[1]])


def changed(model: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Answer under two values of one condition."""
    batch = random_batch()
    given = all_kept(batch)
    other = replace(given, **{name: getattr(given, name) + 1})
    return model(batch.orbit, STEP, given), model(batch.orbit, STEP, other)


@pytest.mark.parametrize("name", sorted(LAST))
def test_an_untrained_condition_changes_nothing(name: str) -> None:
    model = awake(ALL)
    for parameter in model.get_submodule(LAST[name]).parameters():
        nn.init.zeros_(parameter)  # as the model is built
    torch.testing.assert_close(*changed(model, name), rtol=0, atol=0)


def test_an_untrained_image_changes_nothing_beside_text() -> None:
    model = awake(ALL)
    fresh = {name for name, value in build_model(ALL, 0).named_parameters() if value.eq(0).all()}
    added = {name for name in fresh if name.startswith(("image.whole.2", "conv_in_image"))}
    added |= {name for name in fresh if ".to_v_image." in name}
    assert len(added) == 7  # of four transformers, and three of the image's own
    for name in added:
        nn.init.zeros_(model.get_parameter(name))
    torch.testing.assert_close(*changed(model, "image"), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(LAST))
def test_conditions_are_built_with_a_zero_output(name: str) -> None:
    layer = build_model(ALL, 0).get_submodule(LAST[name])
    assert all(parameter.eq(0).all() for parameter in layer.parameters())


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_counts_until_it_is_dropped(name: Condition) -> None:
    model, batch = awake(ALL), random_batch()
    one, other = changed(model, name)
    assert not one.allclose(other, atol=1e-6)
    given = all_kept(batch)
    shifted = replace(given, **{name: getattr(given, name) + 1})
    torch.testing.assert_close(
        model(batch.orbit, STEP, given.without(name)),
        model(batch.orbit, STEP, shifted.without(name)),
        rtol=0,
        atol=0,
    )


def test_without_a_frozen_orbit_the_model_answers_as_if_it_were_dropped() -> None:
    model, batch = awake(ALL), random_batch()
    given = all_kept(batch)
    torch.testing.assert_close(
        model(batch.orbit, STEP, replace(given, static=None)),
        model(batch.orbit, STEP, given.without("static")),
    )


def test_a_skip_adds_the_frozen_orbit_where_it_is_kept() -> None:
    model, batch = build_model(SKIP, 0), random_batch()
    given = all_kept(batch)
    assert model(batch.orbit, STEP, given).eq(0).all()  # it starts at zero, as all outputs do
    assert given.static is not None
    with torch.no_grad():
        bias = model.get_parameter("static_skip.bias")
        bias[:3], bias[3:] = 2.0, -0.5
    made = model(batch.orbit, STEP, given)
    torch.testing.assert_close(made, 2 * given.static - 0.5)
    for none in (given.without("static"), replace(given, static=None)):
        assert model(batch.orbit, STEP, none).eq(0).all()


@pytest.mark.parametrize("config", [ALL, SKIP])
def test_clip_counts_as_the_image_until_that_is_dropped(config: VideoUNetConfig) -> None:
    model, batch = awake(config), random_batch()
    given = all_kept(batch)
    assert given.clip is not None
    other = replace(given, clip=given.clip.flip(1))
    answers = [model(batch.orbit, STEP, one) for one in (given, other)]
    assert not answers[0].allclose(answers[1], atol=1e-6)
    none = replace(given, clip=None)
    for one in (other, none):
        torch.testing.assert_close(
            model(batch.orbit, STEP, one.without("image")),
            model(batch.orbit, STEP, given.without("image")),
            rtol=0,
            atol=0,
        )


def test_recomputed_activations_give_the_same_gradients() -> None:
    batch, grads = random_batch(), []
    for recompute in (False, True):
        model = awake(ALL)
        assert isinstance(model, VideoUNet)
        model.recompute_activations(recompute)
        model(batch.orbit, STEP, all_kept(batch)).square().mean().backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    assert all(grads[0][name].equal(grad) for name, grad in grads[1].items())


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, same, other = (build_model(MODEL, seed).state_dict() for seed in (0, 0, 1))
    assert torch.random.get_rng_state().equal(state)
    assert all(one[name].equal(same[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)
