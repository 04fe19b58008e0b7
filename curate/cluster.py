"""Hand out assets: to Ray actors, or one after the other in this process.

Ray only distributes. The worker that a job meets is the same either way: a ``BlenderSession`` with
its supervised Blender process, writing into the asset's staging folder. Frames never pass through
the driver. A worker's linear algebra has one thread: its arrays are small, and idle threads of BLAS
spin on cores that Blender needs.
"""

import contextlib
import faulthandler
import heapq
import math
import os
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from curate.asset import crash_file, process
from curate.clip import Job
from curate.config import BuildConfig
from curate.fetch import make_cache
from curate.job import HandOver
from curate.last_words import LastWords
from curate.nodes import Needs, check_nodes
from curate.ray_session import connected, import_ray
from curate.stage import Document
from render.config import RetryConfig
from render.runner import BlenderFault, BlenderProcess
from render.session import BlenderSession
from shards.errors import MachineError
from shards.store_write import ShardJob, Uploaded, upload_shard

_UPLOAD_RETRIES = 5  # of a shard whose machine goes away
_CRASH_TAIL = 4000  # characters of a dead worker's stacks


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Which Ray, and what of it each worker gets.

    Attributes:
        workers: actors, each with a Blender.
        address: of a running cluster, ``auto`` for the one of this machine; empty: none runs.
        num_cpus, num_gpus: of one worker; its Blender sees the GPU that Ray gives it.
        memory_mb: that Ray sets aside for one worker; 0: none.
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

    def of_node(self) -> dict[str, float]:
        """Return what a node has to offer for a worker to run on it, by Ray's names."""
        return {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}

    def threads(self) -> int:
        """Return the threads of one worker: its CPUs of a cluster, or its share of this machine."""
        if self.address:
            return max(int(self.num_cpus), 1)
        return max((os.cpu_count() or 1) // self.workers, 1)

    def of_this_machine(self) -> dict[str, Any]:
        """Return what a Ray of this machine has to offer for all workers to start."""
        custom = {name: number * self.workers for name, number in self.resources.items()}
        return {"num_cpus": max(math.ceil(self.workers * self.num_cpus), 1), "resources": custom}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job that came to its end.

    Attributes:
        job: what was worked on.
        fault: why no worker finished it; empty if one did.
        log_tail: the stacks of the last worker that died over it, where it left any.
        document: what the worker that finished it returned (``asset.process``).
    """

    job: Job
    fault: str = ""
    log_tail: str = ""
    document: Document | None = None


def run_here(jobs: Iterable[Job], config: BuildConfig, roots: list[Path]) -> Generator[Outcome]:
    """Work in this process, with one Blender."""
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
        """Bring one asset's staging folder to completion.

        What ends this process by a signal of its own (a fault in a codec, say) leaves its stacks
        in the staging folder. A kill from outside leaves nothing: so the driver tells them apart.
        """
        job.staging.mkdir(parents=True, exist_ok=True)
        with crash_file(job.staging).open("w") as stacks:
            faulthandler.enable(stacks)
            try:
                document = self.do(job)
            finally:
                faulthandler.disable()
        crash_file(job.staging).unlink(missing_ok=True)
        return document

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
    jobs: Iterable[Job],
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
        jobs: assets.
        config: what comes out.
        roots: folders that Blender may read.
        ray_options: which Ray.
        worker: what runs in an actor.
        needs: what every node has to see; it is looked at before the first asset.
    """
    with connected(ray_options) as ray:
        if needs is not None and ray_options.address:
            check_nodes(ray, needs, ray_options.of_node())
        make = ray.remote(worker).options(**ray_options.of_actor())
        threads = config.limits.threads or ray_options.threads()
        limits = config.limits.model_copy(update={"threads": threads})
        config = config.model_copy(update={"limits": limits})
        words = LastWords(ray, ray_options.log)
        pool = _Pool(words, lambda: make.remote(config, roots), config, ray_options.workers, needs)
        try:
            yield from pool.run(iter(jobs))
        finally:
            pool.close()


def _no_start(count: int, where: str, lines: str, error: Exception) -> str:
    """Say that workers do not start: the last one's place, its reason, and what it printed."""
    reason = str(getattr(error, "cause", None) or error).strip()
    said = f"\nThe last lines that it wrote:\n{lines}" if lines else ""
    return f"{count} workers in a row did not start; the last was {where}: {reason}{said}"


class _Pool:
    """Actors that are starting, idle or busy. Only those that have started are given assets."""

    def __init__(
        self,
        words: LastWords,
        make: Callable[[], Any],
        config: BuildConfig,
        workers: int,
        needs: Needs | None = None,
    ) -> None:
        self.words, self.ray = words, words.ray
        self.make = make
        self.needs = needs
        self.retry = config.limits.retry
        # the first to start tells whether any can; later ones may meet nodes that are going away
        self.starts_max = self.retry.machine_faults_max
        self.starts_max_later = self.starts_max * workers
        self.failed_starts = 0  # in a row
        self.starting: dict[Any, Any] = {}  # reference -> actor
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Job]] = {}  # result reference -> actor, job
        self.again = _Again(self.retry)
        for _ in range(workers):
            self._start()

    def run(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        more = True
        while True:
            while self.idle:
                job = self.again.due() or (next(jobs, None) if more else None)
                if job is None:
                    more = False
                    break
                actor = self.idle.pop()
                self.busy[actor.work.remote(job)] = (actor, job)
            if not (more or self.busy or self.again.waiting):
                return
            pause_s = self.again.wait_s() if self.idle else None
            if not (self.busy or self.starting):
                time.sleep(pause_s or 0.0)
                continue
            awaited = [*self.busy, *self.starting]
            for reference in self.ray.wait(awaited, num_returns=1, timeout=pause_s)[0]:
                if reference in self.starting:
                    self._started(reference)
                else:
                    yield from self._take(reference)

    def _start(self) -> None:
        actor = self.make()
        self.starting[actor.ready.remote(self.needs)] = actor

    def _started(self, reference: Any) -> None:
        actor = self.starting.pop(reference)
        try:
            self.ray.get(reference)
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.RayTaskError) as error:
            self.failed_starts += 1
            where, lines = self.words.of(actor, error)
            self.ray.kill(actor)  # it may be there, and not fit for work
            if self.failed_starts >= self.starts_max:
                raise MachineError(_no_start(self.failed_starts, where, lines, error)) from error
            time.sleep(self.retry.pause_after(self.failed_starts))
            self._start()
        else:
            self.failed_starts = 0
            self.starts_max = self.starts_max_later
            self.idle.append(actor)

    def _take(self, reference: Any) -> Iterator[Outcome]:
        """Take an answer, or what is left of a worker; replace it then."""
        actor, job = self.busy.pop(reference)
        try:
            document = self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            self._start()
            where, lines = self.words.of(actor, error)
            if (outcome := self.again.note(job, f"{where}: {error}", lines)) is not None:
                yield outcome
        except self.ray.exceptions.RayTaskError as error:
            self.idle.append(actor)
            raise error.cause from error  # what it was in the worker, for the user to read
        else:
            self.idle.append(actor)
            yield Outcome(job, document=document)

    def close(self) -> None:
        """End the actors; each first ends its Blender where it still can."""
        closing = [actor.close.remote() for actor in self.idle]
        with contextlib.suppress(Exception):
            self.ray.wait(closing, num_returns=len(closing), timeout=10)
        busy = [actor for actor, _ in self.busy.values()]
        for actor in [*self.idle, *self.starting.values(), *busy]:
            self.ray.kill(actor)


