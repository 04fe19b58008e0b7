"""TensorBoard log of a training run, and the same at Weights & Biases where that is asked for."""

import resource
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard.writer import SummaryWriter

from shards.errors import ConfigError
from train.config import TrainConfig
from train.flops import device_peak
from train.ranks import Ranks
from train.report import StepReport


class TrainLog:
    """Writes what was measured every ``log_every_steps``; rank 0 writes, of all ranks' values.

    Losses are means over the steps since the last entry, of clips that were trained on.
    """

    def __init__(
        self, folder: Path, done: int, config: TrainConfig, ranks: Ranks, clip_flops: float = 0.0
    ) -> None:
        self._config, self._ranks, self._flops = config, ranks, clip_flops
        self._peak = device_peak(ranks.device)
        self._writer: SummaryWriter | None = None
        self._wandb: Any = None
        if ranks.first:
            self._wandb = _open_wandb(config, folder)
            # Steps after the checkpoint that a killed run had logged are written again: hide them.
            self._writer = SummaryWriter(str(folder), purge_step=done + 1)
        self._restart()

    def _restart(self) -> None:
        self._since, self._waited_s = time.monotonic(), 0.0
        self._reports: list[StepReport] = []

    def __enter__(self) -> "TrainLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if error is None else 1)

    def step(self, report: StepReport, waited_s: float, broken: int) -> None:
        """Take in one step; all ranks call it.

        Args:
            report: of the step.
            waited_s: how long this rank waited for its clips.
            broken: samples found broken so far.
        """
        self._reports.append(report)
        self._waited_s += waited_s
        if report.step % self._config.log_every_steps and report.step != 1:
            return
        own = torch.tensor([self._waited_s, memory_bytes(self._ranks.device)], dtype=torch.float64)
        waited_all_s, memory = self._ranks.gather(own).unbind(dim=1)
        spent_s = max(time.monotonic() - self._since, 1e-9)
        speed = len(self._reports) * self._config.batch / spent_s
        figures = {
            **self._losses(),
            "optim/lr": report.lr,
            "optim/grad_norm": report.grad_norm,
            "speed/samples_per_s": speed,
            "speed/data_wait_share": float(waited_all_s.mean()) / spent_s,
            "speed/tflop_per_s": speed * self._flops / 1e12,
            "memory/peak_gb": float(memory.max()) / 1e9,
            "faults/skipped_steps": sum(one.skipped for one in self._reports),
            "faults/broken_samples": broken,
        }
        if self._peak is not None:
            figures["speed/mfu"] = speed * self._flops / (self._peak * self._ranks.world)
        self.scalars(figures, report.step)
        self._restart()

    def _losses(self) -> dict[str, float]:
        kept = [report for report in self._reports if not report.skipped]
        if not kept:
            return {}
        names = ("loss", "diffusion", "motion")
        losses = {f"loss/{n}": float(np.mean([getattr(r, n) for r in kept])) for n in names}
        losses["loss/total"] = losses.pop("loss/loss")
        steps, clips = np.array([pair for r in kept for pair in r.by_clip]).T
        last, count = self._config.noise.steps, self._config.log.buckets
        for bucket in range(count):
            low, high = bucket * last // count, (bucket + 1) * last // count
            inside = clips[(steps >= low) & (steps < high)]
            if len(inside):
                losses[f"loss_by_noise_step/{low:04d}-{high - 1:04d}"] = float(inside.mean())
        return losses

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Write numbers; does nothing on other ranks than the first."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def images(self, name: str, images: np.ndarray, step: int) -> None:
        """Write images (n, h, w, 3), uint8; does nothing on other ranks than the first."""
        if self._writer is not None:
            self._writer.add_images(name, images, step, dataformats="NHWC")

    def text(self, name: str, text: str, step: int) -> None:
        """Write a text; does nothing on other ranks than the first."""
        if self._writer is not None:
            self._writer.add_text(name, text, step)


def memory_bytes(device: torch.device) -> float:
    """Give the most memory held so far: on the GPU by tensors, else by the process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _open_wandb(config: TrainConfig, folder: Path) -> Any:
    if config.log.wandb is None:
        return None
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"log.wandb is {config.log.wandb!r}, but the package is not here: pip install wandb, "
            "or leave log.wandb out"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb.id"
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex[:16])
    return wandb.init(
        project=config.log.wandb,
        id=identity.read_text(),
        resume="allow",  # calls that go on are one run there too
        name=folder.parent.name,
        dir=str(folder),
        config=config.model_dump(mode="json"),
        sync_tensorboard=True,
    )
