"""Training on Ray: the same loop, the same bits, and new ranks for lost ones."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from shards.errors import ConfigError, MachineError, Orbit4dError
from tests.train.fit_job import BASE
from tests.train.jobs import run
from train.checkpoint import checkpoint_steps
from train.config import TrainConfig
from train.loop import FitResult
from train.on_ray import _ours, fit_on_ray  # pyright: ignore[reportPrivateUsage]
from train.ranks import RankLost, TrainingError
from train.run import FitFolder, plan_fit


def on_a_ray(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that starts Ray, which warns of settings of its own."""
    for mark in (
        pytest.mark.ray,
        pytest.mark.slow,
        pytest.mark.timeout(600),
        pytest.mark.filterwarnings("default"),
    ):
        test = mark(test)
    return test


@pytest.fixture(autouse=True)
def _own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def on_ray(data: Path, out: Path, *sets: str) -> FitResult:
    config = TrainConfig.build(BASE.model_dump(mode="json"), list(sets))
    return fit_on_ray(plan_fit(config, data, out), data, out, workers=2)


def ranks_of_ray() -> list[psutil.Process]:
    """Find them among what this process has started."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "TrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


@contextlib.contextmanager
def killed_after(out: Path, step: int) -> Iterator[list[int]]:
    """Kill one rank as soon as there is a checkpoint of a step; gives the ids of those killed."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            steps = checkpoint_steps(FitFolder(out).checkpoints)
            if steps and steps[-1] >= step:
                victim = ranks_of_ray()[0]
                killed.append(victim.pid)
                victim.kill()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def same_bits(one: Path, other: Path, step: int) -> bool:
    folders = (FitFolder(fit).checkpoints / f"step-{step:06d}" for fit in (one, other))
    names = ("model.safetensors", "ema.safetensors")
    first, second = ([(folder / name).read_bytes() for name in names] for folder in folders)
    return first == second


@on_a_ray
@pytest.mark.parametrize(
    ("steps", "killed"), [(6, False), pytest.param(12, True, marks=pytest.mark.long)]
)
def test_ranks_on_ray_end_with_the_bits_of_torchrun_also_where_one_is_killed(
    tiny_run: Path, tmp_path: Path, steps: int, killed: bool
) -> None:
    sets, out = (f"steps={steps}",), tmp_path / "ray"
    run(tiny_run, tmp_path / "plain", 2, *sets)
    with killed_after(out, 4 if killed else steps + 1) as victims, capture_logs() as told:
        result = on_ray(tiny_run, out, *sets)
    assert len(victims) == killed
    assert (result.steps_done, result.finished, result.skipped) == (steps, True, {})
    events = [line for line in told if line["event"] == "ranks were lost, starting anew"]
    assert len(events) == killed
    assert all(4 <= event["after_step"] < steps for event in events)
    assert same_bits(out, tmp_path / "plain", steps)
    assert not list(out.glob(".ray-*"))


@on_a_ray
@pytest.mark.long
def test_what_would_fail_again_is_not_tried_again(tiny_run: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        capture_logs() as told,
        pytest.raises(TrainingError, match=r"step \d+: the (loss|gradient norm) is .* on clips"),
    ):
        on_ray(tiny_run, tmp_path, "optim.lr=1e30", "optim.warmup_steps=0", "steps=50")
    assert not told
    assert time.monotonic() - began < 100
    with pytest.raises(ConfigError, match=r"--ray-workers 1000: each takes a CPU, and the Ray .*"):
        fit_on_ray(plan_fit(BASE, tiny_run, tmp_path / "2"), tiny_run, tmp_path / "2", workers=1000)


class Wrapped(Exception):
    """As Ray hands over what ranks raised."""

    def __init__(self, base: BaseException) -> None:
        super().__init__("Traceback: ...")
        self._base_exc = base


class Failed(Exception):
    def __init__(self, failures: dict[int, BaseException]) -> None:
        super().__init__("Training failed due to worker errors:\n...")
        self.worker_failures = failures


@pytest.mark.parametrize(
    ("failures", "kind", "text"),
    [
        ({0: Wrapped(RankLost("rank 1 is gone")), 1: OSError("died")}, RankLost, "rank 1 is gone"),
        ({0: Wrapped(RankLost("gone")), 1: Wrapped(MachineError("full"))}, MachineError, "full"),
        ({1: OSError("it died\nof something")}, RankLost, r"rank 1: OSError: it died\."),
        ({0: Wrapped(ValueError("odd"))}, RankLost, "rank 0: ValueError: odd"),
        ({}, TrainingError, "training on Ray failed: Failed: Training failed due"),
    ],
)
def test_what_ranks_said_is_found(
    failures: dict[int, BaseException], kind: type[Orbit4dError], text: str
) -> None:
    found = _ours(Failed(failures))
    assert type(found) is kind
    with pytest.raises(kind, match=text):
        raise found
