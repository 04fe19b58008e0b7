"""Score a trained model on its held-out clips, beside two baselines; resumable clip by clip."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shards.errors import ConfigError, RunError
from shards.files import dump_json, sha256_of, write_atomic
from train.config import SampleConfig
from train.data import ClipBatch
from train.evaluate import repeat_input
from train.generate import held_out_keys, load_held_out
from train.metrics import (
    Clips,
    away_from_front,
    frechet_distance,
    measured_motion,
    psnr_db,
    silhouette_coherence,
    ssim,
)
from train.perceptual import ClipImages, Lpips, VideoFeatures
from train.run import FitFolder
from train.trained import Trained

METHODS = ("model", "repeat the input", "frozen orbit")
# name -> unit or range, and whether more is better; the order of the table
METRICS = {
    "psnr_db": "dB, higher is better",
    "psnr_away_db": "dB, of the frames 45 degrees or more from the first; higher is better",
    "ssim": "up to 1, higher is better",
    "lpips": "VGG16, lower is better",
    "clip_f": "cosine of the first frame to the input image, higher is better",
    "clip_o": "cosine of all frames to the input image, their mean; higher is better",
    "fvd": "I3D, lower is better; of few clips it is far too high, compare equal numbers only",
    "m": "measured motion magnitude against the true frozen orbit",
    "m_error": "absolute difference to the wanted m, lower is better",
    "coherence": "of silhouettes at m = 0, up to 1, higher is better",
}
MISSING = "weights missing"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """Where weights of published networks are; none: those metrics are missing."""

    clip: str | None = None
    lpips: Path | None = None
    fvd: Path | None = None


@dataclass(slots=True)
class Networks:
    """The networks that could be loaded, and why others could not: option -> reason."""

    clip: ClipImages | None = None
    lpips: Lpips | None = None
    fvd: VideoFeatures | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, where: Published, device: torch.device) -> "Networks":
        """Load what there is."""
        found = cls()
        for name, kind in (("clip", ClipImages), ("lpips", Lpips), ("fvd", VideoFeatures)):
            given = getattr(where, name)
            if given is None:
                found.missing[f"--{name}"] = "not given"
                continue
            try:
                setattr(found, name, kind(given, device))
            except ConfigError as error:
                found.missing[f"--{name}"] = str(error)
        return found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``evaluate_fit`` found.

    ``summary``: method -> metric -> ``mean``, ``over_clips``, ``over_seeds`` (standard deviations),
    or ``weights missing``. ``rows``: one per clip, method and seed. Baselines have no seed.
    """

    step: int
    keys: tuple[str, ...]
    seeds: int
    summary: dict[str, dict[str, Any]]
    rows: list[Row]
    missing: dict[str, str]
    document: Path
    table: Path


