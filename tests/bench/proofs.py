"""What a small model has to show, as figures: see ``tests.bench.truth``, which lists them.

Held-out clips are of toys that were not trained on. m is measured against the true frozen orbit,
with the rendered one as a condition, unless a row says otherwise: without it, what a model gets
wrong of the object would count as motion. Means are over clips and seeds of sampling, then over
trained models; "over models" is the standard deviation between those.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import spearmanr

from tests.bench.toys import HeldOut, Work, training_motion
from train.evaluate import repeat_input
from train.metrics import away_from_front, measured_motion, psnr_db

_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of m in training
_W2 = 0.5  # the paper's

PerClip = Float64[np.ndarray, " b"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure, and what else was seen on the way: name -> value."""

    value: float
    details: dict[str, object]


def overfit_psnr_db(given: argparse.Namespace) -> Measured:
    """Train on 8 clips and sample them from their first image, cameras and m."""
    work = Work.open(given)
    data = work.run("eight", assets=4, clips=2, seed=1)
    fit = work.overfit(data)
    clips = HeldOut.trained_on(fit, data)
    truth = clips.batch.orbit
    found = np.array([psnr_db(clips.sample(s, drop=["static"]), truth) for s in range(given.seeds)])
    return Measured(
        float(found.mean()),
        {
            "clips": len(truth),
            "worst clip": float(found.mean(axis=0).min()),
            "over clips": _spread(found.mean(axis=0)),
            "over seeds of sampling": _spread(found.mean(axis=1)),
            "repeat the input": float(psnr_db(repeat_input(clips.batch), truth).mean()),
            "frozen orbit": float(psnr_db(clips.batch.static, truth).mean()),
        },
    )


def m_rank_correlation(given: argparse.Namespace) -> Measured:
    """Ask every held-out clip for five m and measure what comes: Spearman's over all samples."""
    pooled: dict[tuple[str, ...], list[float]] = {(): [], ("static",): []}
    details: dict[str, object] = {}
    for clips, levels in _models(given):
        for drop, found in pooled.items():
            got = np.array([_motion(clips, 0, drop=drop, motion=float(m)) for m in levels])
            asked = np.repeat(levels[:, None], got.shape[1], axis=1)
            found.append(_rank(asked.ravel(), got.ravel()))
            words = " without static 3D" if drop else ""
            each = [_rank(levels, one) for one in got.T]
            details[f"clip by clip{words}, mean, last model"] = float(np.mean(each))
            details[f"m measured{words}, last model"] = _listed(got.mean(axis=1))
        details["m asked for"] = _listed(levels)
    return Measured(
        float(np.mean(pooled[()])),
        {
            "over models": _spread(pooled[()]),
            "without static 3D": float(np.mean(pooled["static",])),
            **details,
        },
    )


def m_gain_lmr(given: argparse.Namespace) -> Measured:
    """Sample clips at their own m from models trained with L_mr and without.

    The figure is measured over wanted m with L_mr, less that without: more is nearer, up to 1.
    """
    work, data = Work.open(given), Work.open(given).toys()
    # by: given static 3D or not, trained with L_mr or not, model
    shares, errors = (np.zeros((2, 2, given.models)) for _ in range(2))
    for seed in range(given.models):
        for with_it in (0, 1):
            fit = work.four(seed, motion_loss=bool(with_it))
            clips = HeldOut.open(fit, data, given.clips)
            for i, drop in enumerate(((), ("static",))):
                got = np.mean([_motion(clips, s, drop=drop) for s in range(given.seeds)], axis=0)
                shares[i, with_it, seed] = got.sum() / clips.wanted.sum()
                errors[i, with_it, seed] = np.abs(got - clips.wanted).mean()
    gain = shares[0, 1] - shares[0, 0]
    return Measured(
        float(gain.mean()),
        {
            "over models": _spread(gain),
            "measured / wanted m with L_mr": float(shares[0, 1].mean()),
            "measured / wanted m without": float(shares[0, 0].mean()),
            "m error with L_mr": float(errors[0, 1].mean()),
            "m error without": float(errors[0, 0].mean()),
            "without static 3D: with L_mr": float(shares[1, 1].mean()),
            "without static 3D: without": float(shares[1, 0].mean()),
        },
    )


