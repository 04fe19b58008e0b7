"""Batches for a stock torch ``DataLoader``, decoded by its workers straight into shared memory.

    samples = MapStyle(RUN, StreamConfig(background=None, dtype="uint8"))
    batches = SharedBatches(samples, batch_size=4, workers=2)
    sampler = batches.sampler(rank=rank, world=world)
    loader = DataLoader(batches, batch_size=4, sampler=sampler, num_workers=2,
                        collate_fn=batches.collate)
    for batch in loader:
        orbit = torch.from_numpy(batch.sequences["orbit"]["rgba"])   # (b, t, h, w, 4), no copy
        ...
        sampler.advance()

Images and passes never pass through a pipe and are never copied: a worker decodes each sheet into
its place in the batch. As uint8 RGBA a batch is as small as it gets; laying it over a colour is one
line on the device that trains.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Any, Protocol

import numpy as np

from shards.errors import ShardError
from shards.order import EpochSampler
from shards.read import StreamConfig
from shards.ring import Ring, ring_of
from shards.view import Forms, Room, SampleView, ViewConfig

_ALIGN = 64


@dataclass(slots=True, weakref_slot=True)
class Batch:
    """Samples stacked along a first axis b.

    ``sequences`` holds per sequence a dict of ``rgb`` or ``rgba`` (b, t, h, w, c), ``K``, ``c2w``,
    ``times_s``, ``azimuth_deg`` and ``elevation_deg``, as in ``SequenceView``, and the passes asked
    for (b, t, ...). ``stand_in_for`` is empty where a sample is in its own place. An image array or
    a pass keeps the memory of the whole batch.
    """

    keys: tuple[str, ...]
    stand_in_for: tuple[str, ...]
    motion_magnitude: np.ndarray
    sequences: dict[str, dict[str, np.ndarray]]
    _slot: "_Slot | None" = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the tree that torch's default collate would have made, of arrays and tuples."""
        return {
            "key": self.keys,
            "stand_in_for": self.stand_in_for,
            "motion_magnitude": self.motion_magnitude,
            **self.sequences,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Send what lies in a slot by its number."""
        slot = self._slot
        if slot is None:
            return Batch, (self.keys, self.stand_in_for, self.motion_magnitude, self.sequences)
        there = {(part.sequence, part.kind) for part in slot.parts}
        rest = {
            name: {kind: array for kind, array in arrays.items() if (name, kind) not in there}
            for name, arrays in self.sequences.items()
        }
        return _arrive, (
            (self.keys, self.stand_in_for, self.motion_magnitude, rest),
            slot.token,
            slot.number,
            slot.parts,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Where the images or a pass of a sequence lie in a slot."""

    sequence: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def of(self, base: np.ndarray) -> np.ndarray:
        part = base[self.offset : self.offset + self.nbytes]
        return part.view(self.dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class _Slot:
    token: tuple[int, int]
    number: int
    parts: tuple[_Part, ...]


def _arrive(
    fields: tuple[Any, ...], token: tuple[int, int], number: int, parts: tuple[_Part, ...]
) -> Batch:
    batch = Batch(*fields)
    base = ring_of(token).open(number)
    for part in parts:
        batch.sequences[part.sequence][part.kind] = part.of(base)
    return batch


def slots_for(workers: int, prefetch_factor: int) -> int:
    """Count the slots that keep a loader busy: what it fetches ahead, and two with the reader."""
    return max(workers, 1) * prefetch_factor + 2


class Samples(Protocol):
    """What batches are made of: a ``MapStyle`` or a ``Mixture``."""

    @property
    def config(self) -> StreamConfig:
        """How samples are read."""
        ...

    def __len__(self) -> int:
        """Count the samples."""
        ...

    def fetch(self, places: Sequence[int]) -> None:
        """Fetch bytes ahead."""
        ...

    def view(self, i: int, room: Room | None = None) -> SampleView:
        """Decode a sample."""
        ...

    def sampler(self, *, rank: int = 0, world: int = 1, batch_size: int = 1) -> EpochSampler:
        """Give the order."""
        ...


class SharedBatches:
    """Whole batches of decoded samples, in shared memory.

    Samples of one batch have to have equally many images of equal size; ``size`` and ``frames`` of
    the config make them so. Passes that list something per image (``visible``) have to be equally
    long as well.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batch_size: int,
        workers: int = 2,
        prefetch_factor: int = 2,
        context: BaseContext | None = None,
    ) -> None:
        """Reserve memory for the batches under way.

        Args:
            samples: what to read.
            batch_size: samples per batch; the first sample's size says how much room one takes.
            workers: ``num_workers`` of the loader.
            prefetch_factor: that of the loader; torch's default is 2.
            context: how the loader starts its workers, if not the platform's way.
        """
        self.samples = samples
        self.batch_size = batch_size
        parts = _parts(batch_size, samples.view(0).forms(), samples.config)
        self.ring = Ring(slots_for(workers, prefetch_factor), _bytes_of(parts), context)

    def __len__(self) -> int:
        """Count the samples, as torch's loader asks."""
        return len(self.samples)

    def sampler(self, *, rank: int = 0, world: int = 1) -> EpochSampler:
        """Give the order for one rank and its place; see ``EpochSampler``."""
        return self.samples.sampler(rank=rank, world=world, batch_size=self.batch_size)

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        """Decode a batch. The name is torch's for fetching several items at once.

        Raises:
            ShardError: if samples of the batch differ in number or size of images, and as in
                ``MapStyle.view``.
        """
        slot = self.ring.take()
        try:
            self.samples.fetch(numbers)
            room = _Room(self, len(numbers), slot)
            views: list[SampleView] = []
            for number in numbers:
                views.append(self.samples.view(number, room))
                room.place += 1
        except BaseException:
            if slot is not None:
                self.ring.free(slot)
            raise
        return room.batch(views)

    @staticmethod
    def collate(batch: Any) -> Any:
        """Leave a batch as it is: give this to the loader as ``collate_fn``."""
        return batch


class _Room:
    """Where the images of a batch go: into the slot, or elsewhere where they do not fit."""

    def __init__(self, batches: SharedBatches, batch_size: int, slot: int | None) -> None:
        self.ring = batches.ring
        self.config = batches.samples.config
        self.batch_size = batch_size
        self.slot = slot
        self.place = 0
        self.forms: Forms = {}
        self.parts: tuple[_Part, ...] = ()
        self.arrays: dict[str, np.ndarray] = {}

    def __call__(self, key: str, forms: Forms) -> dict[str, np.ndarray]:
        if not self.forms:
            self._reserve(forms)
        if forms != self.forms:
            raise ShardError(
                f"sample {key!r} has images and passes {_text(forms)}, the others of its batch "
                f"{_text(self.forms)}; set size and frames, so that all come out alike"
            )
        return {name: array[self.place] for name, array in self.arrays.items()}

    def _reserve(self, forms: Forms) -> None:
        ring = self.ring
        self.forms = forms
        self.parts = _parts(self.batch_size, forms, self.config)
        needed = _bytes_of(self.parts)
        if self.slot is not None and needed > ring.slot_bytes:
            ring.free(self.slot)
            self.slot = None
        if self.slot is None:
            base = np.empty(needed, np.uint8)
        elif ring.token[0] == os.getpid():
            base = ring.open(self.slot)  # no worker: the batch is at its reader's already
        else:
            base = ring.bytes_of(self.slot)
        self.arrays = {name: part.of(base) for name, part in zip(forms, self.parts, strict=True)}

    def batch(self, views: list[SampleView]) -> Batch:
        sequences = {
            name: {
                number: np.stack([getattr(view.sequences[name], number) for view in views])
                for number in ("K", "c2w", "times_s", "azimuth_deg", "elevation_deg")
            }
            for name in self.config.sequences
        }
        for part, array in zip(self.parts, self.arrays.values(), strict=True):
            sequences[part.sequence][part.kind] = array
        ring = self.ring
        return Batch(
            tuple(view.key for view in views),
            tuple(view.stand_in_for for view in views),
            np.array([view.motion_magnitude for view in views]),
            sequences,
            None if self.slot is None else _Slot(ring.token, self.slot, self.parts),
        )


def _text(forms: Forms) -> str:
    return ", ".join(f"{name} {form.shape} {form.dtype}" for name, form in forms.items())


def _parts(batch_size: int, forms: Forms, config: ViewConfig) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    offset = 0
    for name, form in forms.items():
        sequence, _, kind = name.partition(".")
        shape = (batch_size, *form.shape)
        parts.append(_Part(sequence, kind or config.channels, shape, form.dtype, offset))
        offset += -(-parts[-1].nbytes // _ALIGN) * _ALIGN
    return tuple(parts)


def _bytes_of(parts: tuple[_Part, ...]) -> int:
    return parts[-1].offset + parts[-1].nbytes
