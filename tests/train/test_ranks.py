"""Training on several ranks: real processes, gloo between them."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from shards.errors import ConfigError
from tests.train.fit_job import EXIT, rank
from tests.train.small import CONFIG
from train.checkpoint import load_checkpoint
from train.config import ParallelConfig
from train.ranks import open_ranks
from train.run import FitFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FSDP, DDP = "parallel.strategy=fsdp", "parallel.strategy=ddp"


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.train.fit_job"])  # importing takes longer than the runs


@dataclass
class Job:
    """The processes of one call, one per rank."""

    ranks: list[ForkServerProcess]
    out: Path

    def wait(self, timeout_s: float = 300) -> list[int | None]:
        for process in self.ranks:
            process.join(timeout_s)
        return [process.exitcode for process in self.ranks]

    def errors(self) -> list[str]:
        return [told_by(self.out, rank).read_text() for rank in range(len(self.ranks))]

    def kill(self) -> None:
        for process in self.ranks:
            process.kill()
        self.wait()


def told_by(out: Path, rank: int) -> Path:
    return out.with_name(f"{out.name}.rank{rank}")


def start(data: Path, out: Path, world: int, *sets: str, fault: str = "") -> Job:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    out.mkdir(exist_ok=True)
    job = Job([], out)
    for number in range(world):
        own = {"RANK": str(number), "LOCAL_RANK": str(number), "FAULT": fault}
        words = [str(data), str(out), *sets]
        told = str(told_by(out, number))
        job.ranks.append(FORKS.Process(target=rank, args=(words, {**shared, **own}, told)))
        job.ranks[-1].start()
    return job


def run(data: Path, out: Path, world: int, *sets: str, fault: str = "", status: int = 0) -> Path:
    job = start(data, out, world, *sets, fault=fault)
    assert job.wait() == [status] * world, job.errors()
    return out


def steps(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]


def until(job: Job, lines: int, timeout_s: float = 300) -> None:
    """Wait for rank 0 to have done some steps."""
    end = time.monotonic() + timeout_s
    while not (job.out / "steps.jsonl").exists() or len(steps(job.out)) < lines:
        assert time.monotonic() < end, job.errors()
        assert all(process.is_alive() for process in job.ranks), job.errors()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tiny_run, tmp_path_factory.mktemp("ranks") / "alone", 1)


def same_samples_near_losses(out: Path, alone: Path) -> None:
    assert [line["keys"] for line in steps(out)] == [line["keys"] for line in steps(alone)]
    losses, expected = ([line["loss"] for line in steps(run)] for run in (out, alone))
    assert losses == pytest.approx(expected, rel=1e-4)
    one, other = (load_checkpoint(FitFolder(run).checkpoints).ema for run in (out, alone))
    assert max(float((one[n] - v).abs().max()) for n, v in other.items()) < 1e-4


@pytest.mark.parametrize(
    "sets", [(DDP, "parallel.accumulate=3"), (FSDP, "parallel.recompute=true")]
)
def test_how_a_step_is_spread_changes_no_sample_and_hardly_a_loss(
    alone: Path, tiny_run: Path, tmp_path: Path, sets: tuple[str, ...]
) -> None:
    same_samples_near_losses(run(tiny_run, tmp_path / "two", 2, *sets), alone)


@pytest.mark.long
def test_a_run_goes_on_at_other_ranks_and_another_strategy(
    alone: Path, tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mixed"
    run(tiny_run, out, 2, FSDP, fault="exit:3", status=EXIT)  # step 3 is done, and not saved
    run(tiny_run, out, 1, fault="exit:5", status=EXIT)
    run(tiny_run, out, 2, DDP, "checkpoint.background=true")
    told = steps(out)
    assert [line["step"] for line in told] == [1, 2, 3, 3, 4, 5, 5, 6]
    last = {line["step"]: line for line in told}
    (out / "steps.jsonl").write_text("\n".join(json.dumps(last[step]) for step in sorted(last)))
    same_samples_near_losses(out, alone)


@pytest.mark.parametrize(
    ("strategy", "delays_s"),
    [(DDP, [0.05]), pytest.param(FSDP, [0.0, 0.12], marks=pytest.mark.long)],
)
def test_killed_at_any_moment_and_resumed_gives_the_same_bits(
    tiny_run: Path, tmp_path: Path, strategy: str, delays_s: list[float]
) -> None:
    sets = (strategy, "steps=12", "checkpoint.background=true")
    whole = steps(run(tiny_run, tmp_path / "whole", 2, *sets))
    out = tmp_path / "killed"
    for delay_s in delays_s:  # a step with its checkpoint takes about 0.1 s
        job = start(tiny_run, out, 2, *sets)
        until(job, len(steps(out)) + 2 if (out / "steps.jsonl").exists() else 2)
        time.sleep(delay_s)
        job.kill()
    run(tiny_run, out, 2, *sets)
    expected = {line["step"]: line for line in whole}
    assert len(expected) == 12
    told = steps(out)
    assert {line["step"] for line in told} == set(expected)
    assert all(line == expected[line["step"]] for line in told)  # losses to the bit, and keys
    one, other = (load_checkpoint(FitFolder(tmp_path / n).checkpoints) for n in ("whole", "killed"))
    assert all(other.ema[name].equal(value) for name, value in one.ema.items())


def test_all_ranks_stop_over_one_that_is_not_finite(tiny_run: Path, tmp_path: Path) -> None:
    job = start(tiny_run, tmp_path / "nan", 2, fault="nan:3")
    assert job.wait() == [1, 1]
    run(tiny_run, tmp_path / "skip", 2, FSDP, "faults.nonfinite=skip", fault="nan:3")
    last = steps(tmp_path / "skip")[2]["keys"][-1]
    assert all(f"step 3: the loss is nan on clips {last}. N" in told for told in job.errors())
    losses = [line["loss"] for line in steps(tmp_path / "skip")]
    assert [loss == loss for loss in losses] == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (signal.SIGKILL, r"rank 1 (HOST, process PID) was lost"),
        pytest.param(
            signal.SIGSTOP,
            r"rank 1 (HOST, process PID) was lost: silent for",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_lost_rank_is_named(
    tiny_run: Path, tmp_path: Path, how: signal.Signals, sentence: str
) -> None:
    job = start(tiny_run, tmp_path / "lost", 2, "steps=100000", "parallel.timeout_s=15")
    until(job, 3)
    assert job.ranks[1].pid is not None
    os.kill(job.ranks[1].pid, how)
    began = time.monotonic()
    job.ranks[0].join(100)
    job.ranks[1].kill()
    assert job.ranks[0].exitcode == 1
    assert time.monotonic() - began < 60
    told = job.errors()[0]
    sentence = sentence.replace("HOST", socket.gethostname())
    assert sentence.replace("PID", str(job.ranks[1].pid)) in told, told
    assert "the same command goes on" in told


def test_torchrun_starts_the_command(tiny_run: Path, tmp_path: Path) -> None:
    sets = ["steps=3", "batch=4", "device=cpu", "data.size=16", "data.frames=3"]
    sets += ["model.channels=[8,16]", "model.head_width=8", "model.norm_groups=4"]
    sets += ["model.patch=1", "precision=bf16", FSDP]
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words += ["-m", "orbit4d", "train", "fit", "--data", str(tiny_run), "--out", str(tmp_path)]
    words += [word for setting in sets for word in ("--set", setting)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("starting: 3 steps of 4 clips") == 1
    assert done.stdout.count("done: step 3 of 3") == 1


def test_a_batch_that_cannot_be_spread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = CONFIG.model_copy(update={"batch": 6, "parallel": ParallelConfig(accumulate=2)})
    with pytest.raises(ConfigError, match="over 2 ranks in 2 parts each; use a multiple of 4"):
        open_ranks(config).__enter__()
