"""Several datasets read as one, each with its share of the samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from shards.errors import ShardError
from shards.order import Drawn, EpochSampler, hash_of, order
from shards.read import MapStyle, StreamConfig
from shards.seeding import rng_for
from shards.view import Room, SampleView


class Mixture:
    """A map-style dataset over others; numbers run through them one after another.

    An epoch has as many samples as all datasets together. Of those each gives its weight's share,
    spread evenly at random; a dataset that is drawn more often than it has samples begins its next
    own epoch, in another order, and one drawn less often goes on where it stopped. Nothing comes
    twice before its dataset is through. ``window_shards`` and ``remainder`` are the first one's.
    """

    def __init__(self, parts: Sequence[MapStyle], weights: Sequence[float] | None = None) -> None:
        """Mix.

        Args:
            parts: the datasets; their configs have to give equal images for batches.
            weights: shares of the samples; none: by size.

        Raises:
            ShardError: if there is nothing to mix, or a weight for each is missing or below 0.
        """
        weights = [len(part) for part in parts] if weights is None else weights
        if not parts or len(weights) != len(parts) or min(weights) < 0 or sum(weights) <= 0:
            raise ShardError(f"{len(parts)} datasets with weights {list(weights)} cannot be mixed")
        self.parts = list(parts)
        self.weights = np.array(weights, np.float64) / sum(weights)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])

    @property
    def config(self) -> StreamConfig:
        """How samples are read: the first one's config."""
        return self.parts[0].config

    @property
    def broken(self) -> dict[str, str]:
        """Broken samples met so far: key -> reason."""
        return {key: reason for part in self.parts for key, reason in part.broken.items()}

    def __len__(self) -> int:
        """Count the samples of all."""
        return int(self.starts[-1])

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Decode a sample; see ``SampleView.as_dict``."""
        return self.view(i).as_dict()

    def view(self, i: int, room: Room | None = None) -> SampleView:
        """Decode a sample."""
        part, place = self._find(i)
        return self.parts[part].view(Drawn.at(place, getattr(i, "epoch", 0)), room)

    def fetch(self, places: Sequence[int]) -> None:
        """Fetch the bytes of several samples at once."""
        found = [self._find(i) for i in places]
        for number, part in enumerate(self.parts):
            part.fetch([place for which, place in found if which == number])

    def sampler(self, *, rank: int = 0, world: int = 1, batch_size: int = 1) -> EpochSampler:
        """Give the order for one rank and its place; see ``EpochSampler``."""
        return _MixedSampler(self, rank, world, batch_size)

    def _find(self, i: int) -> tuple[int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)} in a mixture")
        part = int(np.searchsorted(self.starts, i, side="right")) - 1
        return part, int(i - self.starts[part])


class _MixedSampler(EpochSampler):
    """Draws which dataset, then takes the next of that one's own endless order."""

    def __init__(self, mixture: Mixture, rank: int, world: int, batch_size: int) -> None:
        own = [part.sampler() for part in mixture.parts]
        hashes = [sampler.index_hash for sampler in own]
        super().__init__(
            [len(part) for part in mixture.parts],
            mixture.config,
            rank=rank,
            world=world,
            batch_size=batch_size,
            index_hash=hash_of(f"mixture 1, {hashes}, {mixture.weights.tolist()}"),
        )
        self.contents = {
            f"{number}/{name}": digest
            for number, sampler in enumerate(own)
            for name, digest in sampler.contents.items()
        }
        self.check = self._check_all
        self._own = own
        self._starts = mixture.starts
        self._counts = _apportioned(mixture.weights, len(mixture))

    def order(self) -> Int64[np.ndarray, " n"]:
        """Return this epoch's order of all samples, over all ranks."""
        labels = np.repeat(np.arange(len(self._own)), self._counts)
        labels = rng_for(self.seed, "mixture", self.epoch).permutation(labels)
        numbers = np.empty(len(labels), np.int64)
        for part, (sampler, count) in enumerate(zip(self._own, self._counts, strict=True)):
            numbers[labels == part] = self._starts[part] + self._stretch(sampler, int(count))
        return numbers

    def _check_all(self) -> None:
        for sampler in self._own:
            sampler.check()

    def _stretch(self, own: EpochSampler, count: int) -> Int64[np.ndarray, " n"]:
        """Take a dataset's samples of this epoch: ``count`` of its endless order."""
        size, first = sum(own.shard_sizes), self.epoch * count
        epochs = range(first // size, -(-(first + count) // size))
        window = self.config.window_shards
        rows = [order(self.seed, epoch, own.shard_sizes, window) for epoch in epochs]
        start = first - epochs.start * size
        return np.concatenate([*rows, np.zeros(0, np.int64)])[start : start + count]


def _apportioned(weights: np.ndarray, total: int) -> Int64[np.ndarray, " n"]:
    """Share out whole numbers: rounded down, the rest to the largest remainders."""
    exact = weights * total
    counts = np.floor(exact).astype(np.int64)
    rest = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts
