"""Shards of a RUN in an object store: uploaded in parts, committed by one conditional write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from shards import index
from shards.errors import ShardError
from shards.files import write_atomic
from shards.hold import Hold, number_of
from shards.index import IndexEntry
from shards.mirror import stand_in
from shards.objects import Objects
from shards.store import Missing
from shards.write import Counted, ShardWriter, StagedSample, assemble


@dataclass(frozen=True, slots=True)
class ShardJob:
    """A shard to upload; may be done by any process on any machine, and done twice."""

    objects: Objects
    name: str
    samples: tuple[StagedSample, ...]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A shard that lies in the store and is not committed yet."""

    entries: list[IndexEntry]
    bytes: int
    about: dict[str, str]  # see ``Counted.about``


Upload = Callable[[ShardJob], Uploaded]


def upload_shard(job: ShardJob) -> Uploaded:
    """Assemble a shard from staged samples, one in memory at a time, and upload it.

    Raises:
        ShardError: a staged sample is not there.
        SampleError: a staged file is not the sample that it is named for.
        MachineError: the store cannot be used.
    """

    def make(write: Callable[[bytes], object]) -> Uploaded:
        sink = Counted(write)
        entries = assemble(job.name, _each(job), sink)
        return Uploaded(entries, sink.bytes, sink.about())

    return job.objects.upload(f"shards/{job.name}.tar", make)


def _each(job: ShardJob) -> Iterator[tuple[str, bytes]]:
    for sample in job.samples:
        if not sample.stored:
            yield sample.key, sample.path.read_bytes()
            continue
        try:
            yield sample.key, job.objects.read(sample.stored)
        except Missing:
            raise ShardError(
                f"{job.objects.url}/{sample.stored}: was staged and is gone; run the same command "
                "again, it renders the clip anew"
            ) from None


class StoreShardWriter(ShardWriter):
    """Writes the shards of a RUN in an object store; ``run`` is its mirror."""

    def __init__(self, run: Path, target_bytes: int, hold: Hold) -> None:
        super().__init__(run, target_bytes)
        self.hold = hold
        self.upload: Upload = upload_shard
        self._next_number = hold.commit.next_shard

    def _write(self, name: str, samples: list[StagedSample]) -> list[IndexEntry]:
        objects = self.hold.objects
        self.hold.check()
        self.hold.unsure = True
        done = self.upload(ShardJob(objects, name, tuple(samples)))
        part = index.part_bytes(done.entries, done.about)
        objects.write(f"index/{name}.parquet", part)
        self.hold.change(lambda now: replace(now, next_shard=number_of(name) + 1))
        self.hold.unsure = False
        write_atomic(index.part_dir(self.run) / f"{name}.parquet", part)
        stand_in(index.shard_dir(self.run) / f"{name}.tar", done.bytes)
        return done.entries

    def taken_back(self, path: Path) -> StagedSample:
        """Name a sample that ``withdraw`` staged again: in the store, as others upload shards."""
        return StagedSample(path.stem, path, stored=path.relative_to(self.run).as_posix())

    def _stage_again(self, entry: IndexEntry, path: Path) -> None:
        objects = self.hold.objects
        data = objects.read_range(f"shards/{entry.shard}.tar", entry.offset, entry.length)
        objects.write(path.relative_to(self.run).as_posix(), data)
        write_atomic(path, data)

    def _remove(self, shard: str) -> None:
        self.hold.change(lambda now: replace(now, withdrawn=(*now.withdrawn, shard)))
        remove_withdrawn(self.hold)
        super()._remove(shard)


def remove_withdrawn(hold: Hold) -> None:
    """Remove the shards that do not count any more, and then the note that they have to be."""
    if not (names := hold.commit.withdrawn):
        return
    hold.objects.delete(
        place for name in names for place in (f"index/{name}.parquet", f"shards/{name}.tar")
    )
    hold.change(lambda now: replace(now, withdrawn=tuple(set(now.withdrawn) - set(names))))
