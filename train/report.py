"""What a training step measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step measured; ``step`` counts finished steps, ``loss`` is what was minimised."""

    step: int
    loss: float
    diffusion: float
    motion: float
    grad_norm: float
    lr: float
