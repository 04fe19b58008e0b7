"""Hand out assets: to Ray actors, or one after the other in this process.

Ray only distributes. The worker that a job meets is the same either way: a ``BlenderSession`` with
its supervised Blender process, writing into the asset's staging folder. Frames never pass through
the driver. A worker's linear algebra has one thread: its arrays are small, and idle threads of BLAS
spin on cores that Blender needs.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from curate.asset import process
from curate.clip import Job
from curate.config import BuildConfig
from curate.fetch import make_cache
from render.runner import BlenderProcess
from render.session import BlenderSession

_WORKER_DEATHS_MAX = 2  # an asset that took this many workers with it is given up

Outcome = tuple[Job, str]  # the job, and an empty string or why no worker finished it


def run_here(jobs: Iterable[Job], config: BuildConfig, roots: list[Path]) -> Iterator[Outcome]:
    """Work in this process, with one Blender."""
    with threadpool_limits(limits=1, user_api="blas"), _blender(config, roots) as blender:
        session = BlenderSession(blender, config.limits)
        for job in jobs:
            process(job, session)
            yield job, ""


def _blender(config: BuildConfig, roots: list[Path]) -> BlenderProcess:
    """Make a process that may read the inputs, and the cache of the machine that it runs on."""
    readable = [*roots, make_cache(config.fetch)]
    return BlenderProcess(config.limits.worker, readable, config.limits.threads)


class Worker:
    """What runs in a Ray actor: one Blender, one asset at a time."""

    def __init__(self, config: BuildConfig, roots: list[Path]) -> None:
        threadpool_limits(limits=1, user_api="blas")
        self._blender = _blender(config, roots)
        self._session = BlenderSession(self._blender, config.limits)

    def work(self, job: Job) -> None:
        """Bring one asset's staging folder to completion."""
        process(job, self._session)

    def close(self) -> None:
        """End Blender and remove its scratch folder."""
        self._blender.close()


def run_on_ray(
    jobs: Iterable[Job], config: BuildConfig, roots: list[Path], workers: int
) -> Iterator[Outcome]:
    """Work on Ray with a fixed number of actors, one asset in flight on each.

    Unless the settings give a number of threads, the actors share the machine's cores evenly. An
    actor that dies is replaced. Its asset goes back in line, and is given up after it took
    ``_WORKER_DEATHS_MAX`` actors with it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    threads = config.limits.threads or max((os.cpu_count() or 1) // workers, 1)
    limits = config.limits.model_copy(update={"threads": threads})
    pool = _Pool(ray, config.model_copy(update={"limits": limits}), roots, workers)
    try:
        yield from pool.run(iter(jobs))
    finally:
        pool.close()
        if started_here:
            ray.shutdown()


class _Pool:
    def __init__(self, ray: Any, config: BuildConfig, roots: list[Path], workers: int) -> None:
        self.ray = ray
        self.make = lambda: (
            ray.remote(Worker).options(num_cpus=1, max_restarts=0).remote(config, roots)
        )
        self.idle = [self.make() for _ in range(workers)]
        self.busy: dict[Any, tuple[Any, Job]] = {}  # result reference -> actor, job
        self.deaths: dict[str, int] = {}

    def run(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        again: list[Job] = []
        while True:
            while self.idle and (job := again.pop() if again else next(jobs, None)) is not None:
                actor = self.idle.pop()
                self.busy[actor.work.remote(job)] = (actor, job)
            if not self.busy:
                return
            (reference,), _ = self.ray.wait(list(self.busy), num_returns=1)
            actor, job = self.busy.pop(reference)
            try:
                self.ray.get(reference)
            except self.ray.exceptions.RayActorError as error:
                self.idle.append(self.make())
                uid = job.source.uid
                self.deaths[uid] = self.deaths.get(uid, 0) + 1
                if self.deaths[uid] < _WORKER_DEATHS_MAX:
                    again.append(job)
                else:
                    yield job, f"{self.deaths[uid]} workers died over this asset: {error}"
            else:
                self.idle.append(actor)
                yield job, ""

    def close(self) -> None:
        """End the actors; each first ends its Blender where it still can."""
        closing = [actor.close.remote() for actor in self.idle]
        with contextlib.suppress(Exception):
            self.ray.wait(closing, num_returns=len(closing), timeout=10)
        for actor in [*self.idle, *(actor for actor, _ in self.busy.values())]:
            self.ray.kill(actor)
