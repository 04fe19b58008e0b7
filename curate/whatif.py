"""What other limits would decide, for the page: every row as a few bytes, limits to choose from.

A limit is offered at up to 120 values. Of each score only its place among these values is kept, one
byte a row, which is exact at every value offered: the page compares places and gets what
``curate.replay`` gets from scores. ``curate.whatif_judge`` does the same in Python.
"""

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from curate import asset_rules, whatif_copies
from curate.config import CurateConfig
from curate.detail import Detail
from curate.facts import AssetFacts, Facts
from curate.motion import Motion
from curate.pixels import asks_for_images
from curate.replay import JUDGED
from curate.rules import rules_of
from render import qa
from shards.config import Config

VALUES_MAX = 120  # of one limit; places and "never" must fit a byte
NOT_MEASURED = 255
NO_RULE = 255
KEPT, REJECTED, FAILED = 0, 1, 2
_VERDICTS = {"kept": KEPT, "failed": FAILED}
STAYS, JUDGED_ANEW, UNMEASURED = 0, 4, 8  # added to the verdict; UNMEASURED stays if no rule fires
FIRST_OF_ASSET = 16

Places = np.ndarray  # (n,) uint8


@dataclass(frozen=True, slots=True)
class Limit:
    """A setting, the score it bounds, and when the bound is broken.

    ``lt``: a score below it; ``gt``: above it; ``ge``: not below it.
    """

    setting: str  # below ``curate.``, or all of it where it begins with ``render.``
    score: str
    breaks: Literal["lt", "gt", "ge"]


# Rule -> limits that must all be broken for it to reject. Rules that are not here have no number.
LIMITS: dict[str, tuple[Limit, ...]] = {
    "large_textures": (Limit("quality.texture_mb_max", "texture_mb", "gt"),),
    "too_many_triangles": (Limit("geometry.triangles_max", "triangles", "gt"),),
    "missing_textures": (Limit("quality.missing_textures_max", "missing_textures", "gt"),),
    "too_short": (Limit("clips.duration_min_s", "duration_s", "lt"),),
    "too_long": (Limit("clips.duration_max_s", "duration_s", "gt"),),
    "too_many_vertices": (Limit("geometry.vertices_max", "vertices", "gt"),),
    "too_few_triangles": (Limit("quality.triangles_min", "visible_triangles", "lt"),),
    "all_transparent": (Limit("quality.visible_share_min", "visible_share", "lt"),),
    "far_part": (Limit("quality.far_part_ratio_max", "far_part_ratio", "gt"),),
    "backdrop": (Limit("quality.backdrop_share_max", "backdrop_share", "gt"),),
    "degenerate_triangles": (Limit("quality.degenerate_share_max", "degenerate_share", "gt"),),
    "fragments": (Limit("quality.parts_max", "parts", "gt"),),
    "leaves_frame": (Limit("boundary.reach_max", "reach", "gt"),),
    "teleport": (
        Limit("motion.jump_min", "step", "ge"),
        Limit("motion.jump_share_min", "step_share", "ge"),
    ),
    "too_still": (
        Limit("motion.min", "motion", "lt"),
        Limit("motion.moved_most_min", "moved_most", "lt"),
        Limit("motion.drift_min", "drift", "lt"),
    ),
    "too_slow": (Limit("motion.activity_min_per_s", "activity_per_s", "lt"),),
    "stops_early": (Limit("motion.active_share_min", "active_share", "lt"),),
    "changes_scale": (Limit("motion.scale_change_max", "scale_change", "gt"),),
    "no_loop": (Limit("motion.loop_gap_max", "loop_gap", "gt"),),
    "touches_border": (Limit("boundary.margin_min_px", "margin_px", "lt"),),
    "ssim_too_still": (Limit("pixels.ssim_still", "least_similar", "gt"),),
    "ssim_broken": (Limit("pixels.ssim_broken", "least_similar", "lt"),),
    "alpha_at_border": (Limit("pixels.border_frames_max", "border_frames", "gt"),),
}
# What was rendered is judged last: after the clips of an asset are counted.
IMAGE_LIMITS = {
    rule: (Limit(f"render.qa.{setting}", rule, "gt"),) for rule, (setting, _) in qa.LIMITS.items()
}
_MOTION = tuple(one.name for one in fields(Motion) if one.name != "size")
_DETAIL = tuple(one.name for one in fields(Detail))
_PIXELS = ("ssim_quarter", "ssim_half", "border_frames")


