"""The loop around the training step, the same on one process and on many.

It is started alone, by torchrun, or by Ray (``train.on_ray``); all ranks run this function.
"""

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from shards.errors import MachineError, RunError
from shards.files import publish, temporary_for
from train.checkpoint import Progress, Weights, clear_unfinished, load_checkpoint
from train.config import TrainConfig
from train.data import Batches, Clips, check_space, follow_clips, open_clips
from train.faults import BrokenSamples
from train.flops import clip_flops
from train.heartbeat import READING, Heartbeat
from train.log import TrainLog
from train.ranks import Ranks, TrainingError, open_ranks
from train.report import StepReport
from train.run import FitFolder, Plan, write_document
from train.saver import Saver, restore
from train.split import names_kept_out
from train.trainer import Trainer
from train.watch import Watch

_LAST = 20  # steps

# Called on every rank after every step, before its checkpoint.
Hook = Callable[[Trainer, TrainLog], None]


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a call of ``fit`` ended; ``reports`` has every step of this call."""

    steps_done: int
    finished: bool
    reports: tuple[StepReport, ...]
    seconds: float
    skipped: dict[int, str]
    broken: dict[str, str]
    loss: float  # mean over the last steps that were not skipped


def fit(
    plan: Plan,
    data: Path,
    out: Path,
    on_step: Callable[[StepReport], None] | None = None,
    hooks: Sequence[Hook] = (),
) -> FitResult:
    """Train from the last checkpoint until the last step or the time budget.

    Args:
        plan: from ``train.run.plan_fit``; rank 0's counts.
        data: the RUN folder.
        out: the FIT folder, which all ranks see.
        on_step: is handed what every step measured.
        hooks: what else is done between steps, on all ranks, after ``train.watch``.

    Raises:
        TrainingError: if the loss is not finite, too many samples are broken, or a rank is lost.
        MachineError: if a checkpoint cannot be written.
    """
    with open_ranks(plan.config) as ranks:
        plan = ranks.agreed(plan)
        watching = (Watch(plan, data), *hooks)
        with Heartbeat(ranks, plan.config.parallel.timeout_s) as heartbeat:
            try:
                return _Run(plan, data, out, ranks, heartbeat).go(on_step, watching)
            except RuntimeError as error:
                if ranks.world > 1 and _is_lost_peer(error):
                    raise heartbeat.explain(error) from error
                raise
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                    raise
                raise MachineError(
                    f"{out}: {error.strerror}. The last checkpoint stands; mend this, then give "
                    "the same command again"
                ) from error


def _is_lost_peer(error: RuntimeError) -> bool:
    words = ("Connection", "connection", "Timed out", "timed out", "peer", "gloo", "NCCL")
    return isinstance(error, torch.distributed.DistError) or any(w in str(error) for w in words)


class _Run:
    """What one call of ``fit`` works with."""

    def __init__(
        self, plan: Plan, data: Path, out: Path, ranks: Ranks, heartbeat: Heartbeat
    ) -> None:
        self.began = time.monotonic()
        self.config, self.ranks, self.heartbeat = plan.config, ranks, heartbeat
        config, folder = plan.config, FitFolder(out)
        if ranks.first:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
            clear_unfinished(folder.checkpoints)
            write_document(plan, data, out)
            start_weights(config, folder)
        ranks.agreed(None)  # they are there
        self.clips = _clips(plan, data)
        self.batches = Batches(
            self.clips, config.batch, config.data.workers, rank=ranks.rank, world=ranks.world
        )
        self.batches.agree(ranks.agreed)
        self.trainer = Trainer(config, ranks.device, start_weights(config, folder), ranks)
        check_space(self.clips, self.trainer.space, config.data.size)
        self.broken = BrokenSamples(config.faults.broken_max, ranks)
        if plan.steps_done:
            progress = restore(self.trainer, folder.checkpoints, plan.steps_done)
            self.batches.load_state_dict(progress.stream)
            self.broken.load(progress.broken)
        self.saver = Saver(folder.checkpoints, config.checkpoint, ranks)
        self.logs = folder.logs

    def go(self, on_step: Callable[[StepReport], None] | None, hooks: Sequence[Hook]) -> FitResult:
        """Train; where no rank is lost, the checkpoint being written is finished."""
        try:
            return self._steps(on_step, hooks)
        except BaseException as error:  # Ctrl-C too
            if self.ranks.world == 1 or (isinstance(error, TrainingError) and error.everywhere):
                self.saver.close()
            raise

    def _steps(
        self, on_step: Callable[[StepReport], None] | None, hooks: Sequence[Hook]
    ) -> FitResult:
        trainer, config = self.trainer, self.config
        reports: list[StepReport] = []
        stream = iter(self.batches)
        with TrainLog(self.logs, trainer.done, config, self.ranks, self._clip_flops()) as log:
            while True:
                self.heartbeat.note(READING)
                waited = time.monotonic()
                batch = next(stream)
                waited_s = time.monotonic() - waited
                self.heartbeat.note(f"works on step {trainer.done + 1}")
                self.broken.meet(batch)
                reports.append(trainer.step(batch))
                self.batches.advance()
                log.step(reports[-1], waited_s, len(self.broken.found))
                if on_step is not None:
                    on_step(reports[-1])
                self.heartbeat.note(f"looks at step {trainer.done}")  # sampling takes its time
                for hook in hooks:
                    hook(trainer, log)
                last = self.ranks.agreed(self._is_last())
                if last or trainer.done % config.checkpoint.every_steps == 0:
                    self.heartbeat.note(f"saves step {trainer.done}")
                    self.saver.save(trainer, self._progress())
                if last:
                    break
            self.saver.close()
        return FitResult(
            steps_done=trainer.done,
            finished=trainer.done >= config.steps,
            reports=tuple(reports),
            seconds=time.monotonic() - self.began,
            skipped=trainer.skipped,
            broken=self.broken.found,
            loss=_mean_loss(reports),
        )

    def _progress(self) -> Progress:
        trainer = self.trainer
        return Progress(
            step=trainer.done,
            updates=trainer.ema.updates,
            stream=self.batches.state_dict(),
            skipped=dict(trainer.skipped),
            broken=dict(self.broken.found),
        )

    def _clip_flops(self) -> float:
        if not self.ranks.first:
            return 0.0
        config, space = self.config, self.trainer.space
        frames = min(config.data.train_frames or config.data.frames, config.data.frames)
        side = config.data.size // space.factor
        return clip_flops(config, (frames, space.channels, side, side))

    def _is_last(self) -> bool:
        budget, spent_s = self.config.time_budget_s, time.monotonic() - self.began
        return self.trainer.done >= self.config.steps or (budget is not None and spent_s >= budget)


def _mean_loss(reports: list[StepReport]) -> float:
    kept = [report.loss for report in reports if not report.skipped][-_LAST:]
    return sum(kept) / len(kept) if kept else float("nan")


def _clips(plan: Plan, data: Path) -> Clips:
    config = plan.config
    if not plan.follow:
        return open_clips(data, config.data, config.seed, plan.split.train)
    held_out = names_kept_out(plan.split.held_out, config.data.held_out)
    return follow_clips(data, config.data, config.seed, held_out)


def start_weights(config: TrainConfig, folder: FitFolder) -> Weights | None:
    """Give the base model's averaged weights, copied into the FIT folder at the first call.

    The copy is what w2 guides away from when sampling, wherever the base's own folder is by then.

    Raises:
        RunError: if the base was trained with another model or in another space.
    """
    if config.base is None:
        return None
    if not folder.base.exists():
        base = FitFolder(Path(config.base))
        theirs, _ = base.read()
        for name in ("model", "latents", "text", "image", "noise"):
            if getattr(theirs, name) != getattr(config, name):
                raise RunError(
                    f"{config.base}: was trained with other settings of {name} "
                    f"({getattr(theirs, name)}) than asked for ({getattr(config, name)}); the "
                    "4D model goes on from the base, so make them equal"
                )
        temporary = temporary_for(folder.base)
        save_file(load_checkpoint(base.checkpoints).ema, temporary)
        publish(temporary, folder.base)
    return load_file(folder.base)
