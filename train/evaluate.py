"""How near generated orbits come to the true ones, beside doing nothing."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from torch import Tensor

from shards.seeding import rng_for
from train.config import SampleConfig
from train.data import ClipBatch
from train.models.api import CONDITIONS, VideoDenoiser, all_conditions
from train.noise import Schedule
from train.sample import generate

Clips = Float32[Tensor, "b t c h w"]


def repeat_input(batch: ClipBatch) -> Clips:
    """Give the baseline: every frame is the input image."""
    return batch.orbit[:, :1].expand_as(batch.orbit)


@dataclass(frozen=True, slots=True)
class Figures:
    """PSNR on held-out clips, dB: generated orbits beside the input repeated.

    The mean is over clips and seeds; ``over_clips`` is the standard deviation between clips (each
    the mean of its seeds), ``over_seeds`` that between seeds (each the mean of its clips). Samples
    are scored one by one, never averaged. A spread needs two; else it is NaN.
    """

    clips: int
    seeds: int
    model_psnr_db: float
    model_over_clips_db: float
    model_over_seeds_db: float
    repeat_psnr_db: float
    repeat_over_clips_db: float
    gain_db: float
    gain_over_clips_db: float
    wins: int

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name, NaN as None."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


def figures(model: Float64[np.ndarray, "s b"], repeat: Float64[np.ndarray, " b"]) -> Figures:
    """Sum up PSNRs per seed and clip, and those of the baseline per clip."""
    by_clip = model.mean(axis=0)
    gain = by_clip - repeat
    return Figures(
        clips=len(repeat),
        seeds=len(model),
        model_psnr_db=float(model.mean()),
        model_over_clips_db=_spread(by_clip),
        model_over_seeds_db=_spread(model.mean(axis=1)),
        repeat_psnr_db=float(repeat.mean()),
        repeat_over_clips_db=_spread(repeat),
        gain_db=float(gain.mean()),
        gain_over_clips_db=_spread(gain),
        wins=int((gain > 0).sum()),
    )


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def sample_clips(
    model: VideoDenoiser,
    batch: ClipBatch,
    schedule: Schedule,
    config: SampleConfig,
    seed: int,
    base: VideoDenoiser | None = None,
) -> Clips:
    """Generate one orbit per clip; its noise depends on (seed, its key) alone."""
    seeds = [int(rng_for(seed, "sample", key).integers(2**63)) for key in batch.keys]
    keep = all_conditions(len(batch.keys), batch.motion.device)
    keep[:, [CONDITIONS.index(name) for name in config.drop]] = False
    return generate(model, batch.conditions(keep), schedule, config, seeds, base)