def evaluate_fit(  # noqa: PLR0913
    fit: Path,
    data: Path,
    out: Path,
    sample: SampleConfig | None = None,
    *,
    seeds: int = 3,
    clips: int | None = None,
    published: Published | None = None,
    at_once: int = 8,
    on_clips: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score the held-out clips; what an earlier call with the same settings scored is kept.

    Args:
        fit: FIT folder; its last checkpoint's averaged weights are used.
        data: the RUN folder that was trained on.
        out: takes ``eval.json``, ``eval.csv`` and ``clips/``, the scores of single clips.
        sample: how to sample; the run's own settings by default.
        seeds: samples of every clip.
        clips: how many of the held-out clips, the first ones; all by default.
        published: where weights of published networks are.
        at_once: clips that are sampled together.
        on_clips: is told (clips done, clips in all).

    Raises:
        RunError: if nothing was trained in ``fit``, or none of the clips was held out.
    """
    trained = Trained.load(fit)
    sample = sample or trained.config.sample
    keys = held_out_keys(fit, data)[:clips]
    networks = Networks.load(published or Published(), trained.device)
    scorer = _Scorer(fit, data, trained, sample, seeds, networks)
    mark = scorer.fingerprint(published or Published())
    (out / "clips").mkdir(parents=True, exist_ok=True)
    found = {key: _recalled(out / "clips" / f"{key}.json", mark) for key in keys}
    todo = [key for key in keys if found[key] is None]
    for first in range(0, len(todo), at_once):
        some = tuple(todo[first : first + at_once])
        for key, scores in zip(some, scorer.score(some), strict=True):
            found[key] = {"fingerprint": mark, **scores}
            write_atomic(out / "clips" / f"{key}.json", dump_json(found[key]))
        if on_clips is not None:
            on_clips(len(keys) - len(todo) + first + len(some), len(keys))
    whole = [one for key in keys if (one := found[key]) is not None]
    rows = [
        {"key": key, **row} for key, one in zip(keys, whole, strict=True) for row in one["rows"]
    ]
    summary = _summary(rows, whole, networks)
    document, table = out / "eval.json", out / "eval.csv"
    result = Evaluation(trained.step, keys, seeds, summary, rows, networks.missing, document, table)
    write_atomic(document, dump_json(_document(result, fit, data, sample)))
    write_atomic(table, _csv(rows))
    return result


@dataclass(frozen=True, slots=True)
class _Scorer:
    fit: Path
    data: Path
    trained: Trained
    sample: SampleConfig
    seeds: int
    networks: Networks

    def fingerprint(self, published: Published) -> str:
        """Name all that decides the scores."""
        index = self.data / "index.parquet"
        parts = {
            "run": sha256_of(FitFolder(self.fit).document),
            "step": self.trained.step,
            "data": sha256_of(index) if index.exists() else "",
            "sample": self.sample.model_dump(mode="json"),
            "seeds": self.seeds,
            "clip": published.clip if self.networks.clip else None,
            "lpips": sha256_of(published.lpips) if self.networks.lpips else None,  # pyright: ignore
            "fvd": sha256_of(published.fvd) if self.networks.fvd else None,  # pyright: ignore
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def score(self, keys: tuple[str, ...]) -> list[Row]:
        """Give each clip's rows, and its features for FVD: method and seed -> numbers."""
        follow = FitFolder(self.fit).followed()
        batch, azimuth_deg = load_held_out(self.trained, self.data, keys, follow=follow)
        shown = self.trained.shown(batch)
        still = replace(batch, motion=torch.zeros_like(batch.motion))
        made: list[tuple[str, int | None, Clips, Clips]] = [
            ("repeat the input", None, repeat_input(shown), repeat_input(shown)),
            ("frozen orbit", None, shown.static, shown.static),
        ]
        for seed in range(self.seeds):
            moving = self.trained.sample(batch, self.sample, seed)
            made.append(("model", seed, moving, self.trained.sample(still, self.sample, seed)))
        scores: list[Row] = [{"rows": [], "features": {}} for _ in keys]
        for method, seed, clips, frozen in made:
            columns = self._columns(clips, frozen, shown, azimuth_deg)
            for i, one in enumerate(scores):
                values = {name: _plain(column[i]) for name, column in columns.items()}
                one["rows"].append({"method": method, "seed": seed, **values})
        if self.networks.fvd is not None:
            made.append(("truth", None, shown.orbit, shown.static))
            for method, seed, clips, _ in made:
                name = method if seed is None else f"{method} {seed}"
                for one, numbers in zip(scores, self.networks.fvd.embed(clips), strict=True):
                    one["features"][name] = numbers.tolist()
        return scores

    def _columns(
        self, clips: Clips, frozen: Clips, shown: ClipBatch, azimuth_deg: list[float]
    ) -> dict[str, np.ndarray]:
        config = self.trained.config.data
        motion = measured_motion(clips, shown.static, config.motion_scale)
        fov_deg = FitFolder(self.fit).orbit()["fov_deg"]
        columns = {
            "psnr_db": psnr_db(clips, shown.orbit),
            "psnr_away_db": psnr_db(clips, shown.orbit, away_from_front(azimuth_deg)),
            "ssim": ssim(clips, shown.orbit),
            "m": motion,
            "m_error": np.abs(motion - shown.motion.double().cpu().numpy()),
            "coherence": silhouette_coherence(frozen, shown.camera, fov_deg),
        }
        if self.networks.lpips is not None:
            columns["lpips"] = self.networks.lpips.distance(clips, shown.orbit)
        if self.networks.clip is not None:
            near = self.networks.clip.similarity(clips, shown.orbit[:, 0])
            columns |= {"clip_f": near[:, 0], "clip_o": near.mean(axis=1)}
        return columns


def _recalled(path: Path, mark: str) -> Row | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("fingerprint") == mark else None


def _summary(rows: list[Row], clips: list[Row], networks: Networks) -> dict[str, dict[str, Any]]:
    needs = {"lpips": networks.lpips, "clip_f": networks.clip, "clip_o": networks.clip}
    summary: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method]
        summary[method] = {
            name: MISSING if needs.get(name, True) is None else _spreads(mine, name)
            for name in METRICS
            if name != "fvd"
        }
        fvd = MISSING if networks.fvd is None else _fvd(method, clips)
        summary[method]["fvd"] = fvd
    return summary


def _spreads(rows: Sequence[Row], name: str) -> dict[str, float | None]:
    by_seed: dict[Any, list[float]] = {}
    by_clip: dict[str, list[float]] = {}
    for row in rows:
        if row[name] is not None:
            by_seed.setdefault(row["seed"], []).append(row[name])
            by_clip.setdefault(row["key"], []).append(row[name])
    every = [value for values in by_seed.values() for value in values]
    return {
        "mean": _plain(np.mean(every)) if every else None,
        "over_clips": _spread([float(np.mean(values)) for values in by_clip.values()]),
        "over_seeds": _spread([float(np.mean(values)) for values in by_seed.values()]),
    }


def _fvd(method: str, clips: list[Row]) -> dict[str, float | None]:
    names = [name for name in clips[0]["features"] if name.startswith(method)]
    truth = np.array([clip["features"]["truth"] for clip in clips])
    found = [
        frechet_distance(np.array([clip["features"][name] for clip in clips]), truth)
        for name in names
    ]
    return {"mean": _plain(np.mean(found)), "over_clips": None, "over_seeds": _spread(found)}


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _plain(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _document(result: Evaluation, fit: Path, data: Path, sample: SampleConfig) -> dict[str, Any]:
    return {
        "fit": str(fit),
        "data": str(data),
        "step": result.step,
        "sample": sample.model_dump(mode="json"),
        "clips": len(result.keys),
        "seeds": result.seeds,
        "metrics": METRICS,
        "summary": result.summary,
        "missing": result.missing,
        "rows": result.rows,
    }


def _csv(rows: list[Row]) -> bytes:
    names = ["key", "method", "seed", *(name for name in METRICS if name != "fvd")]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def data_of(fit: Path) -> Path:
    """Name the RUN folder that a model was trained on.

    Raises:
        RunError: if nothing was trained there, or the RUN is no longer where it was.
    """
    folder = FitFolder(fit)
    folder.read()
    data = Path(json.loads(folder.document.read_bytes())["data"])
    if not data.is_dir():
        raise RunError(f"{fit}: was trained on {data}, which is not there; give it as --data RUN")
    return data
