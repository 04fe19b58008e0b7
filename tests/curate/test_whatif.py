"""The page's judge and ``curate.replay`` say the same, whatever the rows and the limits."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import duplicates, ledger, rules, whatif, whatif_judge
from curate.config import CurateConfig
from curate.replay import replay
from render import qa
from shards.likeness import Sketch
from shards.seeding import rng_for
from tests.curate.test_replay import row as scored

_TEXTS = {
    "rule": ["", "", "too_still", "touches_border", "no_size", "crashed", "qa_magenta", "qa_flat"],
    "licence": ["CC0-1.0", "CC-BY-NC-4.0", "", None],
    "tags": ["", "nsfw;robot", None],
    "content": ["", "aa", "bb", None],
    "look": ["gltf:a", "gltf:a", "gltf:b", "blend:a", None],
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
        states = ["kept", "rejected", "rejected", "failed"]
        # a row about a whole asset says why none of its clips could be looked at
        row["verdict"] = rng.choice(states[row["clip_index"] < 0 :]).item()
        row |= {name: rng.choice(np.array(said, object)) for name, said in _TEXTS.items()}
        if row["verdict"] != "rejected":
            row["rule"] = "" if row["verdict"] == "kept" else "crashed"
        odd = rng.random() < 0.3
        for name in sorted({*ledger.SCORES, *ledger.QA, "duration_s", "vertices", "triangles"}):
            row[name] = _value(rng, name, odd)
        row |= {name: 0.0 for name in ledger.QA if rng.random() < 0.97}  # else next to none is kept
        if row["rule"] in qa.LIMITS:
            row["value"] = [None, row[row["rule"]], 0.9][rng.integers(3)]
        row["clip_sketch"] = chained(rng)
        row["geometry"] = Sketch(12, np.full(14, number // 3 % 4 / 10)).encode()
        found.append(row)
    return found


def chained(rng: np.random.Generator) -> str | None:
    """Draw a motion from a chain: each like the next, and few like the one after that."""
    if rng.random() < 0.05:
        return None
    values = np.linspace(0.1, 0.4, 16)
    values[rng.integers(0, 16)] += 7e-4 * rng.integers(0, 6)  # tolerance: 1e-3
    return Sketch(rng.choice([8, 8, 8, 24]).item(), values).encode()


def _value(rng: np.random.Generator, name: str, odd: bool) -> Any:
    if odd and rng.random() < 0.03:
        return None
    if name in _COUNTS:
        return 0 if name == "border_frames" and rng.random() < 0.8 else int(rng.integers(0, 40))
    if name.startswith("ssim"):
        return float(rng.uniform(0.35, 1.0))
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
    ["duplicates.reject=geometry"],
    ["duplicates.reject=bytes", "clips.per_asset_max=2"],
    ["pixels.enabled=true"],
    ["rules=diffusion4d"],
    ["clips.per_asset_max=2", "duplicates.reject=nothing"],
    ["clips.per_asset_max=1"],
    ["rights.licences_deny=[CC-BY-NC-*]", "rights.tags_deny=[nsfw]", "rights.unknown=reject"],
    ["motion.loop_gap_max=0.05", "quality.parts_max=20", "quality.backdrop_share_max=0.2"],
)


def verdicts(found: Any) -> list[tuple[str, str]]:
    return [(row["verdict"], row["rule"] or "") for row in found.rows]


def replayed(old: list[dict[str, Any]], settings: list[str]) -> list[tuple[str, str]]:
    """Replay by settings as the page writes them."""
    prefix = "render.qa."
    of_images = [said.removeprefix(prefix) for said in settings if said.startswith(prefix)]
    of_rules = [said for said in settings if not said.startswith(prefix)]
    config = CurateConfig.load(None, of_rules)
    return verdicts(replay(old, config, qa.QaConfig.load(None, of_images)))


def said(
    prepared: whatif.WhatIf, outcome: whatif_judge.Outcome, old: list[dict[str, Any]]
) -> list[Any]:
    names = {place: name for place, (name, _) in enumerate(prepared.rules)}
    names |= {n: duplicates.RULES[level - 1] for level, n in whatif_judge.COPY_RULES.items()}
    names |= {whatif_judge.CLIP_RULE: "clip_limit"}
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
    at_rest = said(prepared, whatif_judge.evaluate(prepared, {}), old)
    assert at_rest == verdicts(replay(old, config))
    assert 2 <= at_rest.count(("kept", "")) < len(old) / 2
    moved = 0
    for number, offer in enumerate(prepared.offers):
        assert len(offer.values) <= whatif.VALUES_MAX
        assert offer.place is None or offer.values[offer.place] == pytest.approx(
            float(offer.texts[offer.place])
        )
        last = len(offer.values) - 1
        place = (last // 3, 0, last)[(number + len(str(settings))) % 3]
        setting = f"{offer.limit.setting}={offer.texts[place]}"
        found = said(prepared, whatif_judge.evaluate(prepared, {number: place}), old)
        assert found == replayed(old, [*settings, setting]), setting
        moved += found != at_rest
        if offer.optional:
            found = said(prepared, whatif_judge.evaluate(prepared, {number: None}), old)
            setting = f"{offer.limit.setting}=null"
            assert found == replayed(old, [*settings, setting]), setting
    assert moved > len(prepared.offers) / 4


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
        expected = replayed(old, settings)
        assert said(prepared, whatif_judge.evaluate(prepared, places), old) == expected


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
    found = said(prepared, whatif_judge.evaluate(prepared, {}), old)
    assert found == verdicts(replay(old, config))
    assert found.count(("kept", "")) == kept


def test_the_next_copy_is_kept_where_the_first_is_not() -> None:
    old = [
        scored(uid=uid, content="x", margin_px=margin) for uid, margin in (("a", 1.0), ("b", 9.0))
    ]
    config = CurateConfig.load(None, ["boundary.margin_min_px=5"])
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), config)
    found = said(prepared, whatif_judge.evaluate(prepared, {}), old)
    assert found == verdicts(replay(old, config)) == [("rejected", "touches_border"), ("kept", "")]


CHAIN: dict[str, Any] = {"geometry": Sketch(12, np.linspace(0.1, 1, 14)).encode()}


def chain(margins: list[float], links: list[int]) -> list[dict[str, Any]]:
    """Make an asset per link: as many tolerances along the chain, with a margin to the border."""
    return [
        scored(
            uid=f"u{place}", path=f"u{place}", look="gltf:a", margin_px=margin, **CHAIN,
            clip_sketch=Sketch(8, np.linspace(0.1, 0.4, 16) + 8e-4 * link).encode(),
        )
        for place, (margin, link) in enumerate(zip(margins, links, strict=True))
    ]  # fmt: skip


KEPT, COPY, OUT = (
    ("kept", ""),
    ("rejected", "duplicate_geometry_and_clip"),
    ("rejected", "touches_border"),
)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, [KEPT, COPY, KEPT]),  # the third is like the second alone, which is not kept
        (2, [OUT, KEPT, COPY]),
        (4, [OUT, OUT, KEPT]),
    ],
)
def test_a_chain_of_near_copies_is_judged_as_a_replay_does(
    limit: int, expected: list[tuple[str, str]]
) -> None:
    old = chain([1.0, 3.0, 9.0], [0, 1, 2])
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), CurateConfig())
    (number,) = (
        n
        for n, offer in enumerate(prepared.offers)
        if offer.limit.setting == "boundary.margin_min_px"
    )
    values = prepared.offers[number].values
    place = next(place for place, value in enumerate(values) if value >= limit)
    found = said(prepared, whatif_judge.evaluate(prepared, {number: place}), old)
    assert found == expected
    assert found == replayed(old, [f"boundary.margin_min_px={values[place]}"])


def test_a_clip_that_its_own_asset_repeats_stays_out_though_no_other_does() -> None:
    """As in a build: its worker drops it before anyone knows that the first is a copy, too."""
    old = chain([5.0, 5.0, 5.0], [0, 1, 2])
    old[1] |= {"uid": "b", "clip_index": 0}
    old[2] |= {"uid": "b", "clip_index": 1, "path": "u1"}
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), CurateConfig())
    found = said(prepared, whatif_judge.evaluate(prepared, {}), old)
    assert found == replayed(old, []) == [KEPT, COPY, COPY]


def test_what_was_rendered_is_judged_by_what_was_measured() -> None:
    old = [
        scored(0, qa_magenta=0.2),
        scored(1, "rejected", "qa_magenta", qa_magenta=0.3, value=0.3000001),
        scored(2, "rejected", "qa_magenta"),  # of before its value was stored
        scored(3, "rejected", "clip_limit"),  # never rendered
    ]
    prepared = whatif.prepare(pa.Table.from_pylist(old, schema=ledger.SCHEMA), CurateConfig())
    (number,) = (n for n, offer in enumerate(prepared.offers) if offer.limit.score == "qa_magenta")
    offer, out = prepared.offers[number], ("rejected", "qa_magenta")
    for value, expected in ((0.3, [KEPT, out, out, KEPT]), (0.0, [out, out, out, KEPT])):
        place = offer.values.index(value)
        found = said(prepared, whatif_judge.evaluate(prepared, {number: place}), old)
        assert found == expected == replayed(old, [f"{offer.limit.setting}={offer.texts[place]}"])
    places = {number: len(offer.values) - 1}
    found = said(prepared, whatif_judge.evaluate(prepared, places), old)
    assert found == [KEPT, KEPT, out, KEPT] == replayed(old, ["render.qa.magenta_share_max=1"])


def test_every_rule_is_offered_or_has_no_number() -> None:
    names = {rule.__name__ for rule in rules.RULES}
    assert names == whatif.LIMITS.keys() | whatif._FIXED.keys()
    assert tuple(whatif.IMAGE_LIMITS) == ledger.QA
    settings = whatif.Settings(CurateConfig(), qa.QaConfig())
    for limits in (*whatif.LIMITS.values(), *whatif.IMAGE_LIMITS.values()):
        for limit in limits:
            section, name = settings.section(limit)
            assert name in type(section).model_fields


def test_an_empty_ledger_has_nothing_to_move(tmp_path: Path) -> None:
    prepared = whatif.prepare(ledger.SCHEMA.empty_table(), CurateConfig())
    assert prepared.offers == []
    assert len(whatif_judge.evaluate(prepared, {}).verdicts) == 0
    assert dataclasses.asdict(prepared)["clips_max"] is None
