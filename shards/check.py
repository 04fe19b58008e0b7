"""Check that a RUN folder's shards are whole, and say what to do about each fault."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards import index
from shards.errors import SampleError, ShardError
from shards.files import sha256_of
from shards.index import IndexEntry
from shards.mirror import shard_file
from shards.sample import SampleMeta, decode_sequence, decode_stored, members_of

_END_OF_ARCHIVE = bytes(1024)
_COPY = "copy the shard here again; if there is no good copy, delete it and run the build again"
_MERGE = "run the same build again: it writes the index anew"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what was found, and what to do."""

    where: str
    what: str
    remedy: str


@dataclass(slots=True)
class ShardReport:
    """What was found in one shard."""

    name: str
    bytes: int
    samples: int
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found in a RUN folder; ``faults`` are those of the index itself."""

    shards: list[ShardReport]
    faults: list[Fault]

    def all_faults(self) -> list[Fault]:
        """Return the faults of the index, then those of the shards in order."""
        return self.faults + [fault for shard in self.shards for fault in shard.faults]


def check_run(run: Path) -> CheckReport:
    """Check every shard that the index, its parts or the folder know of.

    Sizes and sha256 of shards and samples, that samples lie side by side and fill their shard, that
    members and metadata of a sample agree, that images decode, and that no key comes twice.

    Raises:
        ShardError: if the folder has no readable index.
    """
    document = index.head(run)
    merged_path = run / "index.parquet"
    if not document or not merged_path.exists():
        raise ShardError(
            f"{run}: has no index.json and index.parquet, so it is no finished RUN folder. If a "
            "build was cut short, run the same command again; it ends with the index"
        )
    merged: dict[str, list[IndexEntry]] = {}
    for entry in index.read_entries(merged_path):
        merged.setdefault(entry.shard, []).append(entry)
    heads = {shard["name"]: shard for shard in document["shards"]}
    tars = {path.stem for path in index.tars(run)}
    shards = [
        _check_shard(run, name, heads.get(name), merged.get(name, []))
        for name in sorted(heads.keys() | merged.keys() | tars)
    ]
    counts = Counter(entry.key for entries in merged.values() for entry in entries)
    twice = sorted(key for key, count in counts.items() if count > 1)
    faults = [Fault("index.parquet", f"sample {key!r} is listed twice", _MERGE) for key in twice]
    if not counts:
        faults.append(
            Fault("index.parquet", "lists no samples", "see the ledger for why clips were dropped")
        )
    return CheckReport(shards, faults)


def _check_shard(
    run: Path, name: str, expected: dict[str, Any] | None, entries: list[IndexEntry]
) -> ShardReport:
    tar = index.shard_dir(run) / f"{name}.tar"
    if not tar.exists():
        fault = Fault(name, "is in the index, but the tar is missing", _COPY)
        return ShardReport(name, 0, len(entries), [fault])
    size = tar.stat().st_size
    report = ShardReport(name, size, len(entries))
    if expected is None or not entries:
        report.faults.append(Fault(name, "the tar is not in the index", _MERGE))
        return report
    with shard_file(run, name) as here:
        report.faults += _content_faults(here, name, expected, entries)
    report.faults += _part_faults(run, name, entries)
    return report


def _content_faults(
    tar: Path, name: str, expected: dict[str, Any], entries: list[IndexEntry]
) -> Iterator[Fault]:
    size = tar.stat().st_size
    if size != expected["bytes"]:
        what = f"is {size} bytes, the index says {expected['bytes']}"
        yield Fault(name, what, _COPY)
    elif sha256_of(tar) != expected["sha256"]:
        yield Fault(name, "its sha256 is not that of index.json", _COPY)
    if expected["samples"] != len(entries):
        what = f"index.json counts {expected['samples']} samples, index.parquet {len(entries)}"
        yield Fault(name, what, _MERGE)
    yield from _tar_faults(tar, size, entries)


def _part_faults(run: Path, name: str, entries: list[IndexEntry]) -> Iterator[Fault]:
    path = index.part_dir(run) / f"{name}.parquet"
    try:
        if index.read_entries(path) != entries:
            yield Fault(name, f"{path.name} and index.parquet differ", _MERGE)
    except ShardError as error:
        yield Fault(name, f"its index part cannot be read: {error}", "copy index/ here again")


def _tar_faults(tar: Path, size: int, entries: list[IndexEntry]) -> Iterator[Fault]:
    end = 0
    with tar.open("rb") as stream:
        for entry in sorted(entries, key=lambda entry: entry.offset):
            where = f"{tar.stem} {entry.key}"
            if entry.offset != end:
                yield Fault(where, f"starts at byte {entry.offset}, expected {end}", _MERGE)
            end = entry.offset + entry.length
            stream.seek(entry.offset)
            data = stream.read(entry.length)
            if len(data) != entry.length:
                yield Fault(where, f"{len(data)} of {entry.length} bytes are there", _COPY)
            elif hashlib.sha256(data).hexdigest() != entry.sha256:
                yield Fault(where, "its sha256 is not that of the index", _COPY)
            else:
                yield from _sample_faults(where, entry, data)
        stream.seek(end)
        if size == end + len(_END_OF_ARCHIVE) and stream.read() != _END_OF_ARCHIVE:
            yield Fault(tar.stem, "the end-of-archive mark is damaged", _COPY)
        elif size != end + len(_END_OF_ARCHIVE):
            what = f"its samples end at byte {end} of {size}, expected {len(_END_OF_ARCHIVE)} more"
            yield Fault(tar.stem, what, _COPY)


def _sample_faults(where: str, entry: IndexEntry, data: bytes) -> Iterator[Fault]:
    """Check a sample whose bytes are those that were written: faults here are the writer's."""
    remedy = f"delete the sample's clip from the run and build it again ({entry.uid})"
    try:
        members = members_of(data, where)
        if f"{entry.key}.json" not in members:
            yield Fault(where, f"its key is not that of its members {sorted(members)}", remedy)
            return
        meta = SampleMeta.parse(members[f"{entry.key}.json"], where)
        listed = {
            f"{meta.key}.{name}.{kind}"
            for name, about in meta.sequences.items()
            for kind in about.passes
        } | {f"{meta.key}.{name}" for name in meta.arrays}
        found = {".".join(name.split(".")[:3]) for name in members}
        if listed | {f"{entry.key}.json"} != found:
            yield Fault(where, f"members {sorted(members)}, its metadata lists {listed}", remedy)
        for name, about in meta.sequences.items():
            if "rgba" in about.passes:
                decode_sequence(meta, members, name)
        for name in meta.arrays:
            decode_stored(meta, members, name)
    except SampleError as error:
        yield Fault(where, str(error), remedy)
