"""CLIP's embedding of the reference image as a condition: a small encoder of random weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shards.errors import ConfigError
from tests.train.small import CONFIG, random_batch
from tests.train.test_perceptual import make_clip
from train.config import ImageConfig, SampleConfig, TrainConfig
from train.latents import PixelSpace
from train.loop import fit
from train.perceptual import open_clip
from train.run import plan_fit
from train.trained import Trained

CPU = torch.device("cpu")


def seeing(encoder: Path) -> TrainConfig:
    return CONFIG.model_copy(
        update={
            "data": CONFIG.data.model_copy(update={"size": 16}),
            "model": CONFIG.model.model_copy(update={"clip": 8}),
            "image": ImageConfig(encoder=str(encoder)),
            "optim": CONFIG.optim.model_copy(update={"lr": 0.02}),
        }
    )


@pytest.mark.slow
def test_a_model_learns_and_samples_with_clip(tiny_run: Path, tmp_path: Path) -> None:
    config = seeing(make_clip(tmp_path / "clip"))
    plan = plan_fit(config, tiny_run, tmp_path / "fit")
    assert fit(plan, tiny_run, tmp_path / "fit").finished
    trained = Trained.load(tmp_path / "fit")
    assert trained.clip is not None
    batch = random_batch(size=16)
    one = trained.sample(batch, SampleConfig(steps=1), seed=0)
    bare = replace(trained, clip=None).sample(
        replace(batch, clip=None), SampleConfig(steps=1), seed=0
    )
    assert not one.allclose(bare, atol=1e-4)


@pytest.mark.slow
def test_clip_sees_images_also_where_the_model_works_on_latents(tmp_path: Path) -> None:
    class Doubled(PixelSpace):
        def decode(self, inside: torch.Tensor) -> torch.Tensor:
            return inside / 2

    encoder = open_clip(str(make_clip(tmp_path)), 8, CPU)
    batch = replace(random_batch(), clip=None)
    inside = replace(batch, image=batch.image * 2, encoded=True)
    seen = batch.seen_by(encoder, PixelSpace()).clip
    assert seen is not None
    assert seen.shape == (2, 8)
    torch.testing.assert_close(inside.seen_by(encoder, Doubled()).clip, seen)


@pytest.mark.slow
def test_an_encoder_of_another_width_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use --set model\.clip=8"):
        open_clip(str(make_clip(tmp_path)), 16, CPU)


def test_model_and_encoder_go_together() -> None:
    with pytest.raises(ConfigError, match=r"give both"):
        TrainConfig.build({}, ["model.clip=8"])
    with pytest.raises(ConfigError, match=r"give both"):
        TrainConfig.build({}, ["image.encoder=somewhere"])
    assert open_clip(None, None, CPU) is None
