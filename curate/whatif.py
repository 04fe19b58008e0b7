"""What other limits would decide, for the page: every row as a few bytes, limits to choose from.

A limit is offered at up to 120 values. Of each score only its place among these values is kept, one
byte a row, which is exact at every value offered: the page compares places and gets what
``curate.replay`` gets from scores. ``evaluate`` is the same function as in ``report_whatif.js``.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from curate import asset_rules, duplicates
from curate.config import CurateConfig
from curate.detail import Detail
from curate.facts import AssetFacts, Facts
from curate.motion import Motion
from curate.pixels import asks_for_images
from curate.replay import JUDGED
from curate.rules import rules_of

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

    setting: str  # below ``curate.``
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
        states: (n,) uint8: verdict, how it is judged anew, whether an asset begins.
        fixed: (n,) uint8: the first rule without a number that rejects, else ``NO_RULE``.
        copies: rows that are alike and the group each is of; of a group the first kept counts.
        clips_max: kept clips per asset; None: all.
    """

    rules: list[tuple[str, tuple[int, ...]]]
    offers: list[Offer]
    states: np.ndarray
    fixed: np.ndarray
    copies: dict[int, int]
    clips_max: int | None


def prepare(table: pa.Table, config: CurateConfig) -> WhatIf:
    """Describe every row of a ledger, in its order, by what the rules ask about it."""
    scores = _Scores(table)
    rules: list[tuple[str, tuple[int, ...]]] = []
    offers: list[Offer] = []
    fixed = np.full(len(table), NO_RULE, np.uint8)
    for rule in rules_of(config):
        name = rule.__name__
        numbers: list[int] = []
        for limit in LIMITS.get(name, ()):
            if (offer := _offer(limit, scores[limit.score], config)) is not None:
                numbers.append(len(offers))
                offers.append(offer)
        if name in LIMITS and len(numbers) < len(LIMITS[name]):
            offers = offers[: len(offers) - len(numbers)]  # never measured: it cannot fire
            continue
        if name not in LIMITS:
            fires = _FIXED[name](scores, config)
            fixed[fires & (fixed == NO_RULE)] = len(rules)
        rules.append((name, tuple(numbers)))
    states = _states(table, scores, config)
    copies = _copies(table, states, config)
    return WhatIf(rules, offers, states, fixed, copies, config.clips.per_asset_max)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What limits decide: (n,) verdicts, and the rule's number where one fires, else NO_RULE."""

    verdicts: np.ndarray
    rules: np.ndarray


COPY_RULE, CLIP_RULE = 254, 253  # instead of a rule's number


def evaluate(whatif: WhatIf, places: Mapping[int, int | None]) -> Outcome:
    """Judge all rows with the offers in ``places`` moved; None takes a limit away."""
    count = len(whatif.states)
    fires = np.full(count, NO_RULE, np.uint8)
    for number, (_, numbers) in reversed(list(enumerate(whatif.rules))):
        broken = whatif.fixed == number if not numbers else np.ones(count, bool)
        for offer_number in numbers:
            offer = whatif.offers[offer_number]
            broken &= _broken(offer, places.get(offer_number, offer.place))
        fires[broken] = number
    verdicts = whatif.states & 3
    judged, unmeasured = whatif.states & JUDGED_ANEW > 0, whatif.states & UNMEASURED > 0
    verdicts[judged | (unmeasured & (fires != NO_RULE))] = REJECTED
    verdicts[judged & (fires == NO_RULE)] = KEPT
    fires[~(judged | unmeasured)] = NO_RULE
    return _in_order(whatif, Outcome(verdicts, fires))


def _broken(offer: Offer, place: int | None) -> np.ndarray:
    if place is None:
        return np.zeros(len(offer.places), bool)
    measured = offer.places != NOT_MEASURED
    return measured & ((place >= offer.places) == (offer.limit.breaks == "lt"))


def _in_order(whatif: WhatIf, found: Outcome) -> Outcome:
    """Drop what comes too late: clips beyond an asset's number, and copies."""
    if whatif.clips_max is not None:
        _limit_clips(whatif, whatif.clips_max, found)
    taken: set[int] = set()
    for row, group in whatif.copies.items():
        if found.verdicts[row] != KEPT:
            continue
        if group in taken:
            found.verdicts[row], found.rules[row] = REJECTED, COPY_RULE
        taken.add(group)
    return found


