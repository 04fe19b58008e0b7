"""The page's judge and ``curate.replay`` say the same, whatever the rows and the limits."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import ledger, rules, whatif
from curate.config import CurateConfig
from curate.replay import replay
from shards.seeding import rng_for
from tests.curate.test_replay import row as scored

_TEXTS = {
    "rule": ["", "", "too_still", "touches_border", "no_size", "crashed", "duplicate_bytes"],
    "licence": ["CC0-1.0", "CC-BY-NC-4.0", "", None],
    "tags": ["", "nsfw;robot", None],
    "content": ["", "aa", "bb", None],
}
_COUNTS = ("vertices", "triangles", "missing_textures", "parts", "border_frames")
_TRACKS = ("geometry_tracks", "camera_tracks")


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Draw rows with gaps, NaN, infinity, ties with limits, and failures."""
    rng = rng_for(seed, "what if")
    found: list[dict[str, Any]] = []
    for number in range(count):
        row: dict[str, Any] = dict.fromkeys(ledger.SCHEMA.names)
        row |= {"uid": f"u{number // 3:04d}", "path": f"p{number // 3:04d}"}
        row["clip_index"] = number % 3 - (rng.random() < 0.02)
        row["verdict"] = rng.choice(["kept", "rejected", "rejected", "failed"]).item()
        row |= {name: rng.choice(np.array(said, object)) for name, said in _TEXTS.items()}
        if row["verdict"] != "rejected":
            row["rule"] = "" if row["verdict"] == "kept" else "crashed"
        odd = rng.random() < 0.3
        for name in {*ledger.SCORES, "duration_s", "vertices", "triangles"}:
            row[name] = _value(rng, name, odd)
        found.append(row)
    return found


def _value(rng: np.random.Generator, name: str, odd: bool) -> Any:
    if odd and rng.random() < 0.03:
        return None
    if name in _COUNTS:
        return int(rng.integers(0, 40))
    if name in _TRACKS:
        return int(rng.integers(0, 2))
    if odd and ledger.SCHEMA.field(name).type == pa.float64() and rng.random() < 0.03:
        return rng.choice([math.nan, math.inf, 0.0]).item()
    drawn = rng.lognormal(-2.0, 1.5)
    value = 1 + drawn if name in ("scale_change", "far_part_ratio") else drawn
    if ledger.SCHEMA.field(name).type == pa.int64():
        return int(value)
    # now and then exactly a value that is offered
    return float(f"{value:.1g}") if rng.random() < 0.3 else value


CONFIGS = (
    [],
    ["pixels.enabled=true"],
    ["rules=diffusion4d"],
    ["clips.per_asset_max=2", "duplicates.reject=nothing"],
    ["clips.per_asset_max=1"],
    ["rights.licences_deny=[CC-BY-NC-*]", "rights.tags_deny=[nsfw]", "rights.unknown=reject"],
    ["motion.loop_gap_max=0.05", "quality.parts_max=20", "quality.backdrop_share_max=0.2"],
)


def verdicts(found: Any) -> list[tuple[str, str]]:
    return [(row["verdict"], row["rule"] or "") for row in found.rows]


def said(prepared: whatif.WhatIf, outcome: whatif.Outcome, old: list[dict[str, Any]]) -> list[Any]:
    names = {place: name for place, (name, _) in enumerate(prepared.rules)}
    names |= {whatif.COPY_RULE: "duplicate_bytes", whatif.CLIP_RULE: "clip_limit"}
    words = ("kept", "rejected", "failed")
    answer: list[Any] = []
    for row, verdict, rule in zip(old, outcome.verdicts, outcome.rules, strict=True):
        stays = verdict != whatif.KEPT and rule == whatif.NO_RULE
        answer.append((words[verdict], (row["rule"] or "") if stays else names.get(rule, "")))
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_every_offered_value_decides_as_a_replay_does(settings: list[str]) -> None:
    old = rows(240, seed=len(settings))
    config = CurateConfig.load(None, settings)
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), config)
    assert prepared.offers
    at_rest = said(prepared, whatif.evaluate(prepared, {}), old)
    assert at_rest == verdicts(replay(old, config))
    moved = 0
    for number, offer in enumerate(prepared.offers):
        assert len(offer.values) <= whatif.VALUES_MAX
        assert offer.place is None or offer.values[offer.place] == pytest.approx(
            float(offer.texts[offer.place])
        )
        for place in {0, len(offer.values) // 3, len(offer.values) - 1}:
            setting = f"{offer.limit.setting}={offer.texts[place]}"
            other = CurateConfig.load(None, [*settings, setting])
            found = said(prepared, whatif.evaluate(prepared, {number: place}), old)
            assert found == verdicts(replay(old, other)), setting
            moved += found != at_rest
        if offer.optional:
            other = CurateConfig.load(None, [*settings, f"{offer.limit.setting}=null"])
            found = said(prepared, whatif.evaluate(prepared, {number: None}), old)
            assert found == verdicts(replay(old, other)), offer.limit.setting
    assert moved > len(prepared.offers) / 2


def test_several_limits_move_together() -> None:
    old = rows(240, seed=9)
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), CurateConfig())
    rng = rng_for(0, "several")
    for _ in range(5):
        places = {n: int(rng.integers(len(o.values))) for n, o in enumerate(prepared.offers)}
        settings = [
            f"{prepared.offers[n].limit.setting}={prepared.offers[n].texts[place]}"
            for n, place in places.items()
        ]
        expected = verdicts(replay(old, CurateConfig.load(None, settings)))
        assert said(prepared, whatif.evaluate(prepared, places), old) == expected


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ([], 2),
        (["rules=diffusion4d"], 4),  # the paper keeps copies
        (["duplicates.reject=nothing"], 4),
        (["rules=diffusion4d", "duplicates.reject=bytes"], 2),
    ],
)
def test_copies_go_where_a_replay_drops_them(settings: list[str], kept: int) -> None:
    seen = {"ssim_quarter": 0.7, "ssim_half": 0.8, "border_frames": 0, "triangles": 50}
    old = [
        scored(uid=uid, content=content, **seen)
        for uid, content in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "x"))
    ]
    config = CurateConfig.load(None, settings)
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), config)
    found = said(prepared, whatif.evaluate(prepared, {}), old)
    assert found == verdicts(replay(old, config))
    assert found.count(("kept", "")) == kept


def test_the_next_copy_is_kept_where_the_first_is_not() -> None:
    old = [
        scored(uid=uid, content="x", margin_px=margin) for uid, margin in (("a", 1.0), ("b", 9.0))
    ]
    config = CurateConfig.load(None, ["boundary.margin_min_px=5"])
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), config)
    found = said(prepared, whatif.evaluate(prepared, {}), old)
    assert found == verdicts(replay(old, config)) == [("rejected", "touches_border"), ("kept", "")]


def test_every_rule_is_offered_or_has_no_number() -> None:
    names = {rule.__name__ for rule in rules.RULES}
    assert names == whatif.LIMITS.keys() | whatif._FIXED.keys()
    for limits in whatif.LIMITS.values():
        for limit in limits:
            section, name = limit.setting.split(".")
            assert name in type(getattr(CurateConfig(), section)).model_fields


def test_an_empty_ledger_has_nothing_to_move(tmp_path: Path) -> None:
    prepared = whatif.prepare(ledger.SCHEMA.empty_table(), CurateConfig())
    assert prepared.offers == []
    assert len(whatif.evaluate(prepared, {}).verdicts) == 0
    assert dataclasses.asdict(prepared)["clips_max"] is None
