"""Read samples back: one by one, as a stream split over ranks and workers, or under a DataLoader.

``SampleReader`` fetches single samples of a RUN folder. ``MapStyle`` decodes them by number, as a
map-style dataset; ``MapStyle.sampler`` gives the order and the place to save. ``ShardStream`` is
both in one for programs without a loader. Nothing here needs torch, Ray, Blender or a GPU.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from pydantic import Field

from shards.errors import SampleError, ShardError, TakenDown
from shards.follow import FollowingSampler
from shards.order import EpochSampler, OrderConfig, hash_of
from shards.reader import SampleReader
from shards.sample import SampleMeta
from shards.store import StoreConfig
from shards.view import Room, SampleView, ViewConfig, ViewedAs, view_sample
from shards.where import Where, parse_where

_log = structlog.get_logger(__name__)


class StreamConfig(ViewConfig, OrderConfig):
    """What to read, in which order, and how much damage to bear."""

    verify: bool = Field(default=True, description="compare each sample with its sha256")
    max_broken: int = Field(
        default=10, ge=0, description="broken samples that one process steps over before it stops"
    )
    follow: bool = Field(
        default=False,
        description="the RUN is still being built: shards that are finished join at each new epoch",
    )
    store: StoreConfig = StoreConfig()


class MapStyle:
    """Decoded samples by number: a map-style dataset for a stock torch ``DataLoader``.

    Items are the dicts of ``SampleView.as_dict``, which the default collate takes. Picklable, and
    safe in forked workers.

    The place of a sample that is broken or was taken down goes to the next intact one of the
    selection, so that all ranks keep equally many and saved places stay valid: until ``orbit4d
    shards compact`` that one comes more often. Its item says so in ``stand_in_for``. ``broken``
    keeps the reasons of broken ones, and more than ``max_broken`` of them in one process stop it.

    Attributes:
        numbers: (n,) int64, the selected samples' numbers in the index.
        broken: key -> reason, of the broken samples that this process met.
    """

    def __init__(
        self,
        run: Path | str,
        config: StreamConfig | None = None,
        *,
        keys: Collection[str] | None = None,
        where: Where | str | None = None,
    ) -> None:
        """Select samples.

        Args:
            run: a RUN folder, or the URL of one.
            config: how to read it.
            keys: only these samples.
            where: only samples whose index entry it accepts: a function, or text such as
                ``"motion > 0.05"`` (``shards.where``).

        Raises:
            ShardError: if nothing is left to read, or a key is not in the index.
        """
        self.config = config or StreamConfig()
        self.reader = SampleReader(
            run, verify=self.config.verify, store=self.config.store, follow=self.config.follow
        )
        self._keys, self._where = (keys, where) if self.config.follow else (None, None)
        self.numbers = _select(self.reader, keys, where)
        self.broken: dict[str, str] = {}
        self._ahead: dict[int, bytes] = {}

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
        if i >= len(self) and self.config.follow:
            self.refresh()  # this worker is older than the epoch
        if not 0 <= i < len(self):  # a sequence has to end for ``for sample in dataset``
            raise IndexError(f"sample {i} of {len(self)} selected in {self.reader.run}")
        stand_in_for = ""
        for step in range(len(self)):
            number = int(self.numbers[(i + step) % len(self)])
            try:
                meta, members = self.reader.read(number, self._ahead.pop(number, None))
                epoch = getattr(i, "epoch", 0)
                about = ViewedAs(stand_in_for, self.config.seed, epoch)
                return self.decode(meta, members, about, room)
            except TakenDown:
                stand_in_for = stand_in_for or self.reader.entry(number).key
            except SampleError as error:
                key = self.reader.entry(number).key
                stand_in_for = stand_in_for or key
                self._count(key, error)
        raise ShardError(f"{self.reader.run}: none of {len(self)} selected samples can be read")

    def decode(
        self,
        meta: SampleMeta,
        members: dict[str, bytes],
        about: ViewedAs,
        room: Room | None = None,
    ) -> SampleView:
        """Turn a stored sample into what ``view`` gives; override it to read other members."""
        return view_sample(meta, members, self.config, about, room)

    def fetch(self, places: Sequence[int]) -> None:
        """Fetch the bytes of several samples at once, for the ``view`` calls that follow."""
        self._ahead = self.reader.fetch([int(self.numbers[i]) for i in places])

    def sampler(self, *, rank: int = 0, world: int = 1, batch_size: int = 1) -> EpochSampler:
        """Give the order for one rank and its place; see ``EpochSampler``."""
        if self.config.follow:
            return FollowingSampler(
                self, self.config, rank=rank, world=world, batch_size=batch_size
            )
        shards = self.shards()
        contents = {name: digest for name, _, digest in shards}
        whole = f"order 2, window {self.config.window_shards}, {contents}"
        sampler = EpochSampler(
            [size for _, size, _ in shards],
            self.config,
            rank=rank,
            world=world,
            batch_size=batch_size,
            index_hash=hash_of(whole),
        )
        sampler.contents = contents
        sampler.check = self.reader.check_shards
        return sampler

    def refresh(self) -> None:
        """Look for shards that were finished since; numbers that were given out stay valid.

        Raises:
            ShardError: if shards were withdrawn.
        """
        before = self.shards()
        self.reader.refresh()
        self.numbers = _select(self.reader, self._keys, self._where)
        now = self.shards()
        if now[: len(before)] != before:
            lost = sorted({name for name, _, _ in before} - {name for name, _, _ in now})
            raise ShardError(
                f"{self.reader.run}: shards that were read from changed or were withdrawn "
                f"({', '.join(lost) or 'their samples differ'}); start the stream again"
            )

    def shards(self) -> list[tuple[str, int, int]]:
        """List the shards in index order: name, selected samples, a hash of these."""
        columns = {n: np.array(self.reader.column(n))[self.numbers] for n in ("shard", "key")}
        sums = np.array(self.reader.column("sha256"))[self.numbers]
        names = columns["shard"]
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True])
        return [
            (str(names[a]), int(b - a), hash_of("\n".join([*columns["key"][a:b], *sums[a:b]])))
            for a, b in pairwise(starts)
        ]

    def _count(self, key: str, error: SampleError) -> None:
        if key not in self.broken:
            _log.warning("broken sample skipped", key=key, reason=str(error))
        self.broken[key] = str(error)
        if len(self.broken) > self.config.max_broken:
            raise ShardError(
                f"{self.reader.run}: {len(self.broken)} broken samples, more than "
                f"max_broken={self.config.max_broken}: {', '.join(self.broken)}. The last: {error}"
            ) from error


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
    ``MapStyle`` and its sampler, which are exact at every batch. Samples that are broken or were
    taken down are stood in for as in ``MapStyle``; ``broken`` names the broken ones.
    """

    def __init__(
        self,
        run: Path | str,
        config: StreamConfig | None = None,
        *,
        keys: Collection[str] | None = None,
        where: Where | str | None = None,
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

    def state_dict(self) -> dict[str, Any]:
        """Return the place; see ``EpochSampler.state_dict``."""
        return self.place.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place; ranks and workers may be others than then.

        Raises:
            ShardError: if the state belongs to other samples.
        """
        self.place.load_state_dict(state)


def _select(
    reader: SampleReader, keys: Collection[str] | None, where: Where | str | None
) -> np.ndarray:
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
        where = parse_where(where) if isinstance(where, str) else where
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