@dataclass(frozen=True, slots=True)
class Offer:
    """A limit with the values it is offered at, and each row's place among them.

    Attributes:
        values: increasing; ``texts`` writes them as settings.
        place: of the limit that the run had; None where it had none.
        places: (n,) uint8: how many values a score passes, so that ``values[i]`` is broken where
            ``i >= places`` (``lt``) or ``i < places`` (``gt``, ``ge``); ``NOT_MEASURED`` else.
    """

    limit: Limit
    values: list[float]
    texts: list[str]
    place: int | None
    optional: bool
    places: Places


@dataclass(frozen=True, slots=True)
class WhatIf:
    """All rows of a ledger, ready to be judged by other limits.

    Attributes:
        rules: in the order in which they run, each with numbers of ``offers``; none: ``fixed``.
        images: how many of them, the last ones, are about rendered images.
        states: (n,) uint8: verdict, how it is judged anew, whether an asset begins.
        fixed: (n,) uint8: the first rule without a number that rejects, else ``NO_RULE``.
        copies: what rows share with others.
        clips_max: kept clips per asset; None: all.
    """

    rules: list[tuple[str, tuple[int, ...]]]
    images: int
    offers: list[Offer]
    states: np.ndarray
    fixed: np.ndarray
    copies: whatif_copies.Copies
    clips_max: int | None


def prepare(table: pa.Table, config: CurateConfig, images: qa.QaConfig | None = None) -> WhatIf:
    """Describe every row of a ledger, in its order, by what the rules ask about it.

    Args:
        table: the rows.
        config: the rules and their limits.
        images: limits on what was rendered; None: the defaults.
    """
    scores = _Scores(table)
    settings = Settings(config, images or qa.QaConfig())
    rules: list[tuple[str, tuple[int, ...]]] = []
    offers: list[Offer] = []
    fixed = np.full(len(table), NO_RULE, np.uint8)

    def offered(name: str, limits: tuple[Limit, ...]) -> bool:
        made = [_offer(limit, scores[limit.score], settings) for limit in limits]
        known = [offer for offer in made if offer is not None]
        if len(known) < len(limits):
            return False  # never measured: it cannot fire
        rules.append((name, tuple(range(len(offers), len(offers) + len(known)))))
        offers.extend(known)
        return True

    for rule in rules_of(config):
        name = rule.__name__
        if name in LIMITS:
            offered(name, LIMITS[name])
            continue
        fires = _FIXED[name](scores, config)
        fixed[fires & (fixed == NO_RULE)] = len(rules)
        rules.append((name, ()))
    of_images = sum(offered(name, limits) for name, limits in IMAGE_LIMITS.items())
    states = _states(table, scores, config)
    candidates = (states & (JUDGED_ANEW | UNMEASURED)) > 0
    copies = whatif_copies.prepare(
        table, candidates, (states & FIRST_OF_ASSET) > 0, config.copies()
    )
    return WhatIf(rules, of_images, offers, states, fixed, copies, config.clips.per_asset_max)


