"""Exponential moving average of a model's weights."""

import torch
from torch import Tensor, nn


class Ema:
    """Keeps averaged weights beside a model.

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
            self.weights[name].lerp_(value, 1 - decay)

    def load(self, weights: dict[str, Tensor], updates: int) -> None:
        """Take up saved averages."""
        self.updates = updates
        for name, value in self.weights.items():
            value.copy_(weights[name])


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return model.state_dict()
