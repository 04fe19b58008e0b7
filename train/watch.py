"""Samples and scores of a few held-out clips while a model is trained, for TensorBoard."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from train.data import ClipBatch, open_clips, stacked
from train.evaluate import repeat_input, sample_clips
from train.generate import colours
from train.log import TrainLog
from train.media import contact_sheet
from train.metrics import Clips, measured_motion, psnr_db, ssim
from train.run import Plan
from train.trainer import Trainer


class Watch:
    """A hook of ``train.loop.fit``: every ``evaluate.every_steps`` steps samples the same clips.

    The averaged weights, the run's own way of sampling without w2, and noise that is the same
    every time; nothing of it reaches the training. All ranks sample, since those of sharded
    weights have to; the first one writes.
    """

    def __init__(self, plan: Plan, data: Path) -> None:
        self._config = plan.config.evaluate
        self._sample = plan.config.sample.model_copy(update={"w2": 0.0})
        self._keys = spread_over(plan.split.held_out, self._config.clips)
        self._data, self._plan = data, plan
        self._clips: tuple[ClipBatch, list[float]] | None = None

    def __call__(self, trainer: Trainer, log: TrainLog) -> None:
        """Look, where it is time to."""
        if not self._keys or not self._config.every_steps:
            return
        if trainer.done % self._config.every_steps:
            return
        if self._clips is None:
            self._clips = _read(self._plan, self._data, self._keys)
        batch, azimuth_deg = self._clips
        seen = batch.to(trainer.device).seen_by(trainer.clip, trainer.space)
        inside = seen.inside(trainer.space).read_by(trainer.text)
        config = trainer.config
        with trainer.averaged() as model:
            made = sample_clips(model, inside, trainer.schedule, self._sample, config.seed)
        made = trainer.space.decode(made).cpu()
        shown = batch if not batch.encoded else _images(batch, trainer)
        log.scalars(_figures(made, shown, config.data.motion_scale), trainer.done)
        pairs = zip(self._keys, colours(shown.orbit), colours(made), strict=True)
        sheet = np.asarray(contact_sheet(list(pairs), azimuth_deg).convert("RGB"))
        log.images("held-out clips", sheet[None], trainer.done)


def spread_over(keys: Sequence[str], most: int) -> tuple[str, ...]:
    """Choose up to ``most`` keys, evenly."""
    count = min(most, len(keys))
    return tuple(keys[i * len(keys) // count] for i in range(count))


def _read(plan: Plan, data: Path, keys: tuple[str, ...]) -> tuple[ClipBatch, list[float]]:
    config = plan.config
    clips = open_clips(data, config.data, config.seed, keys, follow=plan.follow)
    batch = stacked([clips[i] for i in range(len(clips))])
    return batch, clips.samples.view(0).sequences["orbit"].azimuth_deg.tolist()


def _images(batch: ClipBatch, trainer: Trainer) -> ClipBatch:
    orbit, static = (
        trainer.space.decode(part.to(trainer.device)).cpu() for part in (batch.orbit, batch.static)
    )
    return replace(batch, orbit=orbit, static=static, encoded=False)


def _figures(made: Clips, shown: ClipBatch, scale: float) -> dict[str, float]:
    psnr, motion = psnr_db(made, shown.orbit), measured_motion(made, shown.static, scale)
    wanted = shown.motion.double().cpu().numpy()
    return {
        "held_out/psnr_db": float(psnr.mean()),
        "held_out/psnr_gain_over_repeat_db": float(
            (psnr - psnr_db(repeat_input(shown), shown.orbit)).mean()
        ),
        "held_out/psnr_gain_over_frozen_db": float(
            (psnr - psnr_db(shown.static, shown.orbit)).mean()
        ),
        "held_out/ssim": float(np.nanmean(ssim(made, shown.orbit))),
        "held_out/m_error": float(np.abs(motion - wanted).mean()),
        "held_out/m_measured_over_wanted": float(motion.sum() / max(wanted.sum(), 1e-9)),
    }