@dataclass(slots=True)
class _Scores:
    """Columns as rules see them: float64 with a mask of what was measured."""

    table: pa.Table
    _seen: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in self._seen:
            self._seen[name] = self._make(name)
        return self._seen[name]

    def _make(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name == "least_similar":
            (a, has_a), (b, has_b) = self["ssim_quarter"], self["ssim_half"]
            return np.where(b < a, b, a), has_a & has_b  # min(a, b) of Python, also for NaN
        if name == "visible_triangles":
            values, measured = self["triangles"]
            return values, measured & self["vertices"][1]
        measured, values = self._column(name)
        if name in qa.LIMITS:  # the value that decided was not rounded
            decided, unrounded = self._column("value")
            decided &= np.array([rule == name for rule in self.texts("rule")], bool)
            values, measured = np.where(decided, unrounded, values), measured | decided
            measured = measured & ~np.isnan(values)
        for names in (_MOTION, _DETAIL):
            if name in names:
                measured = self.measured(names)
        return values, np.ones_like(measured) if name == "duration_s" else measured

    def _column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        column = self.table[name].combine_chunks()
        values = np.asarray(column.cast(pa.float64()).fill_null(0.0))
        return np.asarray(column.is_valid()), values

    def measured(self, names: tuple[str, ...]) -> np.ndarray:
        """Tell which rows have all of several columns."""
        valid = [np.asarray(self.table[name].combine_chunks().is_valid()) for name in names]
        return np.logical_and.reduce(valid)

    def texts(self, name: str) -> list[str | None]:
        """Return a column of text."""
        return self.table[name].to_pylist()


@dataclass(frozen=True, slots=True)
class Settings:
    """Where limits are set: on scores, and on rendered images."""

    rules: CurateConfig
    images: qa.QaConfig

    def value(self, limit: Limit) -> float | None:
        """Return what a limit is set to; None: to nothing."""
        section, name = self.section(limit)
        return getattr(section, name)

    def section(self, limit: Limit) -> tuple[Config, str]:
        """Return the section that a limit is set in, and its name there."""
        section, name = limit.setting.removeprefix("render.").split(".")
        return (self.images if section == "qa" else getattr(self.rules, section)), name


def _offer(limit: Limit, score: tuple[np.ndarray, np.ndarray], settings: Settings) -> Offer | None:
    values, measured = score
    if not measured.any():
        return None
    section, name = settings.section(limit)
    current = getattr(section, name)
    info = type(section).model_fields[name]
    whole = "int" in str(info.annotation)
    wanted = _candidates(values[measured], whole, type(section), name)
    if current is not None:
        wanted.append(float(current))
    wanted = sorted(set(wanted))
    grid = np.array(wanted)
    side = "left" if limit.breaks == "gt" else "right"
    places = np.searchsorted(grid, values, side).astype(np.uint8)
    # comparisons with NaN are false, and rules pass what passes a comparison: NaN is rejected
    places[np.isnan(values)] = 0 if limit.breaks == "lt" else len(grid)
    places[~measured] = NOT_MEASURED
    return Offer(
        limit,
        wanted,
        [_setting_text(value, whole) for value in wanted],
        None if current is None else wanted.index(float(current)),
        "None" in str(info.annotation),
        places,
    )


def _candidates(values: np.ndarray, whole: bool, kind: type[Config], name: str) -> list[float]:
    """Choose values spread like the scores themselves, short to write, that the setting allows."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    spread = np.quantile(finite, np.linspace(0, 1, VALUES_MAX - 4), method="nearest").tolist()
    spread += [0.0, 1.0]
    rounded = {float(round(v)) if whole else float(f"{v:.3g}") for v in spread}
    allowed: list[float] = []
    for value in rounded:
        try:
            kind(**{name: int(value) if whole else value})
        except ValidationError:
            continue
        allowed.append(value)
    return allowed


def _setting_text(value: float, whole: bool) -> str:
    if whole or value.is_integer():
        return str(int(value))
    return f"{Decimal(repr(value)):f}"  # YAML reads 1e-05 as text


def _states(table: pa.Table, scores: _Scores, config: CurateConfig) -> np.ndarray:
    verdicts = scores.texts("verdict")
    old = np.array([_VERDICTS.get(text or "", REJECTED) for text in verdicts], np.uint8)
    rules = scores.texts("rule")
    judged = np.array([(rule or "") in JUDGED for rule in rules], bool)
    judged &= (old != FAILED) & (np.asarray(table["clip_index"].fill_null(0)) >= 0)
    measured = scores.measured(_MOTION)
    for name in qa.LIMITS:  # an older ledger may not say what its images showed
        rejects = np.array([rule == name for rule in rules], bool)
        measured &= ~rejects | scores[name][1]
    if asks_for_images(config):
        measured &= scores.measured(_PIXELS)
    how = np.where(judged, np.where(measured, JUDGED_ANEW, UNMEASURED), STAYS).astype(np.uint8)
    uids = scores.texts("uid")
    first = [place == 0 or uid != uids[place - 1] for place, uid in enumerate(uids)]
    return old | how | np.array(first, np.uint8) * np.uint8(FIRST_OF_ASSET)


def _by_text(name: str, rule: Any) -> Any:
    def fires(scores: _Scores, config: CurateConfig) -> np.ndarray:
        texts = scores.texts(name)
        says = {
            text: rule(Facts(0.0, asset=AssetFacts.of({name: text})), config) is not None
            for text in set(texts)
        }
        return np.array([says[text] for text in texts], bool)

    return fires


def _no_mesh(scores: _Scores, config: CurateConfig) -> np.ndarray:
    values, measured = scores["vertices"]
    return measured & (values <= 0)


def _no_size(scores: _Scores, config: CurateConfig) -> np.ndarray:
    points = np.array([rule == "no_size" for rule in scores.texts("rule")], bool)
    return points & scores.measured(_MOTION)


def _camera_light_only(scores: _Scores, config: CurateConfig) -> np.ndarray:
    (shown, has_shown), (others, has_others) = scores["geometry_tracks"], scores["camera_tracks"]
    return has_shown & (shown == 0) & has_others & (others != 0)


_FIXED: dict[str, Any] = {
    "licence": _by_text("licence", asset_rules.licence),
    "denied_tag": _by_text("tags", asset_rules.denied_tag),
    "no_mesh": _no_mesh,
    "no_size": _no_size,
    "camera_light_only": _camera_light_only,
}
