"""Ray actors and what they are given: who curates, who renders, who is tried again.

Two kinds of actors (crews) may work side by side. Curators fetch an asset, judge its clips by their
geometry, and hand over what there is to render; renderers go on from there, and do whole assets
where nothing is handed over. So GPUs seldom wait for downloads, and nodes without one are of use.
"""

import contextlib
import heapq
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from curate.asset import crash_file
from curate.job import HandOver, Job
from curate.last_words import LastWords
from curate.nodes import Needs
from curate.stage import Document
from curate.window import Window
from render.config import RetryConfig
from shards.errors import MachineError

_CRASH_TAIL = 4000  # characters of a dead worker's stacks
_ROOM_WAIT_S = 60.0


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


@dataclass(slots=True)
class Crew:
    """Actors of one kind.

    Attributes:
        make: starts one.
        count: how many there are to be.
        needs: what a node has to see for one to work there.
        starting: reference -> actor.
        idle: actors without work.
        busy: result reference -> actor and its job.
        failed_starts: in a row.
        has_started: whether any ever did.
    """

    make: Callable[[], Any]
    count: int
    needs: Needs | None = None
    starting: dict[Any, Any] = field(default_factory=dict[Any, Any])
    idle: list[Any] = field(default_factory=list[Any])
    busy: dict[Any, tuple[Any, Job]] = field(default_factory=dict[Any, tuple[Any, Job]])
    failed_starts: int = 0
    has_started: bool = False

    def start(self) -> None:
        """Start an actor."""
        actor = self.make()
        self.starting[actor.ready.remote(self.needs)] = actor

    def give(self, job: Job) -> None:
        """Give an idle actor a job."""
        actor = self.idle.pop()
        self.busy[actor.work.remote(job)] = (actor, job)

    def awaited(self) -> list[Any]:
        """Return the references of what may come to an end."""
        return [*self.busy, *self.starting]


