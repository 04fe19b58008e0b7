"""Distributions of scores and causes of failures, over the whole ledger, for the audit page."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from curate import ledger
from curate.config import BuildConfig
from curate.whatif import IMAGE_LIMITS, LIMITS, Settings

BINS = 40
_LOGARITHMIC = 30.0  # upper end over lower quartile, beyond which equal steps show few bars
_COUNTS = ("qa_not_finite", "qa_texture", "qa_border")  # stored as floats
_WHOLE_BINS = 10  # fewer would be slabs
_LENGTHS_S = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0, float("inf"))
_LOGS_MAX = 3  # per cause
_PASSES = {"lt": "≥", "gt": "≤", "ge": "<"}
_EXTRA = ("duration_s", "vertices", "triangles")  # bounded by rules, though no scores


def verdict_is(table: pa.Table, word: str) -> np.ndarray:
    """Tell which rows have a verdict; (n,) bool."""
    return np.array([verdict == word for verdict in table["verdict"].to_pylist()], bool)


def histograms(table: pa.Table, config: BuildConfig) -> list[dict[str, Any]]:
    """Count every measured score, kept and dropped apart.

    Returns:
        One entry per score: ``edges`` (k + 1), ``kept`` and ``dropped`` (k), how many were
        measured, and the limits it is held against. The outer bins also hold what lies beyond them.
    """
    kept = verdict_is(table, "kept")
    limits = _limits(config)
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys((*ledger.SCORES, *_EXTRA, *ledger.QA)):
        column = table[name].cast(pa.float64())
        values = np.asarray(column.fill_null(np.nan))
        finite = np.isfinite(values)
        if not finite.any():
            continue
        whole = pa.types.is_integer(table[name].type) or name in _COUNTS
        at = [limit["value"] for limit in limits.get(name, ())]
        edges = _edges(values[finite], at, whole=whole)
        counts = {
            word: np.histogram(np.clip(values[chosen], edges[0], edges[-1]), edges)[0].tolist()
            for word, chosen in (("kept", finite & kept), ("dropped", finite & ~kept))
        }
        found.append(
            {
                "score": name,
                "edges": [float(f"{edge:.5g}") for edge in edges],
                "measured": int(finite.sum()),
                "logarithmic": bool(edges[-1] - edges[-2] > 1.001 * (edges[2] - edges[1])),
                "limits": limits.get(name, []),
                **counts,
            }
        )
    return found


def _edges(values: np.ndarray, limits: Iterable[float], *, whole: bool) -> np.ndarray:
    """Choose bins: without the furthest half percent at either end, but with the limits.

    Counts get bins of whole numbers.
    """
    low, high = np.quantile(values, [0.005, 0.995])
    near = [limit for limit in limits if limit <= 4 * max(high, 1e-9)]
    low, high = min([low, *near]), max([high, *near])
    if high <= low:
        low, high = (0.0, 2 * high or 1.0) if low >= 0 else (2 * low, 0.0)
    positive = values[values > 0]
    if whole and np.ptp([*values, low, high]) <= 4 * BINS:
        return _whole_edges(min(low, values.min()), max(high, values.max()))
    if low >= 0 and len(positive) and high > _LOGARITHMIC * float(np.quantile(positive, 0.25)):
        smallest = max(float(np.quantile(positive, 0.01)), high * 1e-6)
        return np.concatenate([[min(low, 0.0)], np.geomspace(min(smallest, high / 2), high, BINS)])
    return _whole_edges(low, high) if whole else np.linspace(low, high, BINS + 1)


def _whole_edges(low: float, high: float) -> np.ndarray:
    low, high = np.floor(low), np.floor(high) + 1
    step = max(int(np.ceil((high - low) / BINS)), 1)
    return low + step * np.arange(max(int(np.ceil((high - low) / step)), _WHOLE_BINS) + 1)


def _limits(config: BuildConfig) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    shown = {"least_similar": ("ssim_quarter", "ssim_half"), "visible_triangles": ("triangles",)}
    settings = Settings(config.curate, config.render.qa)
    for rule, limits in (LIMITS | IMAGE_LIMITS).items():
        for limit in limits:
            value = settings.value(limit)
            for score in shown.get(limit.score, (limit.score,)):
                if value is not None:
                    entry: dict[str, Any] = {"rule": rule, "value": float(value)}
                    entry |= {"setting": limit.setting, "passes": _PASSES[limit.breaks]}
                    found.setdefault(score, []).append(entry)
    return found


def lengths(table: pa.Table) -> list[tuple[str, int, int]]:
    """Count clips by length: label, all, kept."""
    values = np.asarray(table["duration_s"].cast(pa.float64()).fill_null(np.nan))
    kept = verdict_is(table, "kept")
    found: list[tuple[str, int, int]] = []
    for low, high in itertools.pairwise(_LENGTHS_S):
        inside = (values >= low) & (values < high)
        if inside.any():
            label = f"{low:g} to {high:g} s" if np.isfinite(high) else f"from {low:g} s on"
            found.append((label, int(inside.sum()), int((inside & kept).sum())))
    unknown = np.isnan(values)
    if unknown.any():
        found.append(("not known", int(unknown.sum()), int((unknown & kept).sum())))
    return found


def failures(table: pa.Table) -> list[dict[str, Any]]:
    """Group what failed by stage and rule, with a few examples and the ends of their logs."""
    failed = table.filter(pa.array(verdict_is(table, "failed")))
    names = ("stage", "rule", "path", "clip_index", "error", "log_tail")
    causes: dict[tuple[str, str], dict[str, Any]] = {}
    for row in failed.select(list(names)).to_pylist():
        stage, rule = row["stage"] or "", row["rule"] or "(no rule)"
        cause = causes.setdefault(
            (stage, rule), {"stage": stage, "rule": rule, "count": 0, "examples": []}
        )
        cause["count"] += 1
        said = {example["log_tail"] or example["error"] for example in cause["examples"]}
        if len(said) < _LOGS_MAX and (row["log_tail"] or row["error"]) not in said:
            cause["examples"].append(row)
    return sorted(causes.values(), key=lambda cause: (-cause["count"], cause["rule"]))


def seconds_by_rule(table: pa.Table) -> dict[tuple[str, str, str], float]:
    """Sum all seconds spent, by (verdict, stage, rule)."""
    names = ledger.SECONDS
    sums = table.group_by(["verdict", "stage", "rule"]).aggregate([(n, "sum") for n in names])
    found: dict[tuple[str, str, str], float] = {}
    for row in sums.to_pylist():
        key = (row["verdict"] or "", row["stage"] or "", row["rule"] or "")
        found[key] = found.get(key, 0.0) + sum(row[f"{name}_sum"] or 0.0 for name in names)
    return found
