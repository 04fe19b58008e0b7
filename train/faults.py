"""Broken samples: stepped over by the stream, counted and named here, over all ranks."""

from collections.abc import Mapping

import structlog
import torch

from train.data import ClipBatch
from train.ranks import Ranks, TrainingError

_log = structlog.get_logger(__name__)


class BrokenSamples:
    """Those met so far in all calls of a run: ``found`` maps key to reason."""

    def __init__(self, most: int, ranks: Ranks) -> None:
        self.found: dict[str, str] = {}
        self._most, self._ranks = most, ranks

    def load(self, found: Mapping[str, str]) -> None:
        """Take up those of earlier calls."""
        self.found = dict(found)

    def meet(self, batch: ClipBatch) -> None:
        """Take note of what a batch stands in for; all ranks call it for every batch.

        Raises:
            TrainingError: on all ranks, if there are too many.
        """
        new = {key: why for key, why in batch.broken if key not in self.found}
        if not self._ranks.gather(torch.tensor([len(new)])).any():
            return
        for part in self._ranks.objects(new):
            for key, why in part.items():
                if key not in self.found and self._ranks.first:
                    _log.warning("broken sample skipped", key=key, reason=why)
                self.found[key] = why
        if len(self.found) > self._most:
            raise TrainingError(
                f"{len(self.found)} samples are broken, more than faults.broken_max={self._most}: "
                f"{', '.join(list(self.found)[:20])}. The last: {list(self.found.values())[-1]}. "
                "See orbit4d shards check; to go on without them, raise faults.broken_max",
                everywhere=True,
            )
