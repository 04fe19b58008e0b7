"""Gather finished assets in input order into shards and the ledger.

Workers finish in any order; packing follows the order of the inputs, so the shards do not depend
on how many workers there were or what was interrupted. Where a shard ends depends on nothing but
the samples that follow the shard before it: a build that was cut short goes on with the same cuts.

In memory are the rows of assets that finished before their turn, and the samples of two shards.
"""

import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curate.duplicates import Seen
from curate.plan import review
from curate.records import COLUMNS
from curate.run_folder import RunFolder, uid_of
from curate.source_table import FIRST, Place, SourceTable, place_of
from curate.sources import Source
from shards.scratch import open_scratch
from shards.write import StagedSample

_ENTER_ROWS, _ENTER_EVERY_S = 1000, 60.0  # rows wait for so many, or so long, to be one part
_CATCH_UP = 500  # assets that are looked through at a time; a fifth of a second


def next_cut(sizes: Sequence[int], target: int, *, last: bool) -> int:
    """Say how many samples the next shard takes; 0: it is not known yet.

    A shard closes once it has ``target`` bytes, but only when as much again is waiting. So what is
    left in the end is never a sliver: it makes one shard, or two halves from 1.5 ``target`` on.

    Args:
        sizes: bytes of each sample in line.
        target: bytes that a shard should have.
        last: nothing comes after these.
    """
    sums = list(itertools.accumulate(sizes))
    total = sums[-1] if sums else 0
    if total >= 2 * target:
        goal = float(target)
    elif not last:
        return 0
    else:
        goal = total if 2 * total < 3 * target else total / 2
    return next((count for count, done in enumerate(sums, 1) if done >= goal), 0)


Rows = list[dict[str, Any]]


