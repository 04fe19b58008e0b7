"""Starts the ranks of ``tests.train.fit_job`` as torchrun does, waits for them and kills them."""

import json
import multiprocessing
import socket
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.train.fit_job import rank

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
