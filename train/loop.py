"""The training step (draws, loss, gradient, update) and the loop around it.

What a step does depends on the state before it and on (seed, step) alone, so a run that was killed
and resumed repeats the losses of one that was not, bit for bit on a CPU in float32 with as many
threads.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float32, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from shards.errors import ConfigError, Orbit4dError, RunError
from shards.files import publish, temporary_for
from shards.seeding import rng_for
from train.checkpoint import (
    Checkpoint,
    Weights,
    clear_unfinished,
    load_checkpoint,
    save_checkpoint,
)
from train.config import OptimConfig, TrainConfig
from train.data import Batches, ClipBatch, check_space, follow_clips, open_clips
from train.ema import Ema
from train.latents import open_space
from train.log import TrainLog
from train.losses import diffusion_loss, motion_loss
from train.models.api import CONDITIONS
from train.models.build import build_model
from train.models.modelscope import load_published
from train.noise import Schedule
from train.report import StepReport
from train.run import FitFolder, Plan, write_document
from train.split import names_kept_out
from train.text import open_text


class TrainingError(Orbit4dError):
    """Training cannot go on."""


@dataclass(frozen=True, slots=True)
class Draws:
    """All randomness of one step."""

    frozen: Bool[Tensor, " b"]
    frames: Int64[Tensor, "b s"]  # rising
    keep: Bool[Tensor, "b k"]
    step: Int64[Tensor, " b"]
    eps: Float32[Tensor, "b t c h w"]

    def to(self, device: torch.device) -> "Draws":
        """Move to a device."""
        parts = (self.frozen, self.frames, self.keep, self.step, self.eps)
        return Draws(*(part.to(device) for part in parts))


def draw(config: TrainConfig, step: int, shape: Sequence[int]) -> Draws:
    """Draw for training step ``step``, on the CPU: the same on every device.

    ``shape`` is that of the whole clips in the space of the model, (b, t, c, h, w).
    """
    generator = torch.Generator().manual_seed(_step_seed(config, "draws", step))
    b, t, *rest = shape
    taken = min(config.data.train_frames or t, t)
    share = config.data.static_share if "static" in config.data.sequences else 0.0
    share = share if "orbit" in config.data.sequences else 1.0
    dropped = torch.tensor([getattr(config.drop, name) for name in CONDITIONS])
    last = torch.rand(b, generator=generator) < config.loss.terminal_share
    noise_step = torch.randint(config.noise.steps, (b,), generator=generator)
    return Draws(
        frozen=torch.rand(b, generator=generator) < share,
        keep=torch.rand(b, len(CONDITIONS), generator=generator) >= dropped,
        step=torch.where(last, config.noise.steps - 1, noise_step),
        frames=torch.rand(b, t, generator=generator).argsort(dim=1)[:, :taken].sort(dim=1).values,
        eps=torch.randn((b, taken, *rest), generator=generator),
    )


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Give the rate of step ``step`` (from 0) of ``steps``: warm-up, then constant or cosine."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return config.lr * warm
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def _step_seed(config: TrainConfig, purpose: str, step: int) -> int:
    return int(rng_for(config.seed, "train step", purpose, step).integers(2**63))


class Trainer:
    """Model, EMA, optimiser and the count of finished steps.

    ``start`` are weights to begin with, those of the base model.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, start: Weights | None = None
    ) -> None:
        self.config = config
        self.device = device
        seed = int(rng_for(config.seed, "weights").integers(2**63))
        self.space = open_space(config.latents, device)
        if self.space.channels != config.model.space_channels:
            raise ConfigError(
                f"latents.autoencoder has {self.space.channels} channels, model.space_channels is "
                f"{config.model.space_channels}; make them equal"
            )
        self.text = open_text(config.text, config.model.text, device)
        self.model = build_model(config.model, seed)
        if start is not None:
            self.model.load_state_dict(start)
        elif config.unet is not None:
            load_published(self.model, config.unet)
        self.model = self.model.to(device).train()
        self.ema = Ema(self.model, config.optim.ema)
        self.schedule = Schedule.build(config.noise, device, self.space.values)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.optim.lr,
            betas=config.optim.betas,
            weight_decay=config.optim.weight_decay,
            fused=True,
        )
        self.done = 0

    def step(self, batch: ClipBatch) -> StepReport:
        """Train on one batch.

        Raises:
            TrainingError: if the loss or the gradient is not finite; the weights are then
                still those before the step.
        """
        lr = learning_rate(self.config.optim, self.done, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        draws = draw(self.config, self.done, self._shape(batch)).to(self.device)
        with torch.random.fork_rng():  # dropout draws from the global generator
            torch.manual_seed(_step_seed(self.config, "dropout", self.done))
            taken = batch.to(self.device).frozen(draws.frozen).at_frames(draws.frames)
            taken = taken.inside(self.space).read_by(self.text)
            diffusion, motion = self._losses(taken, draws)
        loss = diffusion + self.config.loss.motion_weight * motion
        self._check("loss", loss, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        self._check("gradient norm", norm, batch)
        self.optimizer.step()
        self.ema.update(self.model)
        self.done += 1
        values = [float(value) for value in (loss.detach(), diffusion.detach(), motion.detach())]
        return StepReport(self.done, *values, grad_norm=float(norm), lr=lr)

    def _shape(self, batch: ClipBatch) -> tuple[int, ...]:
        b, t, c, h, w = batch.orbit.shape
        if batch.encoded:
            return b, t, c, h, w
        return b, t, self.space.channels, h // self.space.factor, w // self.space.factor

    def _losses(self, batch: ClipBatch, draws: Draws) -> tuple[Tensor, Tensor]:
        noisy = self.schedule.noisy(batch.orbit, draws.eps, draws.step)
        shown = self.schedule.shown(noisy, draws.step)
        output = self.model(shown, draws.step, batch.conditions(draws.keep))
        goal = self.schedule.goal(batch.orbit, draws.eps, draws.step)
        diffusion = diffusion_loss(output, goal).mean()
        if not self.config.loss.motion_weight:
            return diffusion, torch.zeros_like(diffusion)
        guess = self.schedule.clean(output, noisy, draws.step)
        left = self.schedule.alpha_bar(draws.step)
        left = left if self.config.loss.motion_fades else torch.ones_like(left)
        return diffusion, motion_loss(guess, batch.orbit, batch.static, left).mean()

    def _check(self, name: str, value: Tensor, batch: ClipBatch) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"step {self.done + 1}: the {name} is {value.item()} on clips "
                f"{', '.join(batch.keys)}. Nothing of this step was kept; the last checkpoint "
                "stands. Try a lower rate, for example --set optim.lr="
                f"{self.config.optim.lr / 3:.1g}, in another --out"
            )

    def checkpoint(self, stream: dict[str, Any]) -> Checkpoint:
        """Gather the state after the last finished step, with the place in the stream."""
        state = {
            "optimizer": self.optimizer.state_dict(),
            "ema_updates": self.ema.updates,
            "stream": stream,
        }
        return Checkpoint(self.done, self.model.state_dict(), self.ema.weights, state)

    def restore(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Take up a checkpoint and return its place in the stream."""
        self.model.load_state_dict(checkpoint.model)
        self.ema.load(checkpoint.ema, checkpoint.state["ema_updates"])
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])
        self.done = checkpoint.step
        return checkpoint.state["stream"]


def device_for(name: str) -> torch.device:
    """Choose the device; ``auto`` takes CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a call of ``fit`` ended; ``reports`` has every step of this call."""

    steps_done: int
    finished: bool
    reports: tuple[StepReport, ...]
    seconds: float


def fit(
    plan: Plan, data: Path, out: Path, on_step: Callable[[StepReport], None] | None = None
) -> FitResult:
    """Train from the last checkpoint until the last step or the time budget.

    Args:
        plan: from ``train.run.plan_fit``.
        data: the RUN folder.
        out: the FIT folder.
        on_step: is handed what every step measured.

    Raises:
        TrainingError: if the loss is not finite.
    """
    began = time.monotonic()
    config, folder = plan.config, FitFolder(out)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    clear_unfinished(folder.checkpoints)
    write_document(plan, data, out)
    clips = (
        follow_clips(
            data,
            config.data,
            config.seed,
            names_kept_out(plan.split.held_out, config.data.held_out),
        )
        if plan.follow
        else open_clips(data, config.data, config.seed, plan.split.train)
    )
    batches = Batches(clips, config.batch, config.data.workers)
    trainer = Trainer(config, device_for(config.device), start_weights(config, folder))
    check_space(clips, trainer.space, config.data.size)
    if plan.steps_done:
        batches.load_state_dict(trainer.restore(load_checkpoint(folder.checkpoints)))
    reports: list[StepReport] = []
    with TrainLog(folder.logs, trainer.done, config) as log:
        for batch in batches:
            reports.append(trainer.step(batch))
            batches.advance()
            log.step(reports[-1])
            if on_step is not None:
                on_step(reports[-1])
            last = _is_last(config, trainer.done, time.monotonic() - began)
            if last or trainer.done % config.checkpoint.every_steps == 0:
                state = trainer.checkpoint(batches.state_dict())
                save_checkpoint(folder.checkpoints, state, config.checkpoint.keep)
            if last:
                break
    finished = trainer.done >= config.steps
    return FitResult(trainer.done, finished, tuple(reports), time.monotonic() - began)


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
        for name in ("model", "latents", "text", "noise"):
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


def _is_last(config: TrainConfig, done: int, spent_s: float) -> bool:
    over = config.time_budget_s is not None and spent_s >= config.time_budget_s
    return over or done >= config.steps