class Pool:
    """Gives assets to actors that have started, and takes what they leave."""

    def __init__(
        self, words: LastWords, renderers: Crew, curators: Crew | None, retry: RetryConfig
    ) -> None:
        """Start all actors.

        Args:
            words: what dead ones said.
            renderers: they can do whole assets too.
            curators: they stop before anything is rendered; None: there are none.
            retry: how often is tried again.
        """
        self.words, self.ray = words, words.ray
        self.renderers, self.curators = renderers, curators
        # Renderers first: where there is no room for all, work goes on without curators only.
        self.crews = [crew for crew in (renderers, curators) if crew is not None]
        self.retry = retry
        self.own_node = self.ray.get_runtime_context().get_node_id()
        self.again = _Again(retry)
        self.handed: list[tuple[int, int, Job]] = []  # a heap: most clips to render first
        self._number = 0
        self._patience = time.monotonic() + _ROOM_WAIT_S  # until it is said what is waited for
        for crew in self.crews:
            for _ in range(crew.count):
                crew.start()

    def run(self, window: Window) -> Iterator[Outcome]:
        """Work until the window has nothing more; each outcome makes room in it."""
        while True:
            self._hand_out(window)
            awaited = [reference for crew in self.crews for reference in crew.awaited()]
            busy = any(crew.busy for crew in self.crews)
            if not (busy or self.handed or self.again.waiting) and window.exhausted():
                return
            is_idle = any(crew.idle for crew in self.crews)
            pause_s = self.again.wait_s() if is_idle else None
            if not self.renderers.has_started:
                pause_s = self._mind_the_room(pause_s)
            if not awaited:
                time.sleep(pause_s or 0.0)
                continue
            done, _ = self.ray.wait(awaited, num_returns=len(awaited), timeout=0)
            if not done:
                done, _ = self.ray.wait(awaited, num_returns=1, timeout=pause_s)
            for reference in done:
                for outcome in self._settle(reference):
                    yield outcome
                    window.finish(outcome.job)

    def _mind_the_room(self, pause_s: float | None) -> float | None:
        """Say once that no worker has started for long; returns how long to wait till then."""
        left_s = self._patience - time.monotonic()
        if left_s <= 0:
            self._patience = math.inf
            offered = {
                name: number
                for name, number in sorted(self.ray.cluster_resources().items())
                if ":" not in name and "memory" not in name
            }
            print(
                f"none of {self.renderers.count} workers has started in {_ROOM_WAIT_S:g} s: they "
                f"wait for room (Ray has {offered} in all), or the machine is slow",
                file=sys.stderr,
                flush=True,
            )
        if math.isinf(left_s):
            return pause_s
        return max(left_s if pause_s is None else min(pause_s, left_s), 0.0)

    def _hand_out(self, window: Window) -> None:
        while self.renderers.idle and self.handed:
            self.renderers.give(heapq.heappop(self.handed)[2])
        for crew in reversed(self.crews):
            while crew.idle and (job := self.again.due() or window.take()) is not None:
                crew.give(replace(job, curate_only=crew is self.curators))

    def _settle(self, reference: Any) -> Iterator[Outcome]:
        for crew in self.crews:
            if reference in crew.starting:
                self._started(crew, reference)
            elif reference in crew.busy:
                yield from self._take(crew, reference)

    def _started(self, crew: Crew, reference: Any) -> None:
        actor = crew.starting.pop(reference)
        try:
            self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            self._check_own_node()
            crew.failed_starts += 1
            where, lines = self.words.of(actor, error)
            self.ray.kill(actor)  # it may be there, and not fit for work
            # the first to start tells whether any can; later ones may meet nodes that go away
            limit = self.retry.machine_faults_max * (crew.count if crew.has_started else 1)
            if crew.failed_starts >= limit:
                raise MachineError(_no_start(crew.failed_starts, where, lines, error)) from error
            time.sleep(self.retry.pause_after(crew.failed_starts))
            crew.start()
        else:
            crew.failed_starts = 0
            crew.has_started = True
            crew.idle.append(actor)

    def _take(self, crew: Crew, reference: Any) -> Iterator[Outcome]:
        """Take an answer, or what is left of a worker; replace it then."""
        actor, job = crew.busy.pop(reference)
        try:
            done: HandOver | Document | None = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            crew.idle.append(actor)
            raise error.cause from error  # what it was in the worker, for the user to read
        except self.ray.exceptions.RayError as error:
            # It died, was ended by Ray (for its node's memory), or its answer or its node is gone.
            self._check_own_node()
            where, lines = self.words.of(actor, error)
            self.ray.kill(actor)  # where it still works, two would be at one asset
            crew.start()
            plain = replace(job, curate_only=False, handed=HandOver())
            if (outcome := self.again.note(plain, f"{where}: {error}", lines)) is not None:
                yield outcome
        else:
            crew.idle.append(actor)
            if isinstance(done, HandOver):
                self._hand_over(replace(job, curate_only=False, handed=done))
            else:
                self.again.forget(job)
                yield Outcome(job, document=done)

    def _check_own_node(self) -> None:
        """Raise if the node is gone through which this driver reaches Ray.

        Ray then ends every actor of the driver, and every further one before it starts.
        """
        gone = [node for node in self.ray.nodes() if not node["Alive"]]
        if any(node["NodeID"] == self.own_node for node in gone):
            raise MachineError(
                f"the Ray node that this build is connected to ({self.own_node[:8]}) is gone, and "
                "no worker can start without it. Once the cluster has a node for it again, the "
                "same command goes on from here"
            )

    def _hand_over(self, job: Job) -> None:
        clips = sum(found.decision is None for found in job.handed.measured.values())
        self._number += 1
        heapq.heappush(self.handed, (-clips, self._number, job))

    def close(self) -> None:
        """End the actors; each first ends its Blender where it still can."""
        idle = [actor for crew in self.crews for actor in crew.idle]
        closing = [actor.close.remote() for actor in idle]
        with contextlib.suppress(Exception):
            self.ray.wait(closing, num_returns=len(closing), timeout=10)
        for crew in self.crews:
            busy = [actor for actor, _ in crew.busy.values()]
            for actor in [*crew.idle, *crew.starting.values(), *busy]:
                self.ray.kill(actor)


def _no_start(count: int, where: str, lines: str, error: Exception) -> str:
    """Say that workers do not start: the last one's place, its reason, and what it printed."""
    reason = str(getattr(error, "cause", None) or error).strip()
    said = f"\nThe last lines that it wrote:\n{lines}" if lines else ""
    return f"{count} workers in a row did not start; the last was {where}: {reason}{said}"


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

    def forget(self, job: Job) -> None:
        """Forget the deaths over an asset that came to its end."""
        self._deaths.pop(job.source.uid, None)
