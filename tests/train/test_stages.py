"""Two stages: a base model of frozen orbits, and the 4D model that goes on from it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shards.errors import ConfigError, RunError
from tests.train.small import CONFIG, random_batch
from tests.train.test_cli import call
from train.checkpoint import load_checkpoint
from train.config import DropConfig, SampleConfig, TrainConfig
from train.loop import fit, start_weights
from train.models.modelscope import save_folder
from train.presets import preset
from train.run import FitFolder, plan_fit
from train.trained import Trained
from train.trainer import Trainer

CPU = torch.device("cpu")
SIZED = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"size": 16})})
BASE = SIZED.model_copy(
    update={
        "data": SIZED.data.model_copy(update={"sequences": ("static",)}),
        "drop": DropConfig(motion=1.0),
    }
)


@pytest.fixture(scope="module")
def base(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stages") / "base"
    fit(plan_fit(BASE, tiny_run, out), tiny_run, out)
    return out


def on(base: Path) -> TrainConfig:
    return SIZED.model_copy(update={"base": str(base)})


@pytest.mark.slow
def test_the_4d_model_starts_from_the_base_and_keeps_it(
    base: Path, tiny_run: Path, tmp_path: Path
) -> None:
    averaged = load_checkpoint(FitFolder(base).checkpoints).ema
    folder = FitFolder(tmp_path / "fit")
    folder.root.mkdir()
    trainer = Trainer(on(base), CPU, start_weights(on(base), folder))
    assert all(averaged[n].equal(value) for n, value in trainer.model.state_dict().items())
    fit(plan_fit(on(base), tiny_run, folder.root), tiny_run, folder.root)
    kept, trained = load_file(folder.base), load_checkpoint(folder.checkpoints).ema
    assert all(averaged[name].equal(kept[name]) for name in averaged)
    assert not all(averaged[name].equal(trained[name]) for name in averaged)


@pytest.mark.slow
def test_the_command_takes_a_base(tiny_run: Path, tmp_path: Path) -> None:
    sets = ["steps=1", "batch=2", "data.size=16", "data.frames=3", "sample.steps=1"]
    words = [word for setting in sets for word in ("--set", setting)]
    shown = call(
        "fit", "--preset", "tiny_base", "--data", tiny_run, "--out", tmp_path / "a", *words
    )
    assert "done: step 1 of 1" in shown
    words += ["--base", str(tmp_path / "a")]
    shown = call("fit", "--preset", "tiny", "--data", tiny_run, "--out", tmp_path / "b", *words)
    assert "done: step 1 of 1" in shown
    words = ["--data", str(tiny_run), "--out", str(tmp_path / "c"), "--set", "w2=0.5"]
    assert call("sample", "--fit", tmp_path / "b", *words).startswith("0 held-out clips: 2")
    refused = call("sample", "--fit", tmp_path / "a", *words)
    assert "w2 > 0 needs the frozen base model" in refused


@pytest.mark.slow
def test_w2_guides_away_from_the_base(base: Path, tiny_run: Path, tmp_path: Path) -> None:
    fit(plan_fit(on(base), tiny_run, tmp_path), tiny_run, tmp_path)
    trained = Trained.load(tmp_path)
    batch = random_batch(size=16)
    plain, guided = (
        trained.sample(batch, SampleConfig(steps=2, w2=w2), seed=0) for w2 in (0.0, 3.0)
    )
    assert not plain.allclose(guided, atol=1e-3)
    with pytest.raises(ConfigError, match="w2 > 0 needs the frozen base"):
        Trained.load(base).sample(batch, SampleConfig(steps=2, w2=0.5), seed=0)


@pytest.mark.slow
def test_dropped_conditions_do_not_reach_the_sample(base: Path) -> None:
    trained = Trained.load(base)
    one, other = random_batch(size=16), random_batch(size=16, seed=1)
    config = SampleConfig(steps=1, drop=("image", "camera", "motion", "static"))
    assert trained.sample(one, config, 0).equal(trained.sample(other, config, 0))


@pytest.mark.slow
def test_a_base_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    model = SIZED.model.model_copy(update={"blocks": 2})
    with pytest.raises(RunError, match="was trained with other settings of model"):
        start_weights(on(base).model_copy(update={"model": model}), FitFolder(tmp_path))


@pytest.mark.slow
def test_training_starts_from_published_weights(tmp_path: Path) -> None:
    config = SIZED.model_copy(
        update={
            "model": SIZED.model.model_copy(update={"text": 12, "embedding": None}),
            "unet": str(tmp_path),
        }
    )
    source = Trainer(config.model_copy(update={"unet": None, "seed": 5, "text": CONFIG.text}), CPU)
    save_folder(source.model, config.model, tmp_path)
    begun = Trainer(config, CPU).model.state_dict()
    assert begun["conv_in.weight"].equal(source.model.state_dict()["conv_in.weight"])


@pytest.mark.parametrize("name", ["tiny", "small", "full"])
def test_presets_come_in_pairs_that_fit(name: str) -> None:
    base, four = preset(f"{name}_base"), preset(name)
    assert base.data.sequences == ("static",)
    assert base.drop.motion == 1.0
    for part in ("model", "latents", "text", "noise"):
        assert getattr(base, part) == getattr(four, part)
