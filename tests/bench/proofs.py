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
from train.metrics import Clips, away_from_front, measured_motion, psnr_db

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
    data = work.run("eight", 4, 2, 1, "curate.motion.min=0.002")  # all are kept
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
    """Ask every held-out clip for five m and measure what comes: Spearman's over all samples.

    Given the image alone, what a model does not know of the object counts as motion, more in one
    clip than in another. So m is also measured against its own sample at m = 0, as for w2.
    """
    ways: dict[str, dict[str, object]] = {
        "": {},
        " at w2=0.5": {"w2": _W2},
        " without static 3D": {"drop": ("static",)},
    }
    rows: dict[str, list[float]] = {}
    details: dict[str, object] = {}
    for clips, levels in _models(given):
        asked = np.repeat(levels[:, None], len(clips.wanted), axis=1)
        details["m asked for"] = _listed(levels)
        for words, settings in ways.items():
            made = [clips.sample(0, motion=float(m), **settings) for m in levels]
            still = clips.sample(0, motion=0.0, **settings)
            for against, frozen in (("", clips.batch.static), (" against own still", still)):
                got = np.array([measured_motion(one, frozen, clips.scale) for one in made])
                name = f"{words}{against}"
                rows.setdefault(f"all samples{name}", []).append(_rank(asked.ravel(), got.ravel()))
                each = [_rank(levels, one) for one in got.T]
                rows.setdefault(f"clip by clip{name}", []).append(float(np.mean(each)))
                details[f"m measured{name}, last model"] = _listed(got.mean(axis=1))
    found = rows["all samples"]
    means = {name: float(np.mean(values)) for name, values in rows.items()}
    return Measured(float(np.mean(found)), {"over models": _spread(found), **means, **details})


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
            "model, w2=0.5": [clips.sample(s, w2=_W2) for s in range(given.seeds)],
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


def psnr_gain_real_db(given: argparse.Namespace) -> Measured:
    """Compare models with repeating the input on clips of real assets that they have not seen.

    The figure is that of the model of toys after a short training on other real assets, given
    image and static 3D; the details have the model of toys as it is, and the frozen orbit.
    """
    work = Work.open(given)
    data, toys = work.real(given.assets), work.four(0, motion_loss=True)
    trained = work.on_real(data)
    levels = np.quantile(training_motion(trained, data), _LEVELS)
    clips = HeldOut.open(trained, data, given.clips)
    batch, scale = clips.batch, clips.scale
    rows: dict[str, object] = {
        "clips": len(batch.keys),
        "of assets": len({key.rpartition("-")[0] for key in batch.keys}),
        "wanted m, quartiles": _listed(np.quantile(clips.wanted, (0, 0.25, 0.5, 0.75, 1))),
        "m asked for": _listed(levels),
    }

    def score(name: str, made: list[Clips]) -> PerClip:
        found = np.mean([psnr_db(one, batch.orbit) for one in made], axis=0)
        m = np.array([measured_motion(one, batch.static, scale) for one in made])
        rows[f"PSNR, {name}"] = float(found.mean())
        rows[f"m error, {name}"] = float(np.abs(m - clips.wanted).mean())
        return found

    repeated = score("repeat the input", [repeat_input(batch)])
    frozen = score("frozen orbit", [batch.static])
    gain = frozen - repeated
    for name, fit in (("trained on toys alone", toys), ("trained on real assets too", trained)):
        clips = HeldOut.read(fit, data, batch.keys)
        drops: tuple[tuple[str, ...], ...] = (("static",), ())
        for drop in drops:
            words = f"{name}, image alone" if drop else name
            made = [clips.sample(seed, drop=drop) for seed in range(given.seeds)]
            found = score(words, made)
            gain = found - repeated
            rows[f"clips better than repeat the input, {words}"] = int((gain > 0).sum())
            rows[f"clips better than frozen orbit, {words}"] = int((found > frozen).sum())
        got = np.array([_motion(clips, 0, motion=float(level)) for level in levels])
        asked = np.repeat(levels[:, None], got.shape[1], axis=1)
        rows[f"m rank correlation, {name}"] = _rank(asked.ravel(), got.ravel())
        rows[f"m measured, {name}"] = _listed(got.mean(axis=1))
    return Measured(float(gain.mean()), {"over clips": _spread(gain), **rows})


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
