"""Hand out assets: to Ray actors, or one after the other in this process.

Ray only distributes. The worker that a job meets is the same either way: a ``BlenderSession`` with
its supervised Blender process, writing into the asset's staging folder. Frames never pass through
the driver. A worker's linear algebra has one thread: its arrays are small, and idle threads of BLAS
spin on cores that Blender needs.
"""

import faulthandler
import math
import os
import socket
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from curate.asset import crash_file, process
from curate.config import BuildConfig
from curate.fetch import make_cache
from curate.job import HandOver, Job
from curate.last_words import LastWords
from curate.nodes import Needs, check_nodes
from curate.pool import Crew, Outcome, Pool
from curate.ray_session import connected, import_ray
from curate.stage import Document
from curate.window import Window
from render.runner import BlenderFault, BlenderProcess
from render.session import BlenderSession
from shards.errors import MachineError
from shards.store_write import ShardJob, Uploaded, upload_shard

_UPLOAD_RETRIES = 5  # of a shard whose machine goes away
_WINDOW_EACH, _WINDOW_MIN = 16, 64  # assets per actor; however few there are


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Which Ray, and what of it each worker gets.

    Attributes:
        workers: actors, each with a Blender.
        address: of a running cluster, ``auto`` for the one of this machine; empty: none runs.
        num_cpus, num_gpus: of one worker; its Blender sees the GPU that Ray gives it.
        curators: further actors, each with a Blender and without a GPU, that fetch and judge
            assets, so that workers find them ready to render.
        curator_cpus: of one of them.
        memory_mb: that Ray sets aside for one worker or curator; 0: none.
        resources: custom ones of one worker.
        code: how it reaches a cluster: ``ship`` sends what runs here, ``image`` uses what is there.
        temp: folder for Ray's own folder on this machine; none: the system's.
        object_store_mb: memory of the object store of a Ray of this machine.
        log: file for what workers said before they died.
    """

    workers: int = 1
    address: str = ""
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_mb: int = 0
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    code: Literal["ship", "image"] = "ship"
    temp: Path | None = None
    object_store_mb: int = 256
    log: Path | None = None
    curators: int = 0
    curator_cpus: float = 1.0

    def of_actor(self) -> dict[str, Any]:
        """Return the options of an actor; they go to different nodes as long as there are any."""
        memory = {"memory": self.memory_mb * 2**20} if self.memory_mb else {}
        return {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "resources": dict(self.resources),
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
            **memory,
        }

    def of_curator(self) -> dict[str, Any]:
        """Return the options of a curator: it is shown no GPU, wherever it runs."""
        shown = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}}
        plain = replace(self, num_cpus=self.curator_cpus, num_gpus=0.0, resources={})
        return plain.of_actor() | {"runtime_env": shown}

    def of_node(self) -> dict[str, float]:
        """Return what a node has to offer for any of the actors to run on it, by Ray's names."""
        if self.curators:
            return {"CPU": min(self.num_cpus, self.curator_cpus)}
        return {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}

    def threads(self) -> int:
        """Return the threads of one worker: its CPUs of a cluster, or its share of this machine."""
        if self.address:
            return max(int(self.num_cpus), 1)
        return max((os.cpu_count() or 1) // (self.workers + self.curators), 1)

    def of_this_machine(self) -> dict[str, Any]:
        """Return what a Ray of this machine has to offer for all workers to start."""
        custom = {name: number * self.workers for name, number in self.resources.items()}
        cpus = self.workers * self.num_cpus + self.curators * self.curator_cpus
        return {"num_cpus": max(math.ceil(cpus), 1), "resources": custom}


def run_here(jobs: Iterable[Job], config: BuildConfig, roots: list[Path]) -> Generator[Outcome]:
    """Work in this process, with one Blender, in the order given."""
    with threadpool_limits(limits=1, user_api="blas"), _blender(config, roots) as blender:
        session = BlenderSession(blender, config.limits)
        for job in jobs:
            done = process(job, session)
            yield Outcome(job, document=done if isinstance(done, dict) else None)


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

    def work(self, job: Job) -> HandOver | Document | None:
        """Bring one asset's staging folder to completion, or as far as it goes without rendering.

        What ends this process by a signal of its own (a fault in a codec, say) leaves its stacks
        in the staging folder. A kill from outside leaves nothing: so the driver tells them apart.
        """
        job.staging.mkdir(parents=True, exist_ok=True)
        with crash_file(job.staging).open("w") as stacks:
            faulthandler.enable(stacks)
            try:
                done = self.do(job)
            finally:
                faulthandler.disable()
        crash_file(job.staging).unlink(missing_ok=True)
        return done

    def do(self, job: Job) -> HandOver | Document | None:
        """Take one asset along its road."""
        return process(job, self._session)

    def ready(self, needs: Needs | None = None) -> None:
        """Answer once this worker can work: its node has what it needs, and Blender is up.

        Raises:
            MachineError: names the node and what is wrong with it.
        """
        if needs is not None:
            needs.check()
        try:
            self._blender.start()
        except BlenderFault as fault:
            said = f"; it said: {fault.log_tail}" if fault.log_tail else ""
            node = f"node {socket.gethostname()}"
            raise MachineError(f"{node}: Blender does not start: {fault}{said}") from fault

    def close(self) -> None:
        """End Blender and remove its scratch folder."""
        self._blender.close()


def run_on_ray(
    jobs: Window | Iterable[Job],
    config: BuildConfig,
    roots: list[Path],
    ray_options: RayOptions,
    worker: type[Worker] = Worker,
    needs: Needs | None = None,
) -> Generator[Outcome]:
    """Work on Ray with a fixed number of actors, one asset in flight on each.

    Without an address a Ray of this machine alone is started for as long as the work takes.
    Unless the settings give a number of threads, each actor has those of its share. An actor that
    dies is replaced. Its asset goes back in line, and is given up after it had the tries that
    ``limits.retry`` gives it.

    Args:
        jobs: assets; a window bounds how many are begun before the oldest one is finished.
        config: what comes out.
        roots: folders that Blender may read.
        ray_options: which Ray.
        worker: what runs in an actor.
        needs: what every node has to see; it is looked at before the first asset.
    """
    window = jobs if isinstance(jobs, Window) else Window(jobs, window_size(ray_options))
    with connected(ray_options) as ray:
        if needs is not None and ray_options.address:
            check_nodes(ray, needs, ray_options.of_node())
        threads = config.limits.threads or ray_options.threads()
        limits = config.limits.model_copy(update={"threads": threads})
        config = config.model_copy(update={"limits": limits})
        remote = ray.remote(worker)

        def crew(options: dict[str, Any], count: int) -> Crew:
            make = remote.options(**options)
            return Crew(lambda: make.remote(config, roots), count, needs)

        renderers = crew(ray_options.of_actor(), ray_options.workers)
        curators = None
        if ray_options.curators:
            curators = crew(ray_options.of_curator(), ray_options.curators)
        words = LastWords(ray, ray_options.log)
        pool = Pool(words, renderers, curators, config.limits.retry)
        try:
            yield from pool.run(window)
        finally:
            pool.close()


def window_size(ray_options: RayOptions, asked: int = 0) -> int:
    """Return how many assets are in flight, or wait for their turn, at most.

    Args:
        ray_options: how many workers there are.
        asked: by the settings; 0: enough that workers hardly ever wait for one slow asset.
    """
    actors = ray_options.workers + ray_options.curators
    return max(asked or max(_WINDOW_EACH * actors, _WINDOW_MIN), actors)


def upload_on_ray(job: ShardJob) -> Uploaded:
    """Have a shard assembled and uploaded by whoever has room; here where no Ray runs.

    The workers hold the CPUs as long as they live, so this asks for none: it mostly waits.
    """
    ray = import_ray()
    if not ray.is_initialized():
        return upload_shard(job)
    options = {"num_cpus": 0, "max_retries": _UPLOAD_RETRIES, "scheduling_strategy": "SPREAD"}
    try:
        return ray.get(ray.remote(upload_shard).options(**options).remote(job))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise MachineError(f"{job.name}: no machine could upload it: {error}") from error
