"""Latents: published autoencoders' and our own, on the fly and kept as shards."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shards.check import check_run
from shards.errors import ConfigError, RunError
from shards.read import SampleReader
from shards.tombstones import add_tombstones
from tests.make_shards import make_run
from tests.train.small import CONFIG, random_batch
from tests.train.test_cli import call
from train.autoencoder import AutoencoderConfig, train_autoencoder
from train.config import DataConfig, LatentConfig, TrainConfig
from train.data import open_clips, stacked
from train.encoded import encode_run, encoder_of
from train.latents import LatentSpace, PixelSpace, open_space
from train.loop import fit
from train.run import plan_fit
from train.trainer import Trainer

pytestmark = pytest.mark.slow  # diffusers alone takes seconds to import
CPU = torch.device("cpu")
SMALL = AutoencoderConfig(
    size=16, channels=(8, 16), norm_groups=4, steps=150, batch=8, latent_channels=4, lr=3e-3
)


@pytest.fixture(scope="module")
def autoencoder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("autoencoder") / "vae"
    steps = list(train_autoencoder(tiny_run, out, SMALL))
    assert [step.step for step in steps] == list(range(1, 151))
    assert sum(s.l1 for s in steps[-5:]) < 0.4 * sum(s.l1 for s in steps[:5])
    return out


@pytest.fixture
def latent_config(autoencoder: Path) -> TrainConfig:
    model = CONFIG.model.model_copy(update={"space_channels": 4})
    return CONFIG.model_copy(
        update={
            "data": CONFIG.data.model_copy(update={"size": 16}),
            "model": model,
            "latents": LatentConfig(autoencoder=str(autoencoder)),
        }
    )


def test_pixels_are_left_as_they_are() -> None:
    images = random_batch().orbit
    space = PixelSpace()
    assert space.decode(space.encode(images)).equal(images)
    assert random_batch().inside(space).orbit.equal(images)


def test_our_autoencoder_is_diffusers_and_its_latents_are_standardised(
    autoencoder: Path, tiny_run: Path
) -> None:
    space = open_space(LatentConfig(autoencoder=str(autoencoder)), CPU)
    clips = open_clips(tiny_run, DataConfig(size=16, frames=6), 0)
    batch = stacked([clips[i] for i in range(12)])
    inside = space.encode(batch.orbit)
    assert inside.shape == (12, 6, 4, 8, 8)
    assert float(inside.mean()) == pytest.approx(0, abs=0.3)
    assert float(inside.std()) == pytest.approx(1, abs=0.3)
    made = space.decode(inside)
    assert (made - batch.orbit).abs().mean() < 0.5 * (1 - batch.orbit).abs().mean()


def test_latents_follow_the_published_scaling() -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    model: Any = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, scaling_factor=0.18215)
    space = LatentSpace(model, 2)
    images = random_batch(clips=1, frames=3).orbit
    with torch.no_grad():
        expected = model.encode(images[0]).latent_dist.mean * 0.18215
        back = model.decode(expected / 0.18215).sample.clamp(-1, 1)
    torch.testing.assert_close(space.encode(images)[0], expected)
    torch.testing.assert_close(space.decode(expected[None])[0], back)


def test_an_autoencoder_is_found_in_a_pipelines_folder(autoencoder: Path, tmp_path: Path) -> None:
    shutil.copytree(autoencoder, tmp_path / "pipeline" / "vae")
    one, other = (
        open_space(LatentConfig(autoencoder=str(path)), CPU)
        for path in (autoencoder, tmp_path / "pipeline")
    )
    assert one.identity == other.identity


def test_a_missing_autoencoder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"latents\.autoencoder '.*empty': none there"):
        open_space(LatentConfig(autoencoder=str(tmp_path / "empty")), CPU)


def test_kept_latents_train_as_latents_made_on_the_fly(
    tiny_run: Path, latent_config: TrainConfig, tmp_path: Path
) -> None:
    data, latents = latent_config.data, latent_config.latents
    *_, done = encode_run(tiny_run, tmp_path / "encoded", data, latents, target_mb=0.002)
    assert (done.samples, done.already) == (12, 0)
    assert check_run(tmp_path / "encoded").all_faults() == []
    trainer = Trainer(latent_config, CPU)
    clips = [open_clips(run, data, 0) for run in (tiny_run, tmp_path / "encoded")]
    fly, kept = (stacked([part[i] for i in (0, 5)]).inside(trainer.space) for part in clips)
    assert fly.keys == kept.keys
    for name in ("orbit", "static", "image", "motion", "camera"):
        torch.testing.assert_close(getattr(fly, name), getattr(kept, name), atol=4e-3, rtol=2e-3)
    one = trainer.step(stacked([clips[0][i] for i in (0, 5)])).loss
    other = Trainer(latent_config, CPU).step(kept).loss
    assert one == pytest.approx(other, rel=1e-2)
    result = fit(
        plan_fit(latent_config, tmp_path / "encoded", tmp_path / "fit"),
        tmp_path / "encoded",
        tmp_path / "fit",
    )
    assert result.finished


def test_encoding_goes_on_where_it_was_stopped(latent_config: TrainConfig, tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "encoded"
    add_tombstones(run, {"blob03-002": "asked to"})
    for done in encode_run(run, out, latent_config.data, latent_config.latents, 0.002):
        if done.samples == 5:
            break
    *_, done = encode_run(run, out, latent_config.data, latent_config.latents, 0.002)
    assert done.samples + done.already == 11
    assert 0 < done.already <= 5
    keys = SampleReader(out).column("key")
    assert sorted(keys) == [key for key in sorted(SampleReader(run).column("key"))][:11]
    *_, again = encode_run(run, out, latent_config.data, latent_config.latents, 0.002)
    assert (again.samples, again.already) == (0, 11)


def test_latents_of_another_autoencoder_are_refused(
    tiny_run: Path, latent_config: TrainConfig, tmp_path: Path
) -> None:
    out = tmp_path / "encoded"
    assert list(encode_run(tiny_run, out, latent_config.data, latent_config.latents))
    other = tmp_path / "other"
    assert list(train_autoencoder(tiny_run, other, SMALL.model_copy(update={"steps": 1})))
    mine = encoder_of(SampleReader(out).read(0)[0])
    with pytest.raises(RunError, match=f"holds latents of autoencoder {mine}, asked for"):
        next(encode_run(tiny_run, out, latent_config.data, LatentConfig(autoencoder=str(other))))
    wrong = latent_config.model_copy(update={"latents": LatentConfig(autoencoder=str(other))})
    with pytest.raises(RunError, match=f"holds latents of autoencoder {mine}, the settings"):
        fit(plan_fit(wrong, out, tmp_path / "fit"), out, tmp_path / "fit")


def test_the_losses_are_of_latents(latent_config: TrainConfig) -> None:
    config = latent_config.model_copy(
        update={"loss": latent_config.loss.model_copy(update={"motion_weight": 1.0})}
    )
    trainer = Trainer(config, CPU)
    batch = random_batch(size=16)
    assert trainer.step(batch).motion > 0
    still = replace(batch, static=batch.orbit)
    motion_of_still = trainer.space.encode(still.orbit) - trainer.space.encode(still.static)
    assert motion_of_still.eq(0).all()


def test_channels_that_do_not_fit_are_named(latent_config: TrainConfig) -> None:
    model = latent_config.model.model_copy(update={"space_channels": 3})
    with pytest.raises(ConfigError, match=r"has 4 channels, model\.space_channels is 3"):
        Trainer(latent_config.model_copy(update={"model": model}), CPU)


def test_the_commands_make_an_autoencoder_and_encode_with_it(
    tiny_run: Path, tmp_path: Path
) -> None:
    vae, encoded = tmp_path / "vae", tmp_path / "encoded"
    sets = ["size=16", "channels=[8,16]", "norm_groups=4", "steps=2", "batch=4"]
    words = ["autoencoder", "--data", tiny_run, "--out", vae]
    shown = call(*words, *(word for setting in sets for word in ("--set", setting)))
    assert shown.startswith("0 done: L1 ")
    assert call(*words).startswith(f"1 error: {vae}: exists already")
    words = ["encode", "--data", tiny_run, "--autoencoder", vae, "--size", "16", "--out", encoded]
    assert call(*words).startswith("0 encoded 12 samples (0.2 MB), 0 were there")
    assert call(*words).startswith("0 encoded 0 samples (0.0 MB), 12 were there")
    fit_words = ["fit", "--data", encoded, "--out", tmp_path / "fit", "--preset", "tiny"]
    settings = ["steps=2", "batch=2", "data.size=16", "data.frames=3", "model.space_channels=4"]
    settings += [f"latents.autoencoder={vae}", "model.patch=1", "sample.steps=2"]
    shown = call(*fit_words, *(word for setting in settings for word in ("--set", setting)))
    assert "done: step 2 of 2" in shown
    shown = call("sample", "--fit", tmp_path / "fit", "--data", encoded, "--out", tmp_path / "o")
    assert shown.startswith("0 held-out clips: 2")
