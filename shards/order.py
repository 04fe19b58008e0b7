"""In which order samples are read: a pure function of (seed, epoch, index), and a place in it.

The place is a few integers. ``done`` counts samples of the global order, over all ranks, so it
means the same at any number of ranks and workers.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from shards.config import Config
from shards.errors import ShardError
from shards.seeding import rng_for


class OrderConfig(Config):
    """In which order samples come, and what becomes of those that fill no whole step."""

    seed: int = 0
    window_shards: int = Field(
        default=16,
        ge=1,
        description="samples are shuffled within so many shards: two samples of a shard come a "
        "third of that apart on average; with all shards the shuffle is perfect",
    )
    remainder: Literal["drop", "pad"] = Field(
        default="drop",
        description="the last samples that do not fill a step of all ranks are left out this "
        "epoch, or filled up from the start of the epoch's order",
    )


def order(
    seed: int, epoch: int, shard_sizes: Sequence[int], window_shards: int
) -> Int64[np.ndarray, " n"]:
    """Shuffle the samples of one epoch, keeping neighbours in the order near on disk.

    Shards are shuffled, then the samples of every ``window_shards`` consecutive shards among
    themselves.

    Args:
        seed: 0 is a seed.
        epoch: every epoch has its own order.
        shard_sizes: samples per shard, in index order.
        window_shards: at least 1; the number of shards or more shuffles all samples evenly.

    Returns:
        Sample numbers in index order's numbering, each of 0 .. sum(shard_sizes) - 1 once.
    """
    if window_shards < 1:
        raise ValueError(f"window_shards is {window_shards}, expected 1 or more")
    rng = rng_for(seed, "order", epoch)
    sizes = np.asarray(shard_sizes, np.int64)
    starts = np.cumsum(sizes) - sizes
    shards = rng.permutation(len(sizes))
    windows: list[np.ndarray] = []
    for first in range(0, len(shards), window_shards):
        window = shards[first : first + window_shards]
        numbers = [np.arange(starts[i], starts[i] + sizes[i]) for i in window]
        windows.append(rng.permutation(np.concatenate(numbers)))
    return np.concatenate(windows) if windows else np.zeros(0, np.int64)


def hash_of(text: str) -> int:
    """Hash a text to 60 bits."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


class Drawn(int):
    """A sample's number as drawn in an epoch: random choices at reading are seeded with it."""

    epoch: int

    @classmethod
    def at(cls, number: int, epoch: int) -> "Drawn":
        """Note the epoch."""
        drawn = cls(number)
        drawn.epoch = epoch
        return drawn


class EpochSampler:
    """The sample numbers of one rank for the rest of an epoch, and the place reached in it.

    Hand it to a stock torch ``DataLoader`` as ``sampler`` over a ``MapStyle`` with the same
    ``batch_size``, and call ``advance`` after every batch that was used. A loader fetches ahead;
    this place does not, so a saved state is exact for any number of workers.

    Step s of an epoch takes the next ``batch_size * world`` samples of the global order; rank r
    gets the r-th slice of ``batch_size``. What is left at the end and fills no step is dropped, or
    filled up from the start of the same order (``remainder``), so that every rank has equally many.
    """

    def __init__(
        self,
        shard_sizes: Sequence[int],
        config: OrderConfig,
        *,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 1,
        index_hash: int = 0,
    ) -> None:
        """Stand at the start of epoch 0.

        Args:
            shard_sizes: samples per shard, in index order.
            config: seed, window and remainder.
            rank: 0 .. world - 1.
            world: how many ranks read together.
            batch_size: samples per rank and step.
            index_hash: stands for the samples; a state is only taken back by the same.

        Raises:
            ShardError: if there are fewer samples than ranks, or too few for one step.
        """
        if not 0 <= rank < world or batch_size < 1:
            raise ValueError(f"rank {rank} of {world} with {batch_size} a step is no part")
        samples = sum(shard_sizes)
        needed = world * batch_size if config.remainder == "drop" else world
        if samples < needed:
            raise ShardError(
                f"{samples} samples are too few for {world} ranks taking {batch_size} each per "
                f"step, which needs {needed}; use fewer ranks, a smaller batch or a wider filter"
            )
        self.shard_sizes = tuple(int(size) for size in shard_sizes)
        self.config = config
        self.seed, self.epoch, self.done = config.seed, 0, 0
        self.rank, self.world, self.batch_size = rank, world, batch_size
        self.index_hash = index_hash
        self.contents: dict[str, int] = {}  # shard -> hash of its selected samples, if known
        self.check: Callable[[], None] = lambda: None  # are the shards there? asked on resuming

    def __len__(self) -> int:
        """Count the samples that this rank still gets in this epoch."""
        return self._steps() * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Give this rank's sample numbers for the rest of the epoch; the place stays."""
        every = self.order()
        stride = self.batch_size * self.world
        places = self.done + np.arange(self._steps())[:, None] * stride
        places = places + self.rank * self.batch_size + np.arange(self.batch_size)
        for number in every[places.ravel() % len(every)].tolist():
            yield Drawn.at(number, self.epoch)

    def order(self) -> Int64[np.ndarray, " n"]:
        """Return this epoch's order of all samples, over all ranks."""
        return order(self.seed, self.epoch, self.shard_sizes, self.config.window_shards)

    def advance(self, steps: int = 1) -> None:
        """Say that every rank has used ``steps`` more batches; rolls over into the next epoch."""
        self.done += steps * self.batch_size * self.world
        self._roll()

    def state_dict(self) -> dict[str, Any]:
        """Return the place: ``epoch``, ``done`` (samples, all ranks), ``seed``, ``index_hash``.

        ``shards`` says what each shard held, so that a change can be named.
        """
        place: dict[str, Any] = {
            "epoch": self.epoch,
            "done": self.done,
            "seed": self.seed,
            "index_hash": self.index_hash,
        }
        return place | ({"shards": dict(self.contents)} if self.contents else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place; the world size and the batch size may have changed since.

        Raises:
            ShardError: if the state belongs to other samples.
        """
        missing = {"epoch", "done", "seed", "index_hash"} - set(state)
        if missing:
            raise ShardError(f"the saved stream state lacks {sorted(missing)}; it has {state}")
        if int(state["index_hash"]) != self.index_hash:
            raise ShardError(
                "the saved stream state belongs to other samples: "
                f"{changes(state.get('shards', {}), self.contents)}. Restore them, or start the "
                "stream without the state"
            )
        self.check()
        self.epoch, self.done = int(state["epoch"]), int(state["done"])
        self.seed = int(state["seed"])
        self._roll()

    def _steps(self) -> int:
        left = max(sum(self.shard_sizes) - self.done, 0)
        stride = self.batch_size * self.world
        return left // stride if self.config.remainder == "drop" else -(-left // stride)

    def _roll(self) -> None:
        if self._steps() == 0:
            self.epoch, self.done = self.epoch + 1, 0


def changes(before: dict[str, int], now: dict[str, int]) -> str:
    """Say which shards differ, a few by name."""
    kinds = {
        "missing": [name for name in before if name not in now],
        "changed": [name for name in before if name in now and before[name] != now[name]],
        "new": [name for name in now if name not in before] if before else [],
    }
    told = [
        f"{len(names)} shards {kind} ({', '.join(names[:5])}{', ...' if names[5:] else ''})"
        for kind, names in kinds.items()
        if names
    ]
    return "; ".join(told) or "the RUN, the filter or window_shards changed since"
