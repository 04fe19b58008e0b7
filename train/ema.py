"""Exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Ema:
    """Keeps averaged weights beside a model, spread over ranks as the model's are.

    The decay warms up as (1 + n) / (10 + n) with the number of updates n, so that a short run does
    not average over its first, random weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: value.detach().clone() for name, value in _weights(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in _weights(model).items():
            here(self.weights[name]).lerp_(here(value), 1 - decay)

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Have the model answer with the averaged weights for a while."""
        own = {name: here(value).clone() for name, value in _weights(model).items()}
        with torch.no_grad():
            for name, value in _weights(model).items():
                here(value).copy_(here(self.weights[name]))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in _weights(model).items():
                    here(value).copy_(own[name])


def here(value: Tensor) -> Tensor:
    """Give the part of a tensor that this rank holds, which is all of it unless it is sharded."""
    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return model.state_dict()
