"""Which assets may be begun: a bounded stretch of the input order, long ones first within it.

Packing follows input order, so what finishes early waits for what comes before it. The window
bounds how much may wait: from the oldest asset that is not finished on, ``size`` assets are begun,
being worked on, or finished. Where the oldest is slow, nothing further ahead is begun.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from curate.clip import Job


class Predict(Protocol):
    """Says how long an asset will take, in seconds of one worker."""

    def __call__(self, job: Job, /) -> float:
        """Return the seconds."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    number: int  # in the order of the missing assets
    predicted_s: float


class Window:
    """Hands out assets; ``take`` and ``finish`` go with each other.

    Attributes:
        size: assets between the oldest that is not finished and the newest that was begun.
        total: assets in all, where that is known.
        started, finished: how many were taken, and how many came to their end.
        finished_s: predicted seconds of those.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        size: int,
        predict: Predict = lambda _job: 1.0,
        total: int | None = None,
    ) -> None:
        self._jobs = iter(jobs)
        self.size = size
        self._predict = predict
        self.total = total
        self.started = self.finished = 0
        self.finished_s = 0.0
        self._more = True
        self._seen = 0  # assets that came out of ``jobs``
        self._seen_s = 0.0
        self._waiting: dict[int, Job] = {}  # not begun, in order
        self._longest: list[tuple[float, int]] = []  # a heap of them, and of some that are begun
        self._open: deque[int] = deque()  # numbers, from the oldest unfinished one on
        self._closed: set[int] = set()  # those of them that are finished
        self._places: dict[str, _Place] = {}  # uid -> place of what is not finished

    def take(self, *, in_order: bool = False) -> Job | None:
        """Return the next asset to begin; None: none may be begun now, or there is none.

        It is the one that will take longest; but once half a window has overtaken the oldest that
        is not begun, it is that one.

        Args:
            in_order: always the oldest one.
        """
        self._fill()
        if not self._waiting:
            return None
        oldest = next(iter(self._waiting))
        overtaken_by = self._seen - oldest - len(self._waiting)
        if in_order or overtaken_by >= max(self.size // 2, 1):
            number = oldest
        else:
            while (number := self._longest[0][1]) not in self._waiting:
                heapq.heappop(self._longest)
        self.started += 1
        return self._waiting.pop(number)

    def finish(self, job: Job) -> None:
        """Note that an asset came to its end."""
        place = self._places.pop(job.source.uid)
        self.finished += 1
        self.finished_s += place.predicted_s
        self._closed.add(place.number)
        while self._open and self._open[0] in self._closed:
            self._closed.remove(self._open.popleft())

    def exhausted(self) -> bool:
        """Tell whether every asset was taken."""
        self._fill()
        return not (self._more or self._waiting)

    def in_order(self) -> Iterator[Job]:
        """Hand out one after the other, for a worker that finishes each before the next."""
        while (job := self.take(in_order=True)) is not None:
            yield job
            self.finish(job)

    def left_s(self) -> float:
        """Predict how many seconds of one worker the unfinished assets take."""
        known = self._seen_s - self.finished_s
        if self.total is None or not self._seen:
            return known
        return known + (self.total - self._seen) * self._seen_s / self._seen

    def _fill(self) -> None:
        while self._more and (not self._open or self._seen - self._open[0] < self.size):
            job = next(self._jobs, None)
            if job is None:
                self._more = False
                return
            place = _Place(self._seen, self._predict(job))
            self._seen += 1
            self._seen_s += place.predicted_s
            self._open.append(place.number)
            self._waiting[place.number] = job
            self._places[job.source.uid] = place
            heapq.heappush(self._longest, (-place.predicted_s, place.number))
