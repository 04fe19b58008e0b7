"""Notices that a rank is gone, and says which.

Every rank tells the others through the group's store where it is. One that was killed or whose
machine is gone falls silent; one that hangs stays in a step. Collectives alone would wait, or fail
with an address for a name.
"""

import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch.distributed as dist

from train.ranks import RankLost, Ranks, host_name

_BEAT_S = 1.0
_SILENT_BEATS = 4  # missed in a row


@dataclass(slots=True)
class _Seen:
    words: dict[str, Any]
    at: float  # own clock, when the words last changed


class Heartbeat:
    """Runs beside the training of one rank; alone it does nothing.

    When training stays in a step for ``timeout_s``, the process ends with status 1 and a sentence
    that names the ranks to blame: whatever it waits in cannot be interrupted otherwise.
    """

    def __init__(self, ranks: Ranks, timeout_s: float) -> None:
        self.ranks, self.timeout_s = ranks, timeout_s
        self._every_s = min(_BEAT_S, timeout_s / 10)
        self._doing, self._since, self._beats = _STARTING, time.monotonic(), 0
        self._others = {
            rank: _Seen({}, time.monotonic()) for rank in range(ranks.world) if rank != ranks.rank
        }
        self._end, self._store_lost = threading.Event(), False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Heartbeat":
        if self.ranks.world > 1:
            store: Any = dist.distributed_c10d._get_default_store()
            self._store = store.clone()  # a connection of its own
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        self._end.set()
        self._thread.join()
        with contextlib.suppress(RuntimeError):  # the store may be gone
            self._tell("ended" if error is None else f"stopped: {error}")

    def note(self, doing: str) -> None:
        """Say what this rank does from now on."""
        self._doing, self._since = doing, time.monotonic()

    def explain(self, error: RuntimeError) -> RankLost:
        """Name the ranks over which a collective failed; takes a few seconds."""
        deadline = time.monotonic() + (_SILENT_BEATS + 2) * self._every_s
        while time.monotonic() < deadline and not self._store_lost and not self._gone():
            time.sleep(self._every_s / 4)
        line = str(error).strip().splitlines()[0]
        return RankLost(f"{self._blame()} ({line}). {_NEXT}")

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            try:
                self._tell(self._doing)
                self._listen()
            except RuntimeError:  # what c10d raises; DistError is one
                self._store_lost = True
            # weights may take long to load; what fails meanwhile ends by the group's timeout
            late = time.monotonic() - self._since > self.timeout_s
            if late and self._doing != _STARTING:
                spent = f"nothing has moved for {self.timeout_s:g} s while this rank {self._doing}"
                print(f"error: {self._blame()} ({spent}). {_NEXT}", file=sys.stderr, flush=True)
                os._exit(1)

    def _tell(self, doing: str) -> None:
        self._beats += 1
        words = {"beat": self._beats, "doing": doing, "host": host_name(), "pid": os.getpid()}
        self._store.set(f"orbit4d/beat/{self.ranks.rank}", json.dumps(words))

    def _listen(self) -> None:
        for rank, seen in self._others.items():
            key = f"orbit4d/beat/{rank}"
            if not self._store.check([key]):
                continue
            words = json.loads(self._store.get(key))
            if words != seen.words:
                seen.words, seen.at = words, time.monotonic()

    def _gone(self) -> list[int]:
        oldest = time.monotonic() - _SILENT_BEATS * self._every_s
        return [
            rank
            for rank, seen in self._others.items()
            if seen.at < oldest or seen.words.get("doing", "").startswith("stopped")
        ]

    def _blame(self) -> str:
        if self._store_lost:
            return "the rendezvous store is gone, and with it the rank or agent that keeps it"
        gone = self._gone()
        if not gone:  # then those that are not waiting for others
            slow = [r for r, seen in self._others.items() if seen.words.get("doing") == READING]
            gone = slow or list(self._others)
        return "; ".join(self._name(rank) for rank in gone[:8])

    def _name(self, rank: int) -> str:
        seen = self._others[rank]
        if not seen.words:
            return f"rank {rank} was never heard of"
        silent_s = time.monotonic() - seen.at
        where = f"rank {rank} ({seen.words['host']}, process {seen.words['pid']})"
        if seen.words["doing"].startswith("stopped"):
            return f"{where} {seen.words['doing']}"
        if silent_s > _SILENT_BEATS * self._every_s:
            doing = seen.words["doing"]
            return f"{where} was lost: silent for {silent_s:.0f} s, last seen as it {doing}"
        return f"{where} {seen.words['doing']}"


READING = "reads its clips"
_STARTING = "starts"
_NEXT = "The last checkpoint stands; the same command goes on from there"
