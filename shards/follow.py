"""Reading a RUN that is still being built: new shards join where an epoch begins.

Within an epoch the samples stay those that it began with, so a saved place is exact; it holds the
names of these shards and finds them again, however many have joined since.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int64

from shards.errors import ShardError
from shards.order import EpochSampler, OrderConfig, changes, hash_of, order


class Growing(Protocol):
    """A dataset that can look for new shards."""

    def refresh(self) -> None:
        """Look for new shards."""
        ...

    def shards(self) -> list[tuple[str, int, int]]:
        """List name, selected samples and hash of each shard, in index order."""
        ...


Agree = Callable[[list[str]], list[str]]


class FollowingSampler(EpochSampler):
    """The order over the shards that were there when the epoch began.

    Several ranks may look at different moments: set ``agree`` to what makes them use one list, for
    example to broadcasting rank 0's (``torch.distributed.broadcast_object_list``). All ranks call
    it at the start and at each new epoch.
    """

    def __init__(
        self,
        dataset: Growing,
        config: OrderConfig,
        *,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 1,
    ) -> None:
        """Stand at the start of epoch 0 over the shards that are there."""
        self.dataset = dataset
        self.agree: Agree | None = None
        shards = dataset.shards()
        sizes = [size for _, size, _ in shards]
        super().__init__(sizes, config, rank=rank, world=world, batch_size=batch_size)
        self._use([name for name, _, _ in shards])

    def begin(self, agree: Agree | None = None) -> None:
        """Agree with the other ranks on the shards to begin with; needed with several."""
        self.agree = agree
        self._look()

    def order(self) -> Int64[np.ndarray, " n"]:
        """Return this epoch's order of all samples, over all ranks."""
        if self.world > 1 and self.agree is None:
            raise ShardError(
                "several ranks follow a RUN that grows, and may see different shards: call "
                "sampler.begin(agree) with a function that gives all of them rank 0's list"
            )
        own = order(self.seed, self.epoch, self.shard_sizes, self.config.window_shards)
        return self._places[own]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place, among the shards of that epoch.

        Raises:
            ShardError: if one of them is gone or changed.
        """
        self.dataset.refresh()
        before = state.get("shards", {})
        now = {name: digest for name, _, digest in self.dataset.shards()}
        if any(now.get(name) != digest for name, digest in before.items()):
            there = {name: digest for name, digest in now.items() if name in before}
            raise ShardError(
                f"shards that this epoch began with are others now: {changes(before, there)}. "
                "Restore them, or start the stream without the state"
            )
        self._use(list(before))
        super().load_state_dict(state)

    def _roll(self) -> None:
        epoch = self.epoch
        super()._roll()
        if self.epoch != epoch:
            self._look()

    def _look(self) -> None:
        self.dataset.refresh()
        names = [name for name, _, _ in self.dataset.shards()]
        self._use(self.agree(names) if self.agree else names)

    def _use(self, names: list[str]) -> None:
        wanted, start = set(names), 0
        places: list[np.ndarray] = []
        self.contents = {}
        for name, size, digest in self.dataset.shards():
            if name in wanted:
                places.append(np.arange(start, start + size))
                self.contents[name] = digest
            start += size
        if lost := wanted - set(self.contents):
            raise ShardError(
                f"another rank sees shards that are not here: {sorted(lost)}; all ranks have to "
                "read the same RUN"
            )
        self._places = np.concatenate(places)
        self.shard_sizes = tuple(len(part) for part in places)
        self.index_hash = hash_of(f"order 2, window {self.config.window_shards}, {self.contents}")
