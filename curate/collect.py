"""Gather finished assets in input order into shards and the ledger.

Workers finish in any order; packing follows the order of the inputs, so the shards do not depend
on how many workers there were or what was interrupted. Where a shard ends depends on nothing but
the samples that follow the shard before it: a build that was cut short goes on with the same cuts.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from curate.duplicates import Seen
from curate.plan import review
from curate.run_folder import RunFolder, uid_of
from curate.sources import Source
from shards.write import StagedSample


def next_cut(sizes: Sequence[int], target: int, *, last: bool) -> int:
    """Say how many samples the next shard takes; 0: it is not known yet.

    A shard closes once it has ``target`` bytes, but only when as much again is waiting. So what is
    left in the end is never a sliver: it makes one shard, or two halves from 1.5 ``target`` on.

    Args:
        sizes: bytes of each sample in line.
        target: bytes that a shard should have.
        last: nothing comes after these.
    """
    sums = list(accumulate(sizes))
    total = sums[-1] if sums else 0
    if total >= 2 * target:
        goal = float(target)
    elif not last:
        return 0
    else:
        goal = total if 2 * total < 3 * target else total / 2
    return next((count for count, done in enumerate(sums, 1) if done >= goal), 0)


Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample in line, and its bytes."""

    staged: StagedSample
    size: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """The end of an asset: its rows may be entered when the samples before are committed."""

    rows: list[dict[str, Any]]
    uid: str


def _label(row: dict[str, Any]) -> tuple[str, str]:
    return row["verdict"], row["rule"]


class Collector:
    """Packs the finished assets of one build."""

    def __init__(self, run: RunFolder, sources: list[Source]) -> None:
        self.run = run
        self.verdicts: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.assets = 0
        self._order = sources
        self._places = {source.uid: place for place, source in enumerate(sources)}
        self._next = 0
        self._ready: dict[str, tuple[Rows, bool]] = {}  # and whether they are in the ledger
        self._seen = Seen(run.config.curate.copies())
        self._waiting: dict[str, list[StagedSample]] = defaultdict(list)  # see _readmit
        self._line: deque[_Sample | _Rows] = deque()
        self._bytes = 0
        for sample in run.survivors():
            self._readmit(sample)

    def take_over(self) -> list[Source]:
        """Take what earlier runs finished; return the assets that are left to work on.

        What is staged is a newer word than the ledger's: it goes first. A copy is left to work on
        again where the clip that it repeats, or what that is a copy of, is not there any more.
        """
        missing: list[Source] = []
        for source, state, rows in review(self.run, self._order):
            if state == "staged":
                self.finished(source, rows)
            elif state == "finished":
                self.settled(source, rows)
            else:
                self.run.reopen(source)
                missing.append(self.run.barred(source))
        return missing

    def settled(self, source: Source, rows: list[dict[str, Any]]) -> None:
        """Note an asset that an earlier run finished."""
        self._count(rows)
        self.assets += 1
        self._ready[source.uid] = rows, True
        self.run.discard(source.uid)
        self._advance()

    def finished(self, source: Source, rows: list[dict[str, Any]]) -> None:
        """Take over an asset whose staging folder is complete."""
        self._count(rows)
        self.assets += 1
        self._ready[source.uid] = rows, False
        self._advance()

    def flush(self) -> None:
        """Commit all that is waiting; nothing comes after it."""
        while self._line:
            self._pack(self._cut(last=True))

    def _cut(self, *, last: bool) -> int:
        target = self.run.writer.target_bytes
        if not last and self._bytes < 2 * target:
            return 0
        sizes = [item.size for item in self._line if isinstance(item, _Sample)]
        return next_cut(sizes, target, last=last)

    def _pack(self, count: int) -> None:
        """Commit a shard first, then enter ledger rows, then clear the staging.

        A kill between any two of these is mended by the next run: it finds the sample committed
        and enters the rows, or finds the rows entered and clears the folder. Of an asset that lies
        in two shards it finds some samples committed, and packs the others.
        """
        samples: list[StagedSample] = []
        rows: list[dict[str, Any]] = []
        uids: list[str] = []
        while self._line and (isinstance(self._line[0], _Rows) or len(samples) < count):
            item = self._line.popleft()
            if isinstance(item, _Rows):
                rows += item.rows
                uids.append(item.uid)
            else:
                samples.append(item.staged)
                self._bytes -= item.size
        if samples:
            self.run.writer.commit(samples)
        if rows:
            self.run.enter(rows)
        self.run.drop(samples)
        for uid in uids:
            self.run.discard(uid)

    def _count(self, rows: Rows, by: int = 1) -> None:
        for row in rows:
            self.verdicts[row["verdict"]] += by
            if row["verdict"] != "kept":
                self.rules[row["rule"]] += by

    def _advance(self) -> None:
        while self._next < len(self._order) and self._order[self._next].uid in self._ready:
            source = self._order[self._next]
            rows, settled = self._ready.pop(source.uid)
            judged = self._without_copies(rows)
            if judged != rows or not settled:
                self._take(source, judged)
            else:
                for sample in self._waiting.pop(source.uid, []):
                    self._add(sample)
            self._next += 1
            while count := self._cut(last=False):
                self._pack(count)

    def _without_copies(self, rows: Rows) -> Rows:
        """Reject what repeats an earlier clip. Only now is all known that comes first."""
        judged = self._seen.look(rows)
        for old, new in zip(rows, judged, strict=True):
            if _label(old) != _label(new):
                self._count([old], -1)
                self._count([new], 1)
        return judged

    def _take(self, source: Source, rows: list[dict[str, Any]]) -> None:
        """Line up an asset's new samples and rows, and let go of its samples that went stale."""
        wanted = {
            row["sample_key"]: row["fingerprint"]
            for row in rows
            if row["sample_key"] and not self.run.taken_down(row["sample_key"])
        }
        self._withdraw_stale(source.uid, wanted)
        there = {key: self.run.staged(source, key) for key in wanted}
        for sample in self._waiting.pop(source.uid, []):
            if wanted.get(sample.key) == sample.fingerprint():
                there[sample.key] = sample
            else:
                self.run.drop([sample])
        for key in sorted(wanted):
            if key not in self.run.writer.keys:
                self._add(there[key])
        self._line.append(_Rows(rows, source.uid))

    def _withdraw_stale(self, uid: str, wanted: dict[str, str]) -> None:
        """Take back the shards that hold samples of this asset which no longer stand."""
        packed = [self.run.writer.keys.get(key) for key in self.run.committed(uid)]
        stale = [entry for entry in packed if entry and wanted.get(entry.key) != entry.fingerprint]
        for shard in sorted({entry.shard for entry in stale}):
            held = {entry.key for entry in self.run.writer.keys.values() if entry.shard == shard}
            keep = held - {entry.key for entry in stale}
            for sample in self.run.writer.withdraw(shard, self.run.withdrawn(), keep):
                self._readmit(sample)

    def _readmit(self, sample: StagedSample) -> None:
        """Pack a sample of a withdrawn shard again, at its asset's turn if that is yet to come.

        Only then is it known whether the sample still stands.
        """
        uid = uid_of(sample.key)
        if self.run.taken_down(sample.key):
            self.run.drop([sample])
            return
        if self._places.get(uid, -1) >= self._next:
            self._waiting[uid].append(sample)
        else:
            self._add(sample)

    def _add(self, sample: StagedSample) -> None:
        size = sample.size()
        self._line.append(_Sample(sample, size))
        self._bytes += size
