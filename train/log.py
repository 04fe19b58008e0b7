"""TensorBoard log of a training run."""

import time
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard.writer import SummaryWriter

from train.config import TrainConfig
from train.report import StepReport


class TrainLog:
    """Writes loss, learning rate, gradient norm and samples/s every ``log_every_steps``."""

    def __init__(self, folder: Path, done: int, config: TrainConfig) -> None:
        # Steps after the checkpoint that a killed run had logged are written again: hide them.
        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)
        self._every = config.log_every_steps
        self._batch = config.batch
        self._since, self._steps = time.monotonic(), 0

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def step(self, report: StepReport) -> None:
        """Take in one step."""
        self._steps += 1
        if report.step % self._every and report.step != 1:
            return
        now = time.monotonic()
        rate = self._steps * self._batch / max(now - self._since, 1e-9)
        self._since, self._steps = now, 0
        figures = {
            "loss/total": report.loss,
            "loss/diffusion": report.diffusion,
            "loss/motion": report.motion,
            "optim/lr": report.lr,
            "optim/grad_norm": report.grad_norm,
            "speed/samples_per_s": rate,
        }
        for name, value in figures.items():
            self._writer.add_scalar(name, value, report.step)
