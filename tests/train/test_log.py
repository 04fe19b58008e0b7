"""What a run writes down on the way, and how much damage it bears."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shards.errors import ConfigError
from tests.make_shards import make_run
from tests.train.small import CONFIG
from train.config import FaultConfig, LogConfig, TrainConfig
from train.log import TrainLog
from train.loop import FitResult, fit
from train.ranks import Ranks, TrainingError
from train.report import StepReport
from train.run import FitFolder, plan_fit

CPU = Ranks(torch.device("cpu"))
QUICK = {"log_every_steps": 2, "log": LogConfig(buckets=2)}


def report(step: int, *clips: tuple[int, float], skipped: bool = False) -> StepReport:
    loss = sum(value for _, value in clips) / len(clips)
    return StepReport(step, loss, loss, 0.0, 1.0, 1e-3, skipped, clips)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


def test_means_are_over_the_steps_between_entries_without_those_skipped(tmp_path: Path) -> None:
    with TrainLog(tmp_path, 0, CONFIG.model_copy(update=QUICK), CPU, clip_flops=3e12) as log:
        log.step(report(1, (0, 9.0), (999, 9.0)), 0.0, 0)
        log.step(report(2, (499, 1.0), (500, 2.0)), 0.1, 0)
        log.step(report(3, (0, float("nan")), (0, 1.0), skipped=True), 0.0, 1)
        log.step(report(4, (10, 3.0), (20, 5.0)), 0.0, 1)
    told = scalars(tmp_path)
    assert told["loss/total"] == pytest.approx({1: 9.0, 2: 1.5, 4: 4.0})
    assert told["loss_by_noise_step/0000-0499"] == pytest.approx({1: 9.0, 2: 1.0, 4: 4.0})
    assert told["loss_by_noise_step/0500-0999"] == pytest.approx({1: 9.0, 2: 2.0})
    assert told["faults/skipped_steps"] == {1: 0, 2: 0, 4: 1}
    assert told["faults/broken_samples"][4] == 1
    speed = told["speed/samples_per_s"][4]
    assert told["speed/tflop_per_s"][4] == pytest.approx(3 * speed, rel=1e-5)
    assert told["memory/peak_gb"][4] > 0.1
    assert "speed/mfu" not in told  # a CPU has no peak that is known


@pytest.mark.parametrize("done", [0, 2])
def test_steps_that_a_killed_run_had_logged_stand_once(tmp_path: Path, done: int) -> None:
    for start in (0, done):
        with TrainLog(tmp_path, start, CONFIG, CPU) as log:
            for step in range(start + 1, 5):
                log.scalars({"a": float(start)}, step)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("a")
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert [event.value for event in events][done:] == [done] * (4 - done)


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with TrainLog(tmp_path, 0, CONFIG, Ranks(CPU.device, rank=1)) as log:
        log.scalars({"a": 1.0}, 1)
    assert not list(tmp_path.iterdir())


class FakeWandb(ModuleType):
    """Takes what wandb.init is given; the real one was tried offline, and is no dependency."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[dict[str, Any]] = []
        self.ends: list[int] = []

    def init(self, **given: Any) -> "FakeWandb":
        self.runs.append(given)
        return self

    def finish(self, exit_code: int) -> None:
        self.ends.append(exit_code)


def test_calls_that_go_on_are_one_run_at_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = CONFIG.model_copy(update={"log": LogConfig(wandb="orbits")})
    with TrainLog(tmp_path / "fit" / "logs", 0, config, CPU):
        pass
    with (
        pytest.raises(KeyboardInterrupt),
        TrainLog(tmp_path / "fit" / "logs", 3, config, CPU),
    ):
        raise KeyboardInterrupt
    first, second = fake.runs
    assert (first["project"], first["name"], first["resume"]) == ("orbits", "fit", "allow")
    assert first["sync_tensorboard"]
    assert first["id"] == second["id"]
    assert fake.ends == [0, 1]


def test_a_missing_wandb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = CONFIG.model_copy(update={"log": LogConfig(wandb="orbits")})
    with pytest.raises(ConfigError, match=r"log.wandb is 'orbits', but the package is not here"):
        TrainLog(tmp_path, 0, config, CPU)


@pytest.fixture
def broken_run(tmp_path: Path) -> Path:
    """Give a RUN with two samples whose bytes are not those that were written."""
    run = make_run(tmp_path / "run", assets=2, clips=3, frames=3, size=8)
    for shard in (run / "shards").glob("*.tar"):
        data = bytearray(shard.read_bytes())
        for name in (b"blob00-001.static.rgba", b"blob01-002.static.rgba"):
            if (at := data.find(name)) >= 0:
                data[at + 600] ^= 0xFF  # behind the tar header
        shard.write_bytes(data)
    return run


def fit_broken(run: Path, out: Path, **settings: Any) -> FitResult:
    few = {"held_out_share": 0.0, "size": 8, "frames": 3}
    data = CONFIG.data.model_copy(update=few)
    config = TrainConfig.model_validate(
        CONFIG.model_copy(update={"data": data, **settings}).model_dump()
    )
    return fit(plan_fit(config, run, out), run, out)


@pytest.mark.slow
def test_broken_samples_are_passed_over_and_named(broken_run: Path, tmp_path: Path) -> None:
    result = fit_broken(broken_run, tmp_path / "fit")
    assert (result.finished, sorted(result.broken)) == (True, ["blob00-001", "blob01-002"])
    assert "sha256" in result.broken["blob00-001"]
    told = scalars(FitFolder(tmp_path / "fit").logs)
    assert told["faults/broken_samples"][1] <= 2


@pytest.mark.slow
def test_more_broken_samples_than_allowed_stop_the_run(broken_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"2 samples are broken, more than .*broken_max=1"):
        fit_broken(broken_run, tmp_path / "fit", faults=FaultConfig(broken_max=1))
