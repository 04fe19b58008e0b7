"""Pack staged samples into shards, each committed by one rename."""

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shards import index
from shards.errors import SampleError, ShardError
from shards.files import publish, temporary_for, write_atomic
from shards.keys import read_keys
from shards.sample import SampleMeta, members_of

_END_OF_ARCHIVE = bytes(1024)


@dataclass(frozen=True, slots=True)
class StagedSample:
    """A finished sample that waits in a file of its own, as a run of tar members."""

    key: str
    path: Path
    stored: str = (
        ""  # name of the object that has the bytes; then ``path`` may have but their number
    )

    def size(self) -> int:
        """Count its bytes."""
        return self.path.stat().st_size

    def fingerprint(self) -> str:
        """Read what the sample was made from; an empty string if it is not there."""
        if not self.path.exists():
            return ""
        with tarfile.open(self.path, "r:") as archive:
            document = archive.extractfile(f"{self.key}.json")
            assert document is not None
            return SampleMeta.parse(document.read(), str(self.path)).fingerprint


class ShardWriter:
    """Writes the shards of one RUN folder, one writer at a time.

    Samples go into shards in the order given. A shard is closed when it holds at least
    ``target_bytes``; ``commit`` writes one shard whole or leaves no trace of it.
    """

    def __init__(self, run: Path, target_bytes: int) -> None:
        index.recover(run)
        self.run = run
        self.target_bytes = target_bytes
        self.keys = read_keys(run)
        numbers = [int(tar.stem.rpartition("-")[2]) + 1 for tar in index.tars(run)]
        self._next_number = max([index.head(run).get("next_shard", 0), *numbers])

    def commit(self, samples: Iterable[StagedSample]) -> str:
        """Write one shard of these samples, in this order, and return its name.

        The staged files stay; the caller removes them afterwards. A kill at any moment leaves
        either no shard of this name or the whole one.

        Raises:
            ShardError: if there are no samples, or one of them is in the run already.
            SampleError: if a staged file is not the sample that it is named for.
        """
        samples = list(samples)
        twice = [sample.key for sample in samples if sample.key in self.keys]
        if not samples or twice or len({sample.key for sample in samples}) < len(samples):
            raise ShardError(
                f"{self.run}: a shard takes at least one sample and each key once in a run; "
                f"given {[sample.key for sample in samples]}, in the run already {twice}"
            )
        name = f"shard-{self._next_number:06d}"
        entries = self._write(name, samples)
        self._next_number += 1
        self.keys.update({entry.key: entry for entry in entries})
        return name

    def _write(self, name: str, samples: list[StagedSample]) -> list[index.IndexEntry]:
        """Write a shard and commit it."""
        target = index.shard_dir(self.run) / f"{name}.tar"
        temporary = temporary_for(target)
        try:
            with temporary.open("wb") as stream:
                sink = Counted(stream.write)
                entries = assemble(name, ((s.key, s.path.read_bytes()) for s in samples), sink)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        index.write_part(self.run, name, entries, sink.about())
        publish(temporary, target)
        return entries

    def withdraw(self, shard: str, into: Path, keep: set[str]) -> list[StagedSample]:
        """Take a shard back: stage the samples worth keeping again, then remove the shard.

        Used when some of a shard's samples went stale. Its name is never used again. Killed at
        any moment, calling it again ends the same way: once the shard is gone, it returns those of
        ``keep`` that are staged, in the order of their keys.
        """
        into.mkdir(parents=True, exist_ok=True)
        staged: list[StagedSample] = []
        tar = index.shard_dir(self.run) / f"{shard}.tar"
        if not tar.exists():
            index.recover(self.run)
            paths = (into / f"{key}.tar" for key in sorted(keep))
            return [self.taken_back(path) for path in paths if path.exists()]
        index.merge(self.run, self._next_number)  # remembers the highest number in use
        for entry in index.read_entries(index.part_dir(self.run) / f"{shard}.parquet"):
            self.keys.pop(entry.key, None)
            if entry.key in keep:
                self._stage_again(entry, into / f"{entry.key}.tar")
                staged.append(self.taken_back(into / f"{entry.key}.tar"))
        self._remove(shard)
        index.recover(self.run)
        return staged

    def taken_back(self, path: Path) -> StagedSample:
        """Name a sample that ``withdraw`` staged again."""
        return StagedSample(path.stem, path)

    def _stage_again(self, entry: index.IndexEntry, path: Path) -> None:
        with (index.shard_dir(self.run) / f"{entry.shard}.tar").open("rb") as stream:
            stream.seek(entry.offset)
            write_atomic(path, stream.read(entry.length))

    def _remove(self, shard: str) -> None:
        (index.shard_dir(self.run) / f"{shard}.tar").unlink()

    def finish(self) -> None:
        """Write the merged index of all committed shards."""
        index.merge(self.run, self._next_number)


class Sink(Protocol):
    """What takes bytes one after the other."""

    def write(self, data: bytes, /) -> object:
        """Take some."""
        ...


class Counted:
    """Passes bytes on, counted and hashed."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.bytes = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        """Pass some on."""
        self._write(data)
        self.bytes += len(data)
        self._digest.update(data)

    def about(self) -> dict[str, str]:
        """Describe all of it, for an index part: nobody has to read a shard again for that."""
        return {"sha256": self._digest.hexdigest()}


def assemble(name: str, samples: Iterable[tuple[str, bytes]], sink: Sink) -> list[index.IndexEntry]:
    """Write samples, each a key and its run of tar members, as one tar; describe what lies where.

    Raises:
        SampleError: if some bytes are not the sample that they are named for.
    """
    entries: list[index.IndexEntry] = []
    offset = 0
    for key, run in samples:
        entries.append(_entry(key, run, name, offset))
        sink.write(run)
        offset += len(run)
    sink.write(_END_OF_ARCHIVE)
    return entries


def _entry(key: str, run: bytes, shard: str, offset: int) -> index.IndexEntry:
    members = members_of(run, key)
    if f"{key}.json" not in members:
        raise SampleError(f"sample {key!r}: its staged file holds {sorted(members)} instead")
    meta = SampleMeta.parse(members[f"{key}.json"], key)
    magnitude = meta.motion_magnitude.pixel_sum if meta.motion_magnitude else None
    return index.IndexEntry(
        key=key,
        uid=meta.asset.uid,
        clip_index=meta.clip.index,
        shard=shard,
        offset=offset,
        length=len(run),
        sha256=hashlib.sha256(run).hexdigest(),
        frames=max(sequence.frames for sequence in meta.sequences.values()),
        fingerprint=meta.fingerprint,
        motion_magnitude=magnitude,
        scores=json.dumps(meta.scores, sort_keys=True),
        asset_sha256=meta.asset.sha256,
        geometry=meta.asset.geometry,
    )
