"""New verdicts from stored scores: what other limits would have decided, without any asset.

Scores are kept for every clip that was measured, whatever its verdict, so limits can be tuned on a
ledger in seconds. What was never measured cannot be judged anew and keeps its word.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from curate import duplicates
from curate.config import CurateConfig
from curate.detail import Detail
from curate.facts import AssetFacts, Decision, Facts
from curate.motion import Motion
from curate.pixels import asks_for_images
from curate.rows import rejection
from curate.rules import RULES, decide, stage_of
from render.qa import LIMITS, QaConfig
from shards.config import Config

Row = dict[str, Any]
_RULES = frozenset(rule.__name__ for rule in RULES)
JUDGED = _RULES | {*duplicates.RULES, *LIMITS, "clip_limit", "score_only", ""}
_Scores = TypeVar("_Scores", Motion, Detail)


class ImageLimits(Config):
    """Settings about rendering that a replay may change."""

    qa: QaConfig = QaConfig()


class Limits(Config):
    """All settings that a replay may change, under their names in a build."""

    curate: CurateConfig = CurateConfig()
    render: ImageLimits = ImageLimits()


@dataclass(frozen=True, slots=True)
class Replay:
    """Rows with their new verdicts, and how many went from which (verdict, rule) to which."""

    rows: list[Row]
    moves: Counter[tuple[tuple[str, str], tuple[str, str]]]


def replay(rows: Iterable[Row], config: CurateConfig, images: QaConfig | None = None) -> Replay:
    """Judge all rows of a ledger anew, in its order.

    Failures and whole assets stay as they are. A clip that passes now is kept, but has no sample
    until it is built with these settings; what its images would show is not known before.

    Args:
        rows: ordered as ``curate.ledger.load`` gives them.
        config: the rules and their limits.
        images: limits on what was rendered; None: the defaults.
    """
    images = images or QaConfig()
    seen = duplicates.Seen(config.copies())
    found: list[Row] = []
    moves: Counter[tuple[tuple[str, str], tuple[str, str]]] = Counter()
    for _, of_asset in groupby(rows, key=itemgetter("uid")):
        asset = list(of_asset)
        judged = seen.look(_by_a_worker(asset, config, images))
        moves.update(zip(map(_label, asset), map(_label, judged), strict=True))
        found += judged
    return Replay(found, moves)


def _by_a_worker(asset: list[Row], config: CurateConfig, images: QaConfig) -> list[Row]:
    """Judge an asset as its worker does, who knows of no other: copies, then what was rendered."""
    own = duplicates.Seen(config.copies())
    own.enter(asset)
    kept = 0
    judged: list[Row] = []
    for row in asset:
        new = row | _verdict(row, config, kept)
        if new["verdict"] == "kept":
            about, decision = own.judge(new)
            if decision is not None:
                new |= about | duplicates.NO_SAMPLE | rejection("curate", decision)
            elif (fault := image_fault(row, images)) is not None:
                new |= {"sample_key": ""} | rejection("render", fault)
            else:
                own.keep(new)
                kept += 1
        judged.append(new)
    return judged


def image_value(row: Mapping[str, Any], rule: str) -> float | None:
    """Return what a check of images measured, unrounded where it decided; None for nothing."""
    decided = row["rule"] == rule and row["value"] is not None
    value = row["value"] if decided else row.get(rule)
    return None if value is None or math.isnan(value) else value


def image_fault(row: Mapping[str, Any], images: QaConfig) -> Decision | None:
    """Return the first check of rendered images that a clip fails; what was not measured passes."""
    for rule, (setting, unit) in LIMITS.items():
        value, limit = image_value(row, rule), getattr(images, setting)
        if value is not None and value > limit:
            sentence = f"its images measure {value:g} {unit}, at most {limit:g} passes"
            return Decision(rule, value, limit, unit, sentence)
    return None


def facts_of(row: Mapping[str, Any]) -> Facts:
    """Take what is known of a clip from its row."""
    size = {"size": 0.0 if row["rule"] == "no_size" else 1.0}  # scores are in sizes already
    return Facts(
        row["duration_s"] or 0.0,
        row["vertices"],
        _scores(Motion, dict(row) | size),
        _scores(Detail, row),
        row["margin_px"],
        row.get("ssim_quarter"),
        row.get("ssim_half"),
        row.get("border_frames"),
        row.get("geometry_tracks"),
        row.get("camera_tracks"),
        AssetFacts.of(row),
    )


def _verdict(row: Row, config: CurateConfig, kept: int) -> Row:
    if row["clip_index"] < 0 or row["verdict"] == "failed" or (row["rule"] or "") not in JUDGED:
        return {}
    limit = config.clips.per_asset_max
    if limit is not None and kept >= limit:  # a build asks this first, too
        reason = f"{limit} earlier clips of this asset pass already"
        decision = Decision("clip_limit", limit, limit, "kept clips", reason)
        return {"sample_key": ""} | rejection("curate", decision)
    facts = facts_of(row)
    if (decision := decide(facts, config)) is not None:
        return {"sample_key": ""} | rejection(stage_of(decision), decision)
    if facts.motion is None:
        return {}  # it was rejected before anything was measured
    if row["rule"] in LIMITS and image_value(row, row["rule"]) is None:
        return {}  # an older ledger: what its images showed is not on record
    if asks_for_images(config) and None in (
        facts.ssim_quarter,
        facts.ssim_half,
        facts.border_frames,
    ):
        return {}  # a rule has to see images that were not rendered
    blank = {"rule": "", "stage": "", "error": "", "log_tail": ""}
    return {"verdict": "kept", "value": None, "limit": None, "unit": None} | blank


def _scores(kind: type[_Scores], row: Mapping[str, Any]) -> _Scores | None:
    """Make a score object of a row's columns; None when any is missing."""
    values: dict[str, Any] = {field.name: row.get(field.name) for field in fields(kind)}
    return None if None in values.values() else kind(**values)


def _label(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["verdict"], row["rule"] or ""