def m_gain_w2(given: argparse.Namespace) -> Measured:
    """Sample clips from their image with w2 = 0.5 and 0: how much more they move.

    The base knows the image alone, so the 4D model is given no more either. Motion is measured
    against the same model's own sample at m = 0, under the same guidance and from the same noise:
    guidance moves the object's looks too, and those are no motion. As a share of the wanted m.
    """
    gains: list[float] = []
    details: dict[str, object] = {}
    for clips, _ in _models(given):
        found = {w2: _own_motion(clips, given.seeds, w2) for w2 in (0.0, _W2)}
        gains.append(float((found[_W2] - found[0.0]).sum() / clips.wanted.sum()))
        for w2, got in found.items():
            details[f"measured / wanted m, w2={w2:g}, last model"] = float(
                got.sum() / clips.wanted.sum()
            )
        details["clips that move more, last model"] = int((found[_W2] > found[0.0]).sum())
        details["clips"] = len(clips.wanted)
    return Measured(float(np.mean(gains)), {"over models": _spread(gains), **details})


def psnr_gain_static3d_db(given: argparse.Namespace) -> Measured:
    """Compare, on side and back views, samples given image and static 3D with image alone."""
    gains: list[float] = []
    details: dict[str, object] = {}
    for clips, _ in _models(given):
        away = away_from_front(clips.azimuth_deg)
        found = {
            name: np.mean(
                [
                    psnr_db(clips.sample(s, drop=drop), clips.batch.orbit, away)
                    for s in range(given.seeds)
                ],
                axis=0,
            )
            for name, drop in (("image and static 3D", []), ("image", ["static"]))
        }
        gain = found["image and static 3D"] - found["image"]
        gains.append(float(gain.mean()))
        details |= {f"PSNR, {name}, last model": float(v.mean()) for name, v in found.items()}
        details["over clips, last model"] = _spread(gain)
        details["clips better, last model"] = f"{(gain > 0).sum()} of {len(gain)}"
    return Measured(float(np.mean(gains)), {"over models": _spread(gains), **details})


def psnr_gain_vs_repeat_db(given: argparse.Namespace) -> Measured:
    """Compare the model, given image and static 3D, with both baselines.

    The figure is against repeating the input; the details have the rest.
    """
    rows: dict[str, list[float]] = {}
    for clips, _ in _models(given):
        batch, wanted = clips.batch, clips.wanted
        truth, scale = batch.orbit, clips.scale
        made = {
            "model": [clips.sample(s) for s in range(given.seeds)],
            "model, image alone": [clips.sample(s, drop=["static"]) for s in range(given.seeds)],
            "repeat the input": [repeat_input(batch)],
            "frozen orbit": [batch.static],
        }
        psnr = {k: np.mean([psnr_db(c, truth) for c in v], axis=0) for k, v in made.items()}
        for name, several in made.items():
            off = [np.abs(measured_motion(c, batch.static, scale) - wanted) for c in several]
            rows.setdefault(f"PSNR, {name}", []).append(float(psnr[name].mean()))
            rows.setdefault(f"m error, {name}", []).append(float(np.mean(off)))
        for name in ("repeat the input", "frozen orbit"):
            gain = psnr["model"] - psnr[name]
            rows.setdefault(f"gain over {name}", []).append(float(gain.mean()))
            rows.setdefault(f"over clips, gain over {name}", []).append(float(gain.std(ddof=1)))
            rows.setdefault(f"share of clips better than {name}", []).append((gain > 0).mean())
    gains = rows["gain over repeat the input"]
    details = {name: float(np.mean(values)) for name, values in rows.items()}
    return Measured(float(np.mean(gains)), {"over models": _spread(gains), **details})


def _models(given: argparse.Namespace) -> Iterator[tuple[HeldOut, PerClip]]:
    """Give the models trained with L_mr, their held-out clips, and five m met in training."""
    work = Work.open(given)
    data = work.toys()
    for seed in range(given.models):
        fit = work.four(seed, motion_loss=True)
        levels = np.quantile(training_motion(fit, data), _LEVELS)
        yield HeldOut.open(fit, data, given.clips), levels


def _motion(
    clips: HeldOut, seed: int, *, drop: tuple[str, ...] = (), motion: float | None = None
) -> PerClip:
    made = clips.sample(seed, motion=motion, drop=drop)
    return measured_motion(made, clips.batch.static, clips.scale)


def _own_motion(clips: HeldOut, seeds: int, w2: float) -> PerClip:
    found: list[PerClip] = []
    for seed in range(seeds):
        moving = clips.sample(seed, drop=["static"], w2=w2)
        still = clips.sample(seed, motion=0.0, drop=["static"], w2=w2)
        found.append(measured_motion(moving, still, clips.scale))
    return np.mean(found, axis=0)


def _rank(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearmanr(one, other)[0])  # pyright: ignore[reportArgumentType]


def _spread(values: object) -> float:
    found = np.asarray(values, dtype=np.float64)
    return float(found.std(ddof=1)) if len(found) > 1 else float("nan")


def _listed(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in values)