def _limit_clips(whatif: WhatIf, clips_max: int, found: Outcome) -> None:
    """Drop clips beyond an asset's number, which a copy of another clip of it does not use up."""
    kept: set[int] = set()  # rows, or groups of rows that are alike
    for row, state in enumerate(whatif.states.tolist()):
        if state & FIRST_OF_ASSET:
            kept.clear()
        if found.verdicts[row] != KEPT:
            continue
        if len(kept) >= clips_max and state & JUDGED_ANEW:
            found.verdicts[row], found.rules[row] = REJECTED, CLIP_RULE
        else:
            kept.add(whatif.copies.get(row, row))


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
        column = self.table[name].combine_chunks()
        measured = np.asarray(column.is_valid())
        values = np.asarray(column.cast(pa.float64()).fill_null(0.0))
        for names in (_MOTION, _DETAIL):
            if name in names:
                measured = self.measured(names)
        return values, np.ones_like(measured) if name == "duration_s" else measured

    def measured(self, names: tuple[str, ...]) -> np.ndarray:
        """Tell which rows have all of several columns."""
        valid = [np.asarray(self.table[name].combine_chunks().is_valid()) for name in names]
        return np.logical_and.reduce(valid)

    def texts(self, name: str) -> list[str | None]:
        """Return a column of text."""
        return self.table[name].to_pylist()


def _offer(
    limit: Limit, score: tuple[np.ndarray, np.ndarray], config: CurateConfig
) -> Offer | None:
    values, measured = score
    if not measured.any():
        return None
    section, name = limit.setting.split(".")
    current = getattr(getattr(config, section), name)
    info = type(getattr(config, section)).model_fields[name]
    whole = "int" in str(info.annotation)
    wanted = _candidates(values[measured], whole, config, limit.setting)
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


def _candidates(values: np.ndarray, whole: bool, config: CurateConfig, setting: str) -> list[float]:
    """Choose values spread like the scores themselves, short to write, that the setting allows."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    spread = np.quantile(finite, np.linspace(0, 1, VALUES_MAX - 4), method="nearest").tolist()
    spread += [0.0, 1.0]
    rounded = {float(round(v)) if whole else float(f"{v:.3g}") for v in spread}
    section, name = setting.split(".")
    kind = type(getattr(config, section))
    allowed: list[float] = []
    for value in rounded:
        try:
            kind(**{name: int(value) if whole else value})
        except ValidationError:
            continue
        allowed.append(value)
    return allowed


def _setting_text(value: float, whole: bool) -> str:
    return str(int(value)) if whole else f"{Decimal(repr(value)):f}"  # YAML reads 1e-05 as text


def _states(table: pa.Table, scores: _Scores, config: CurateConfig) -> np.ndarray:
    verdicts = scores.texts("verdict")
    old = np.array([_VERDICTS.get(text or "", REJECTED) for text in verdicts], np.uint8)
    judged = np.array([(rule or "") in JUDGED for rule in scores.texts("rule")], bool)
    judged &= (old != FAILED) & (np.asarray(table["clip_index"].fill_null(0)) >= 0)
    measured = scores.measured(_MOTION)
    if asks_for_images(config):
        measured &= scores.measured(_PIXELS)
    how = np.where(judged, np.where(measured, JUDGED_ANEW, UNMEASURED), STAYS).astype(np.uint8)
    uids = scores.texts("uid")
    first = [place == 0 or uid != uids[place - 1] for place, uid in enumerate(uids)]
    return old | how | np.array(first, np.uint8) * np.uint8(FIRST_OF_ASSET)


_COPIED = ("uid", "clip_index", "verdict", "rule", "content", "geometry", "look", "clip_sketch")


def _copies(table: pa.Table, states: np.ndarray, config: CurateConfig) -> dict[int, int]:
    """Group what is alike, whatever the limits: a clip that is dropped now may be kept then.

    Tolerances are not transitive, so near copies of near copies may be grouped by another original
    than a replay finds.
    """
    seen = duplicates.Seen(config.copies())
    group_of: dict[str, int] = {}
    found: dict[int, int] = {}
    for start, rows in _assets(table.select(list(_COPIED)), states):
        seen.enter(rows)
        for row, entry in enumerate(rows, start):
            if not states[row] & (JUDGED_ANEW | UNMEASURED):
                continue
            fields_, decision = seen.judge(entry)
            if decision is None:
                group_of.setdefault(duplicates.clip_name(entry), row)
                seen.keep(entry)
            else:
                group = group_of[fields_["duplicate_of"]]
                found[group] = found[row] = group
    return dict(sorted(found.items()))


def _assets(table: pa.Table, states: np.ndarray) -> Any:
    starts = np.flatnonzero(states & FIRST_OF_ASSET).tolist()
    step = 4000  # assets at a time: rows as dictionaries are large
    for place in range(0, len(starts), step):
        bounds = [*starts[place : place + step + 1], len(table)][: step + 1]
        batch = table.slice(bounds[0], bounds[-1] - bounds[0]).to_pylist()
        for start, stop in itertools.pairwise(bounds):
            yield start, batch[start - bounds[0] : stop - bounds[0]]


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
