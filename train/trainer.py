"""The training step: draws, loss, gradient, update.

What a step does depends on the state before it and on (seed, step) alone, so a run that was killed
and resumed repeats the losses of one that was not, bit for bit on a CPU in float32 with as many
ranks and threads.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from shards.errors import ConfigError
from shards.seeding import rng_for
from train.checkpoint import Weights
from train.config import OptimConfig, TrainConfig
from train.data import ClipBatch
from train.draws import Draws, draw, seed_of
from train.ema import Ema
from train.latents import open_space
from train.losses import diffusion_loss, motion_loss
from train.models.build import build_model
from train.models.modelscope import load_published
from train.noise import Schedule
from train.perceptual import open_clip
from train.ranks import Ranks, TrainingError
from train.report import StepReport
from train.spread import clip_gradients, hold_gradients, spread
from train.text import open_text


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Give the rate of step ``step`` (from 0) of ``steps``: warm-up, then constant or cosine."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return config.lr * warm
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


class Trainer:
    """Model, EMA, optimiser and the count of finished steps, or a rank's share of them.

    ``start`` are weights to begin with, those of the base model.

    Attributes:
        model: as it is saved; answers on every rank, where weights are sharded only if all ask.
        done: finished steps, those that were skipped too.
        skipped: the skipped ones of them, with the names of their clips.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        start: Weights | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self.ranks = ranks or Ranks(device)
        seed = int(rng_for(config.seed, "weights").integers(2**63))
        self.space = open_space(config.latents, device)
        if self.space.channels != config.model.space_channels:
            raise ConfigError(
                f"latents.autoencoder has {self.space.channels} channels, model.space_channels is "
                f"{config.model.space_channels}; make them equal"
            )
        self.text = open_text(config.text, config.model.text, device)
        self.clip = open_clip(config.image.encoder, config.model.clip, device)
        self.model = build_model(config.model, seed)
        if start is not None:
            self.model.load_state_dict(start)
        elif config.unet is not None:
            load_published(self.model, config.unet)
        self.model.train()
        self._net = spread(self.model, config, self.ranks)
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
        self.skipped: dict[int, str] = {}

    def step(self, batch: ClipBatch) -> StepReport:
        """Train on one batch, of which each rank is given its part.

        Raises:
            TrainingError: on all ranks, if the loss or the gradient is not finite and such steps
                are not skipped; the weights are then still those before the step.
        """
        lr = learning_rate(self.config.optim, self.done, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        clips, parts = len(batch.keys), self.config.parallel.accumulate
        first = self.ranks.rank * clips
        draws = draw(self.config, self.done, range(first, first + clips), self._shape(batch))
        self.optimizer.zero_grad(set_to_none=True)
        measured: list[Tensor] = []
        for part in range(parts):
            rows = slice(part * clips // parts, (part + 1) * clips // parts)
            with hold_gradients(self._net, hold=part + 1 < parts):
                measured.append(self._part(batch.rows(rows), draws.rows(rows), first + rows.start))
        norm = clip_gradients(self.model.parameters(), self.config.optim.clip_norm)
        # the one moment in which the device is waited for, and the ranks for each other
        table = self._table(torch.cat(measured, dim=1), draws.step)
        finite = math.isfinite(norm) and bool(table.isfinite().all())
        if finite:
            self.optimizer.step()
            self.ema.update(self.model)
        else:
            self._give_up(batch, table, norm)
        self.done += 1
        diffusion, motion, _ = (float(row) for row in table.mean(dim=1))
        steps = (int(step) for step in table[2])
        by_clip = tuple(zip(steps, table[0].tolist(), strict=True))
        loss = diffusion + self.config.loss.motion_weight * motion
        return StepReport(self.done, loss, diffusion, motion, norm, lr, not finite, by_clip)

    def _part(self, batch: ClipBatch, draws: Draws, place: int) -> Tensor:
        """Add the gradient of some clips; returns their losses (diffusion, motion), (2, b)."""
        draws = draws.to(self.device)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # dropout draws from the global generator
            torch.manual_seed(seed_of(self.config, "dropout", self.done, place))
            taken = batch.to(self.device).frozen(draws.frozen).at_frames(draws.frames)
            taken = taken.seen_by(self.clip, self.space).inside(self.space).read_by(self.text)
            with self._cast():
                diffusion, motion = self._losses(taken, draws)
            loss = diffusion.mean() + self.config.loss.motion_weight * motion.mean()
            (loss / self.config.parallel.accumulate).backward()
        return torch.stack([diffusion.detach(), motion.detach()])

    def _cast(self) -> AbstractContextManager[object]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _shape(self, batch: ClipBatch) -> tuple[int, ...]:
        _, t, c, h, w = batch.orbit.shape
        if batch.encoded:
            return t, c, h, w
        return t, self.space.channels, h // self.space.factor, w // self.space.factor

    def _losses(self, batch: ClipBatch, draws: Draws) -> tuple[Tensor, Tensor]:
        noisy = self.schedule.noisy(batch.orbit, draws.eps, draws.step)
        shown = self.schedule.shown(noisy, draws.step)
        output = self._net(shown, draws.step, batch.conditions(draws.keep))
        goal = self.schedule.goal(batch.orbit, draws.eps, draws.step)
        diffusion = diffusion_loss(output, goal)
        if not self.config.loss.motion_weight:
            return diffusion, torch.zeros_like(diffusion)
        guess = self.schedule.clean(output, noisy, draws.step)
        left = self.schedule.alpha_bar(draws.step)
        left = left if self.config.loss.motion_fades else torch.ones_like(left)
        return diffusion, motion_loss(guess, batch.orbit, batch.static, left)

    def _table(self, losses: Tensor, steps: Tensor) -> Tensor:
        """Give (diffusion, motion, noise step) of all clips of all ranks, (3, batch)."""
        own = torch.cat([losses.cpu().double(), steps[None].double()])
        return self.ranks.gather(own.flatten()).unflatten(1, own.shape).transpose(0, 1).flatten(1)

    def _give_up(self, batch: ClipBatch, table: Tensor, norm: float) -> None:
        keys = [key for part in self.ranks.objects(batch.keys) for key in part]
        bad = [key for key, fine in zip(keys, table.isfinite().all(dim=0), strict=True) if not fine]
        what = f"loss is {_worst(table)}" if bad else f"gradient norm is {norm}"
        self.skipped[self.done + 1] = ", ".join(bad or keys)
        found = f"step {self.done + 1}: the {what} on clips {', '.join(bad or keys)}"
        if self.config.faults.nonfinite == "stop":
            raise TrainingError(
                f"{found}. Nothing of this step was kept; the last checkpoint stands. Try a lower "
                f"rate, for example --set optim.lr={self.config.optim.lr / 3:.1g}, in another "
                "--out, or --set faults.nonfinite=skip",
                everywhere=True,
            )
        if len(self.skipped) > self.config.faults.skipped_max:
            raise TrainingError(
                f"{found}. {len(self.skipped)} steps were skipped for this, more than "
                f"faults.skipped_max={self.config.faults.skipped_max}: "
                f"{', '.join(str(step) for step in self.skipped)}. Try a lower optim.lr in "
                "another --out",
                everywhere=True,
            )

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Give the model with its averaged weights, not training; all ranks have to ask."""
        with self.ema.inside(self.model), torch.no_grad():
            self.model.eval()
            try:
                yield self.model
            finally:
                self.model.train()


def _worst(table: Tensor) -> float:
    return float(table[:2][~table[:2].isfinite()][0])
