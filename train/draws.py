"""All randomness of a training step.

A clip's draws depend on (seed, step, its place in the step's batch over all ranks), so they are the
same however the batch is spread over ranks and parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from shards.seeding import rng_for
from train.config import TrainConfig
from train.models.api import CONDITIONS


@dataclass(frozen=True, slots=True)
class Draws:
    """What is drawn for some clips of a step."""

    frozen: Bool[Tensor, " b"]
    frames: Int64[Tensor, "b s"]  # rising
    keep: Bool[Tensor, "b k"]
    step: Int64[Tensor, " b"]
    eps: Float32[Tensor, "b t c h w"]

    def to(self, device: torch.device) -> "Draws":
        """Move to a device."""
        return Draws(*(part.to(device) for part in self._parts()))

    def rows(self, rows: slice) -> "Draws":
        """Take those of some of the clips."""
        return Draws(*(part[rows] for part in self._parts()))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.frozen, self.frames, self.keep, self.step, self.eps


def draw(config: TrainConfig, step: int, places: Sequence[int], shape: Sequence[int]) -> Draws:
    """Draw for the clips at ``places`` of training step ``step``, on the CPU: alike on all devices.

    ``shape`` is that of one whole clip in the space of the model, (t, c, h, w).
    """
    drawn = [_draw_one(config, step, place, shape) for place in places]
    return Draws(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))


def _draw_one(
    config: TrainConfig, step: int, place: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed_of(config, "draws", step, place))
    t, *rest = shape
    taken = min(config.data.train_frames or t, t)
    share = config.data.static_share if "static" in config.data.sequences else 0.0
    share = share if "orbit" in config.data.sequences else 1.0
    dropped = torch.tensor([getattr(config.drop, name) for name in CONDITIONS])
    terminal, frozen = torch.rand(2, generator=generator).unbind()
    noise_step = torch.randint(config.noise.steps, (), generator=generator)
    last = torch.full_like(noise_step, config.noise.steps - 1)
    keep = torch.rand(len(CONDITIONS), generator=generator) >= dropped
    frames = torch.rand(t, generator=generator).argsort()[:taken].sort().values
    return (
        frozen < share,
        frames,
        keep,
        torch.where(terminal < config.loss.terminal_share, last, noise_step),
        torch.randn((taken, *rest), generator=generator),
    )


def seed_of(config: TrainConfig, purpose: str, step: int, place: int) -> int:
    """Give a generator's seed for something of one clip of one step."""
    return int(rng_for(config.seed, "train step", purpose, step, place).integers(2**63))
