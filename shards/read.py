"""Read samples back: one by one, as a stream split over ranks and workers, or under a DataLoader.

``SampleReader`` fetches single samples of a RUN folder. ``MapStyle`` decodes them by number, as a
map-style dataset; ``MapStyle.sampler`` gives the order and the place to save. ``ShardStream`` is
both in one for programs without a loader. Nothing here needs torch, Ray, Blender or a GPU.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from pydantic import Field

from shards import index
from shards.errors import SampleError, ShardError
from shards.index import IndexEntry
from shards.order import EpochSampler, OrderConfig
from shards.sample import SampleMeta, members_of
from shards.view import Room, SampleView, ViewConfig, view_sample

Where = Callable[[IndexEntry], bool]

_log = structlog.get_logger(__name__)


class StreamConfig(ViewConfig, OrderConfig):
    """What to read, in which order, and how much damage to bear."""

    verify: bool = Field(default=True, description="compare each sample with its sha256")
    max_broken: int = Field(
        default=10, ge=0, description="broken samples that one process steps over before it stops"
    )


class SampleReader:
    """Single samples of one RUN folder, numbered as in ``index.parquet``.

    Holds no open file, so it may be pickled, forked and used from several threads.
    """

    def __init__(self, run: Path, *, verify: bool = True) -> None:
        """Read the index.

        Raises:
            ShardError: if the folder has no readable index.
        """
        self.run = Path(run)
        self.verify = verify
        path = self.run / "index.parquet"
        if not path.exists():
            raise ShardError(
                f"{self.run}: has no index.parquet, so it is no finished RUN folder. If a build "
                "was cut short, run the same command again; it ends with the index"
            )
        self._table = index.read_table(path)

    def __len__(self) -> int:
        """Count the samples."""
        return self._table.num_rows

    def entry(self, i: int) -> IndexEntry:
        """Return what the index says of sample i."""
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)} in {self.run}")
        return IndexEntry(**self._table.slice(i, 1).to_pylist()[0])

    def entries(self) -> list[IndexEntry]:
        """Return the whole index."""
        return [IndexEntry(**row) for row in self._table.to_pylist()]

    def column(self, name: str) -> list[Any]:
        """Return one column of the index, without building entries."""
        return self._table.column(name).to_pylist()

    def read_bytes(self, i: int) -> bytes:
        """Read the tar run of sample i.

        Raises:
            SampleError: if the shard is too short or, with ``verify``, the sha256 differs.
            ShardError: if the shard is missing.
        """
        entry = self.entry(i)
        tar = index.shard_dir(self.run) / f"{entry.shard}.tar"
        try:
            # Opened for each sample: 10 us beside a megabyte, and no state to share or to limit.
            with tar.open("rb", buffering=0) as stream:
                data = os.pread(stream.fileno(), entry.length, entry.offset)
        except FileNotFoundError as error:
            raise ShardError(
                f"{tar}: is in the index but missing; copy it here again, or run the build again"
            ) from error
        where = f"{tar}: sample {entry.key!r}"
        if len(data) != entry.length:
            raise SampleError(
                f"{where} should be {entry.length} bytes at {entry.offset}, found {len(data)}; "
                f"the tar was cut. Copy it again, then: orbit4d shards check {self.run}"
            )
        if self.verify and hashlib.sha256(data).hexdigest() != entry.sha256:
            raise SampleError(
                f"{where}: its bytes do not have the sha256 of the index; the tar changed. Copy "
                f"it again, then: orbit4d shards check {self.run}"
            )
        return data

    def read(self, i: int) -> tuple[SampleMeta, dict[str, bytes]]:
        """Read sample i: its metadata and its tar members by name.

        Raises:
            SampleError: if the sample is damaged.
            ShardError: if its shard is missing.
        """
        key = self.entry(i).key
        where = f"{self.run}: sample {key!r}"
        members = members_of(self.read_bytes(i), where)
        if f"{key}.json" not in members:
            raise SampleError(f"{where}: {key}.json is missing; found {sorted(members)}")
        return SampleMeta.parse(members[f"{key}.json"], where), members


class MapStyle:
    """Decoded samples by number: a map-style dataset for a stock torch ``DataLoader``.

    Items are the dicts of ``SampleView.as_dict``, which the default collate takes. Picklable, and
    safe in forked workers.

    A broken sample's place is taken by the next intact one of the selection, so that all ranks
    keep equally many. Its item says so in ``stand_in_for``, ``broken`` keeps the reasons, and more
    than ``max_broken`` of them in one process stop it.

    Attributes:
        numbers: (n,) int64, the selected samples' numbers in the index.
        broken: key -> reason, of the broken samples that this process met.
    """

    def __init__(
        self,
        run: Path,
        config: StreamConfig | None = None,
        *,
        keys: Collection[str] | None = None,
        where: Where | None = None,
    ) -> None:
        """Select samples.

        Args:
            run: a RUN folder.
            config: how to read it.
            keys: only these samples.
            where: only samples whose index entry it accepts.

        Raises:
            ShardError: if nothing is left to read, or a key is not in the index.
        """
        self.config = config or StreamConfig()
        self.reader = SampleReader(run, verify=self.config.verify)
        self.numbers = _select(self.reader, keys, where)
        self.broken: dict[str, str] = {}

    def __len__(self) -> int:
        """Count the selected samples."""
        return len(self.numbers)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Decode the i-th selected sample; see ``SampleView.as_dict``."""
        return self.view(i).as_dict()

    def view(self, i: int, room: Room | None = None) -> SampleView:
        """Decode the i-th selected sample, or the next intact one; into ``room`` if given.

        Raises:
            ShardError: if more samples are broken than ``max_broken``, or a shard is missing.
        """
        if not 0 <= i < len(self):  # a sequence has to end for ``for sample in dataset``
            raise IndexError(f"sample {i} of {len(self)} selected in {self.reader.run}")
        stand_in_for = ""
        for step in range(len(self)):
            number = int(self.numbers[(i + step) % len(self)])
            try:
                meta, members = self.reader.read(number)
                return view_sample(meta, members, self.config, stand_in_for, room)
            except SampleError as error:
                key = self.reader.entry(number).key
                stand_in_for = stand_in_for or key
                self._count(key, error)
        raise ShardError(f"{self.reader.run}: none of {len(self)} selected samples can be read")

    def sampler(self, *, rank: int = 0, world: int = 1, batch_size: int = 1) -> EpochSampler:
        """Give the order for one rank and its place; see ``EpochSampler``."""
        names = np.array(self.reader.column("shard"))[self.numbers]
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True])
        return EpochSampler(
            np.diff(starts).tolist(),
            self.config,
            rank=rank,
            world=world,
            batch_size=batch_size,
            index_hash=self._hash(),
        )

    def _count(self, key: str, error: SampleError) -> None:
        if key not in self.broken:
            _log.warning("broken sample skipped", key=key, reason=str(error))
        self.broken[key] = str(error)
        if len(self.broken) > self.config.max_broken:
            raise ShardError(
                f"{self.reader.run}: {len(self.broken)} broken samples, more than "
                f"max_broken={self.config.max_broken}: {', '.join(self.broken)}. The last: {error}"
            ) from error

    def _hash(self) -> int:
        """Hash everything that the order depends on, and the samples themselves: 60 bits."""
        digest = hashlib.sha256(f"order 1, window {self.config.window_shards}".encode())
        for name in ("shard", "key", "sha256"):
            column = self.reader.column(name)
            digest.update("\n".join(column[i] for i in self.numbers).encode())
        return int(digest.hexdigest()[:15], 16)


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a stream a process reads: worker ``worker`` of ``workers`` in a rank."""

    rank: int = 0
    world: int = 1
    worker: int = 0
    workers: int = 1


class ShardStream:
    """Decoded samples, epoch after epoch, split by rank and worker.

    Iterating gives the rest of the epoch; the next iteration gives the next one, in another order.
    Rank r of W takes every W-th sample of the global order from the r-th, and worker w of V every
    V-th of those. All ranks have equally many; what is left at the end is dropped or padded as
    ``remainder`` says.

    A sample counts as seen once it was handed out. With several ranks or workers a saved state is
    exact where all of them have had equally many; under a loader that fetches ahead use
    ``MapStyle`` and its sampler, which are exact at every batch. A broken sample is stood in for as
    in ``MapStyle``; ``broken`` names it.
    """

    def __init__(
        self,
        run: Path,
        config: StreamConfig | None = None,
        *,
        keys: Collection[str] | None = None,
        where: Where | None = None,
        part: Part | None = None,
    ) -> None:
        """Select samples as ``MapStyle`` does, and the part of them to read.

        Raises:
            ShardError: if nothing is left to read, or less than one sample per rank.
        """
        self.part = part or Part()
        if not 0 <= self.part.worker < self.part.workers:
            raise ValueError(f"{self.part} is no part")
        self.samples = MapStyle(run, config, keys=keys, where=where)
        self.place = self.samples.sampler(rank=self.part.rank, world=self.part.world)

    def __len__(self) -> int:
        """Count the samples that this part still gives in this epoch."""
        return len(range(self.part.worker, len(self.place), self.part.workers))

    def __iter__(self) -> Iterator[SampleView]:
        """Give the rest of the epoch."""
        numbers = list(self.place)
        mine = numbers[self.part.worker :: self.part.workers]
        left = len(numbers)
        for number in mine:
            view = self.samples.view(number)
            steps = min(self.part.workers, left)
            left -= steps
            self.place.advance(steps)
            yield view
        if left:  # other workers of this rank have one more
            self.place.advance(left)

    @property
    def broken(self) -> dict[str, str]:
        """Broken samples met so far: key -> reason."""
        return self.samples.broken

    def state_dict(self) -> dict[str, int]:
        """Return the place: ``epoch``, ``done`` (samples, all ranks), ``seed``, ``index_hash``."""
        return self.place.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place; ranks and workers may be others than then.

        Raises:
            ShardError: if the state belongs to other samples.
        """
        self.place.load_state_dict(state)


def _select(reader: SampleReader, keys: Collection[str] | None, where: Where | None) -> np.ndarray:
    numbers = np.arange(len(reader), dtype=np.int64)
    if keys is not None:
        wanted = set(keys)
        present = reader.column("key")
        unknown = sorted(wanted - set(present))
        if unknown:
            raise ShardError(
                f"{reader.run}: {len(unknown)} of the keys asked for are not in the index, "
                f"{unknown[0]!r} for one; see: orbit4d shards ls {reader.run}"
            )
        numbers = np.array([i for i in numbers if present[i] in wanted], np.int64)
    if where is not None:
        entries = reader.entries()
        numbers = np.array([i for i in numbers if where(entries[i])], np.int64)
    if not len(numbers):
        raise ShardError(
            f"{reader.run}: no samples to read; the index lists {len(reader)}, the filter left none"
            if len(reader)
            else f"{reader.run}: its index lists no samples. See its ledger for why clips were "
            "rejected or failed"
        )
    return numbers