class _Again:
    """Assets whose worker died: when to try them again, and when not any more."""

    def __init__(self, config: RetryConfig) -> None:
        self.config = config
        self.waiting: list[tuple[float, str, Job]] = []  # a heap by the time from which on
        self._deaths: dict[str, tuple[int, int]] = {}  # uid -> crashes, kills

    def due(self) -> Job | None:
        if not self.waiting or self.waiting[0][0] > time.monotonic():
            return None
        return heapq.heappop(self.waiting)[2]

    def wait_s(self) -> float | None:
        """Return how long until the next is due; None: there is none."""
        return max(self.waiting[0][0] - time.monotonic(), 0.0) if self.waiting else None

    def note(self, job: Job, error: str, said: str = "") -> Outcome | None:
        """Note a death; returns the outcome if it was the last that the asset is worth.

        What the worker said stands in for its stacks where it left none.
        """
        uid, stacks = job.source.uid, ""
        with contextlib.suppress(OSError):
            stacks = crash_file(job.staging).read_text(errors="replace")[-_CRASH_TAIL:]
            crash_file(job.staging).unlink()
        crashes, kills = self._deaths.pop(uid, (0, 0))
        crashes, kills = (crashes + 1, kills) if stacks else (crashes, kills + 1)
        if crashes >= self.config.crashes_max or kills >= self.config.machine_faults_max:
            fault = f"{crashes + kills} workers died over this asset, the last was {error}"
            return Outcome(job, fault, stacks or said)
        self._deaths[uid] = crashes, kills
        pause_s = 0.0 if stacks else self.config.pause_after(kills)
        heapq.heappush(self.waiting, (time.monotonic() + pause_s, uid, job))
        return None


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
