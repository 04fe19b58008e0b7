"""What a training step measured, and lines that tell of it."""

import time
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


class ProgressLines:
    """Smooths the loss, and now and then has a line for those who see no bar."""

    def __init__(self, done: int, steps: int, every_s: float = 15.0) -> None:
        self.loss = float("nan")
        self._done, self._steps, self._every_s = done, steps, every_s
        self._began = self._last = time.monotonic()

    def take(self, report: StepReport) -> str:
        """Take in a step; returns a line if it is time for one, else nothing."""
        if not report.skipped:
            first = self.loss != self.loss
            self.loss = report.loss if first else 0.95 * self.loss + 0.05 * report.loss
        now = time.monotonic()
        if now - self._last <= self._every_s:
            return ""
        self._last, spent_s = now, now - self._began
        left_s = spent_s / (report.step - self._done) * (self._steps - report.step)
        return (
            f"train {report.step}/{self._steps} loss {self.loss:.4f}, {spent_s:.0f} s, "
            f"ETA {left_s:.0f} s"
        )
