"""How well headers predict what assets cost, and the coefficients that real seconds ask for."""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr

from curate import ledger
from curate.config import BuildConfig
from curate.cost import COEFFICIENTS, size_of, terms
from curate.sources import find_sources
from tests.bench.harness import report

_SETTINGS = (
    "render.engine.quality=draft", "render.sequences.width=64", "render.sequences.height=64",
    "render.sequences.frames=6", "curate.clips.per_asset_max=1", "limits.threads=1",
)  # fmt: skip
_NAMES = (
    "each asset", "MB", "MB of images", "clip", "clip x 10,000 vertices", "image", "image x MB",
    "image x million samples",
)  # fmt: skip


def cost_figures(assets: Path, kept_run: Path | None) -> dict[str, float]:
    """Build real assets with one thread, and compare.

    Args:
        assets: folder.
        kept_run: RUN folder to go on with, and to keep; none: a temporary one.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = kept_run or Path(folder) / "run"
        argv = [sys.executable, "-m", "orbit4d", "build", str(assets), "--out", str(run)]
        argv += [part for setting in _SETTINGS for part in ("--set", setting)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        return compare(run, assets)


def compare(run: Path, assets: Path) -> dict[str, float]:
    """Hold predictions against the seconds of a ledger; print both, return the figures."""
    config = BuildConfig.build(json.loads((run / "run.json").read_bytes())["config"])
    spent: defaultdict[str, float] = defaultdict(float)
    load: defaultdict[str, float] = defaultdict(float)
    for row in ledger.load(run):
        spent[row["uid"]] += sum(row[n] or 0.0 for n in ("probe_s", "render_s", "encode_s"))
        load[row["uid"]] = max(load[row["uid"]], row["load_s"] or 0.0)
    sources = {source.uid: source for source in find_sources([assets])}
    sizes = {uid: size_of(sources[uid]) for uid in spent if spent[uid] + load[uid] > 0}
    known = [(uid, size) for uid, size in sizes.items() if size is not None]
    parts = np.array([terms(size, config) for _, size in known])
    seconds = np.array([spent[uid] + load[uid] for uid, _ in known])
    predicted = parts @ np.array(COEFFICIENTS)
    fresh = _fitted(parts, seconds)
    # each asset by what is fitted to all others
    others = [
        float(row @ _fitted(np.delete(parts, i, 0), np.delete(seconds, i)))
        for i, row in enumerate(parts)
    ]
    megabytes = [size.megabytes for _, size in known]
    figures = {
        "cost_rank_correlation": _rank_correlation(predicted, seconds),
        "cost_rank_correlation_left_out": _rank_correlation(np.array(others), seconds),
        "cost_rank_correlation_of_bytes": _rank_correlation(np.array(megabytes), seconds),
        "cost_sum_ratio": float(predicted.sum() / seconds.sum()),
    }
    rows = list(zip(_NAMES, COEFFICIENTS, map(float, fresh), strict=True))
    title = f"seconds of {len(known)} assets, {seconds.sum():.0f} s in all"
    report(title, ("per", "in use", "fitted here"), rows, figures, False)
    return figures


def _fitted(parts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Fit weights that are not negative; errors count in proportion to the root of the seconds."""
    weight = 1 / np.sqrt(np.maximum(seconds, 0.2))
    return nnls(parts * weight[:, None], seconds * weight)[0]


def _rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Return Spearman's rho."""
    found: Any = spearmanr(left, right)
    return float(found.statistic)
