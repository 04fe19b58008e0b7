"""Held-out clips are sampled and scored while a model is trained, and training does not notice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train.small import CONFIG
from train.config import EvaluateConfig, TrainConfig
from train.loop import fit
from train.run import FitFolder, plan_fit
from train.watch import spread_over

SIZED = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"size": 16})})
SAMPLE = SIZED.sample.model_copy(update={"steps": 1, "w2": 0.5})  # no base here: w2 is left out


def watched(every_steps: int) -> TrainConfig:
    evaluate = EvaluateConfig(every_steps=every_steps, clips=1)
    return SIZED.model_copy(update={"evaluate": evaluate, "sample": SAMPLE})


def test_clips_are_spread_over_all() -> None:
    assert spread_over("abcdef", 3) == ("a", "c", "e")
    assert spread_over("ab", 3) == ("a", "b")
    assert spread_over((), 3) == ()


@pytest.mark.slow
def test_scores_and_a_sheet_are_logged_and_losses_stay_the_same(
    tiny_run: Path, tmp_path: Path
) -> None:
    losses: dict[int, list[float]] = {}
    for every in (0, 2):
        config, out = watched(every), tmp_path / str(every)
        reports = fit(plan_fit(config, tiny_run, out), tiny_run, out).reports
        losses[every] = [report.loss for report in reports]
    assert losses[0] == losses[2]
    log = EventAccumulator(str(FitFolder(tmp_path / "2").logs)).Reload()
    for name in ("psnr_db", "psnr_gain_over_frozen_db", "ssim", "m_error"):
        found = log.Scalars(f"held_out/{name}")
        assert [event.step for event in found] == [2, 4, 6]
        assert np.isfinite([event.value for event in found]).all()
    sheets = log.Images("held-out clips")
    assert [sheet.step for sheet in sheets] == [2, 4, 6]
    assert sheets[0].width > 6 * 96
    quiet = EventAccumulator(str(FitFolder(tmp_path / "0").logs)).Reload()
    assert not [tag for tag in quiet.Tags()["scalars"] if tag.startswith("held_out")]


@pytest.mark.slow
def test_without_held_out_clips_nothing_is_looked_at(tiny_run: Path, tmp_path: Path) -> None:
    config = watched(1)
    data = config.data.model_copy(update={"held_out_share": 0.0})
    plan = plan_fit(config.model_copy(update={"data": data}), tiny_run, tmp_path)
    assert not plan.split.held_out
    fit(replace(plan, config=plan.config.model_copy(update={"steps": 1})), tiny_run, tmp_path)
    log = EventAccumulator(str(FitFolder(tmp_path).logs)).Reload()
    assert "held-out clips" not in log.Tags()["images"]
