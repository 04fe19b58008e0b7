"""Training on several ranks: real processes, gloo between them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shards.errors import ConfigError
from tests.train import full_disk
from tests.train.fit_job import EXIT
from tests.train.jobs import run, start, steps, until
from tests.train.small import CONFIG
from train.checkpoint import load_checkpoint
from train.config import ParallelConfig
from train.ranks import open_ranks
from train.run import FitFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FSDP, DDP = "parallel.strategy=fsdp", "parallel.strategy=ddp"


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


def test_a_full_disk_ends_the_run_with_a_sentence_and_room_lets_it_go_on(
    alone: Path, tiny_run: Path, tmp_path: Path
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    (tmp_path / "disk").mkdir()
    words = ["unshare", "-rm", sys.executable, "-m", "tests.train.full_disk"]
    done = subprocess.run(
        [*words, str(tiny_run), str(tmp_path / "disk"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode == full_disk.NO_MOUNT or done.stderr.startswith("unshare"):
        pytest.skip("no file systems may be mounted here")
    assert done.stdout.splitlines() == [f"[[{EXIT}, {EXIT}], [1, 1], [0, 0]]"], done.stderr
    sentence = r"error: \S*/checkpoints: the checkpoint of step 2 could not be written: the disk is"
    sentence += r" full \(rank \d on \S+\)\. The last whole one is of step 1, which stands"
    for rank in range(2):
        told = (tmp_path / f"fit.rank{rank}").read_text()
        assert re.search(sentence, told), told
    assert [line["step"] for line in steps(tmp_path)] == [1, 2, 2, 2, 3, 4, 5, 6]
    first, second, third = steps(tmp_path)[1:4]
    assert first == second == third
    same_samples = [line["keys"] for line in steps(alone)[1:]]
    assert [line["keys"] for line in steps(tmp_path)[3:]] == same_samples


def test_held_out_clips_are_sampled_by_all_ranks_and_training_does_not_notice(
    tiny_run: Path, tmp_path: Path
) -> None:
    found: dict[str, dict[str, float]] = {}
    for name, world, every, strategy in (
        ("alone", 1, 3, DDP),
        ("both", 2, 3, FSDP),
        ("quiet", 2, 0, FSDP),
    ):
        sets = (strategy, f"evaluate.every_steps={every}", "sample.steps=2", "evaluate.clips=2")
        out = run(tiny_run, tmp_path / name, world, *sets)
        log = EventAccumulator(str(FitFolder(out).logs)).Reload()
        tags = [tag for tag in log.Tags()["scalars"] if tag.startswith("held_out/")]
        found[name] = {tag: log.Scalars(tag)[-1].value for tag in tags}
        assert all([event.step for event in log.Scalars(tag)] == [3, 6] for tag in tags)
    assert found["quiet"] == {}
    assert len(found["alone"]) == 6
    assert found["both"] == pytest.approx(found["alone"], rel=1e-3)
    losses = [[line["loss"] for line in steps(tmp_path / name)] for name in ("both", "quiet")]
    assert losses[0] == losses[1]


def test_a_batch_that_cannot_be_spread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = CONFIG.model_copy(update={"batch": 6, "parallel": ParallelConfig(accumulate=2)})
    with pytest.raises(ConfigError, match="over 2 ranks in 2 parts each; use a multiple of 4"):
        open_ranks(config).__enter__()