@dataclass(slots=True)
class _Asset:
    """The end of an asset: its rows may be entered once its samples are committed."""

    rows: Rows
    uid: str
    uncommitted: int = 0  # samples in line


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample in line, its bytes, and the asset whose rows wait for it."""

    staged: StagedSample
    size: int
    asset: _Asset | None


class Missing:
    """The assets that are left to work on, in input order: counted, not listed."""

    def __init__(self, collector: "Collector", count: int, after: Place) -> None:
        self._collector = collector
        self._count = count
        self._after = after

    def __len__(self) -> int:
        """Count them."""
        return self._count

    def __iter__(self) -> Iterator[Source]:
        """Iterate, declaring each unfinished as it comes."""
        run = self._collector.run
        begun = run.begun()
        for source, _ in self._collector.sources.after(self._after, undone=True):
            if source.uid in begun:
                run.reopen(source)
            yield run.barred(source)


def _label(row: dict[str, Any]) -> tuple[str, str]:
    return row["verdict"], row["rule"]


class Collector:
    """Packs the finished assets of one build."""

    def __init__(self, run: RunFolder, sources: SourceTable | Iterable[Source]) -> None:
        self.run = run
        self.sources = sources if isinstance(sources, SourceTable) else SourceTable(sources)
        self.verdicts: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.assets = 0
        self._last: Place = FIRST  # of the asset whose turn was last
        self._before: Place = FIRST  # up to here all was done when the build began,
        self._staged: set[str] = set()  # these assets staged and all others entered
        self._coming: Iterator[tuple[Source, str]] | None = None
        self._turn: tuple[Source, str] | None = None  # the next one, and how it was found
        self._ready: dict[str, Rows] = {}  # finished, before their turn
        self._seen = Seen(run.config.curate.copies(), open_scratch())
        self._waiting: dict[str, list[StagedSample]] = defaultdict(list)  # see _readmit
        self._line: deque[_Sample] = deque()
        self._bytes = 0
        self._rows: Rows = []  # to be entered
        self._uids: list[str] = []  # whose staging is to be cleared afterwards
        self._entered = time.monotonic()
        for sample in run.survivors():
            self._readmit(sample)

    def take_over(self) -> Missing:
        """Take what earlier runs finished; return the assets that are left to work on.

        What is staged is a newer word than the ledger's: it goes first. A copy is left to work on
        again where the clip that it repeats, or what that is a copy of, is not there any more.
        Nothing is packed yet, and no copy is looked for: workers need not wait for that.
        """
        missing = 0
        done: list[tuple[str, str, str]] = []
        begun = self.run.begun()
        for source, state, rows in review(self.run, self.sources):
            if state not in ("staged", "finished"):
                missing += 1
                continue
            self._count(rows)
            self.assets += 1
            if state == "finished" and source.uid in begun:
                self.run.discard(source.uid)
            if not missing:
                self._before = place_of(source)
                if state == "staged":
                    self._staged.add(source.uid)
                continue
            done.append((state, *place_of(source)))
            if len(done) == _ENTER_ROWS:
                self.sources.set_done(done)
                done.clear()
        self.sources.set_done(done)
        return Missing(self, missing, self._before)

    def finished(self, source: Source, rows: Rows) -> None:
        """Take over an asset whose staging folder is complete."""
        self._count(rows)
        self.assets += 1
        self._ready[source.uid] = rows
        self._advance(_CATCH_UP)

    def flush(self) -> None:
        """Commit all that is waiting; nothing comes after it."""
        self._advance()
        while self._line:
            self._pack(self._cut(last=True))
        self._enter()

    def _cut(self, *, last: bool) -> int:
        target = self.run.writer.target_bytes
        if not last and self._bytes < 2 * target:
            return 0
        return next_cut([sample.size for sample in self._line], target, last=last)

    def _pack(self, count: int) -> None:
        """Commit a shard first, then enter ledger rows, then clear the staging.

        A kill between any two of these is mended by the next run: it finds the sample committed
        and enters the rows, or finds the rows entered and clears the folder. Of an asset that lies
        in two shards it finds some samples committed, and packs the others.
        """
        samples = [self._line.popleft() for _ in range(count)]
        self._bytes -= sum(sample.size for sample in samples)
        self.run.writer.commit([sample.staged for sample in samples])
        for sample in samples:
            if (asset := sample.asset) is not None:
                asset.uncommitted -= 1
                if not asset.uncommitted:
                    self._line_up(asset)
        self._enter()
        self.run.drop(sample.staged for sample in samples)

    def _line_up(self, asset: _Asset) -> None:
        """Let an asset whose samples are all committed wait for others to be entered with."""
        self._rows += asset.rows
        self._uids.append(asset.uid)
        if len(self._rows) >= _ENTER_ROWS or time.monotonic() - self._entered > _ENTER_EVERY_S:
            self._enter()

    def _enter(self) -> None:
        """Enter what is waiting as one part of the ledger, then clear its staging."""
        if self._rows:
            self.run.enter(self._rows)
        for uid in self._uids:
            self.run.discard(uid)
        self._rows, self._uids = [], []
        self._entered = time.monotonic()

    def _count(self, rows: Rows, by: int = 1) -> None:
        for row in rows:
            self.verdicts[row["verdict"]] += by
            if row["verdict"] != "kept":
                self.rules[row["rule"]] += by

    def _advance(self, most: int | None = None) -> None:
        """Take the assets whose turn it is, as far as they are done, and no more than ``most``."""
        for _ in itertools.count() if most is None else range(most):
            if (turn := self._next()) is None:
                return
            source, done = turn
            if done == "finished":
                rows = self.run.entered_rows(source.uid, whole=False)
            elif done == "staged":
                rows = self.run.finished_rows(source)
            elif (rows := self._ready.pop(source.uid, None)) is None:
                return
            self._turn = None
            self._collect(source, rows, settled=done == "finished")

    def _next(self) -> tuple[Source, str] | None:
        if self._turn is None:
            if self._coming is None:
                self._coming = self.sources.after(self._last)
            self._turn = next(self._coming, None)
            if self._turn is not None and place_of(self._turn[0]) <= self._before:
                source, _ = self._turn
                self._turn = source, "staged" if source.uid in self._staged else "finished"
        return self._turn

    def _collect(self, source: Source, rows: Rows, *, settled: bool) -> None:
        """Take the next asset in input order; of a settled one, rows have ``COLUMNS`` only."""
        judged = self._without_copies(rows)
        if not settled:
            self._take(source, judged)
        elif any(_differ(old, new) for old, new in zip(rows, judged, strict=True)):
            whole = self.run.entered_rows(source.uid, whole=True)
            pairs = zip(whole, judged, strict=True)
            self._take(source, [old | new for old, new in pairs])
        else:
            for sample in self._waiting.pop(source.uid, []):
                self._add(sample)
        self._last = place_of(source)
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

    def _take(self, source: Source, rows: Rows) -> None:
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
        asset = _Asset(rows, source.uid)
        for key in sorted(wanted):
            if key not in self.run.writer.keys:
                self._add(there[key], asset)
        if not asset.uncommitted:
            self._line_up(asset)

    def _withdraw_stale(self, uid: str, wanted: dict[str, str]) -> None:
        """Take back the shards that hold samples of this asset which no longer stand."""
        packed = [self.run.writer.keys.get(key) for key in self.run.committed(uid)]
        stale = [entry for entry in packed if entry and wanted.get(entry.key) != entry.fingerprint]
        for shard in sorted({entry.shard for entry in stale}):
            held = {entry.key for entry in self.run.writer.keys.of_shard(shard)}
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
        place = self.sources.place_of(uid)
        if place is not None and place > self._last:
            self._waiting[uid].append(sample)
        else:
            self._add(sample)

    def _add(self, sample: StagedSample, asset: _Asset | None = None) -> None:
        size = sample.size()
        self._line.append(_Sample(sample, size, asset))
        self._bytes += size
        if asset is not None:
            asset.uncommitted += 1


def _differ(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return any(old[name] != new.get(name) for name in COLUMNS)
