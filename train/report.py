"""What a training step measured."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step measured over all ranks; ``step`` counts finished steps.

    ``loss`` is what was minimised. A step that was skipped changed nothing. ``by_clip`` has
    (noise step, diffusion loss) of each clip, in the order of the step's batch.
    """

    step: int
    loss: float
    diffusion: float
    motion: float
    grad_norm: float
    lr: float
    skipped: bool = False
    by_clip: tuple[tuple[int, float], ...] = field(default=(), repr=False)
