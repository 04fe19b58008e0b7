from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from curate.config import CurateConfig
from curate.detail import Detail
from curate.facts import AssetFacts, Decision, Facts
from curate.motion import Motion
from curate.rules import RULES, Rule, decide, rules_of

# The limits of the cases below are the defaults; rules that are off by default have one here.
CONFIG = CurateConfig.load(
    None,
    [
        "motion.activity_min_per_s=0.01", "motion.active_share_min=0.2",
        "motion.scale_change_max=2", "motion.loop_gap_max=0.5",
        "quality.missing_textures_max=1", "quality.backdrop_share_max=0.5",
        "quality.degenerate_share_max=0.25", "quality.parts_max=1000",
        "rights.licences_deny=[CC-BY-NC-*]", "rights.tags_deny=[nsfw, Adult]",
        "pixels.enabled=true",
    ],
)  # fmt: skip
MOVES = Motion(
    size=1.0,
    motion=0.2,
    drift=0.1,
    rotation_deg=10.0,
    deformation=0.1,
    moved_most=0.5,
    step=0.05,
    step_share=0.1,
    reach=1.0,
)
DETAIL = Detail(
    scale_change=1.1,
    shape_change=0.1,
    moved_p95=0.4,
    moved_max=0.7,
    moving_share=0.9,
    activity_per_s=0.3,
    starts_s=0.1,
    stops_s=0.8,
    active_share=0.7,
    loop_gap=0.1,
)
SOUND = AssetFacts(
    licence="CC0-1.0",
    tags="dragon",
    collision_meshes=0,
    texture_mb=4.0,
    missing_textures=0,
    triangles=2000,
    parts=10,
    far_part_ratio=1.1,
    backdrop_share=0.1,
    degenerate_share=0.01,
    visible_share=0.9,
)
GOOD = Facts(
    duration_s=1.0, vertices=1000, motion=MOVES, detail=DETAIL, margin_px=5.0, ssim_quarter=0.8,
    ssim_half=0.7, border_frames=0,
)  # fmt: skip
STILL = {"motion": 0.009, "moved_most": 0.09, "drift": 0.04}

# rule -> (what differs from GOOD, the rejecting (value, limit, unit) or None)
CASES: dict[str, list[tuple[dict[str, Any], tuple[float, float, str] | None]]] = {
    "licence": [
        ({"licence": "CC-BY-4.0"}, None),
        ({"licence": "unknown"}, None),
        ({"licence": "by-nc"}, (0, 1, "allowed licences")),
        ({"licence": "CC-BY-NC-4.0 OR MIT"}, None),
    ],
    "denied_tag": [
        ({"tags": "dragon;nsfwish"}, None),
        ({"tags": "dragon; NSFW"}, (1, 0, "denied tags")),
        ({"tags": "adult;nsfw"}, (2, 0, "denied tags")),
    ],
    "large_textures": [
        ({"texture_mb": 2048.0}, None),
        ({"texture_mb": 2048.1}, (2048.1, 2048, "MB")),
    ],
    "too_many_triangles": [
        ({"triangles": 4_000_000}, None),
        ({"triangles": 4_000_001}, (4_000_001, 4_000_000, "triangles")),
    ],
    "missing_textures": [
        ({"missing_textures": 1}, None),
        ({"missing_textures": 2}, (2, 1, "images")),
    ],
    "too_short": [
        ({"duration_s": 0.0}, (0.0, 0.1, "s")),
        ({"duration_s": np.nextafter(0.1, 0)}, (0.1, 0.1, "s")),
        ({"duration_s": 0.1}, None),
    ],
    "too_long": [
        ({"duration_s": 600.0}, None),
        ({"duration_s": np.nextafter(600.0, 601)}, (600.0, 600.0, "s")),
        ({"duration_s": 1e9}, (1e9, 600.0, "s")),
    ],
    "no_mesh": [
        ({"vertices": 0}, (0, 1, "vertices")),
        ({"vertices": 1}, None),
    ],
    "too_many_vertices": [
        ({"vertices": 2_000_000}, None),
        ({"vertices": 2_000_001}, (2_000_001, 2_000_000, "vertices")),
    ],
    "too_few_triangles": [
        ({"triangles": 0}, (0, 1, "triangles")),
        ({"triangles": 1}, None),
    ],
    "no_size": [
        ({"size": 0.0}, (0.0, 0.0, "asset units")),
        ({"size": 1e-30}, None),
    ],
    "camera_light_only": [
        ({"geometry_tracks": 0, "camera_tracks": 2}, (0, 1, "tracks")),
        ({"geometry_tracks": 1, "camera_tracks": 2}, None),
        ({"geometry_tracks": 0, "camera_tracks": 0}, None),  # an empty that turns
    ],
    "all_transparent": [
        ({"visible_share": 0.01}, None),
        ({"visible_share": 0.0}, (0, 0.01, "share of the surface")),
    ],
    "far_part": [
        ({"far_part_ratio": 16.0}, None),
        ({"far_part_ratio": 16.5}, (16.5, 16, "ratio")),
    ],
    "backdrop": [
        ({"backdrop_share": 0.5}, None),
        ({"backdrop_share": 0.51}, (0.51, 0.5, "share of the surface")),
    ],
    "degenerate_triangles": [
        ({"degenerate_share": 0.25}, None),
        ({"degenerate_share": 0.26}, (0.26, 0.25, "share of the triangles")),
    ],
    "fragments": [
        ({"parts": 1000}, None),
        ({"parts": 1001}, (1001, 1000, "parts")),
    ],
    "leaves_frame": [
        ({"reach": 4.0}, None),
        ({"reach": np.nextafter(4.0, 5)}, (4.0, 4.0, "asset sizes")),
        ({"reach": 70.0}, (70.0, 4.0, "asset sizes")),
    ],
    "teleport": [
        ({"step": 0.5, "step_share": 0.6}, (0.6, 0.6, "share of the path")),
        ({"step": np.nextafter(0.5, 0), "step_share": 1.0}, None),  # a small twitch
        ({"step": 3.0, "step_share": np.nextafter(0.6, 0)}, None),  # fast, but not only once
        ({"step": 3.0, "step_share": 1.0}, (1.0, 0.6, "share of the path")),
    ],
    "too_still": [
        ({**STILL, "motion": 0.0, "moved_most": 0.0, "drift": 0.0}, (0.0, 0.01, "asset sizes")),
        (STILL, (0.009, 0.01, "asset sizes")),
        ({**STILL, "motion": 0.01}, None),
        ({**STILL, "moved_most": 0.1}, None),  # a small part waves
        ({**STILL, "drift": 0.05}, None),  # a car that drives
        ({**STILL, "rotation_deg": 90.0, "step": 0.4}, (0.009, 0.01, "asset sizes")),
    ],
    "too_slow": [
        ({"activity_per_s": 0.01}, None),
        ({"activity_per_s": 0.009}, (0.009, 0.01, "asset sizes/s")),
    ],
    "stops_early": [
        ({"active_share": 0.2}, None),
        ({"active_share": 0.19, "stops_s": 0.29}, (0.19, 0.2, "share of the window")),
        ({"active_share": 0.0, "starts_s": 0.0, "stops_s": 0.0}, (0, 0.2, "share of the window")),
    ],
    "changes_scale": [
        ({"scale_change": 2.0}, None),
        ({"scale_change": 2.1}, (2.1, 2.0, "ratio")),
    ],
    "no_loop": [
        ({"loop_gap": 0.5}, None),
        ({"loop_gap": 0.6}, (0.6, 0.5, "asset sizes")),
    ],
    "touches_border": [
        ({"margin_px": 0.0}, None),
        ({"margin_px": np.nextafter(0.0, -1)}, (0.0, 0.0, "px")),
        ({"margin_px": -3.5}, (-3.5, 0.0, "px")),
    ],
    "ssim_too_still": [
        ({"ssim_quarter": 0.99, "ssim_half": 0.95}, None),
        ({"ssim_quarter": 0.95, "ssim_half": 1.0}, None),  # one of them shows something
        ({"ssim_quarter": 0.96, "ssim_half": 0.97}, (0.96, 0.95, "SSIM")),
        ({"ssim_quarter": 1.0, "ssim_half": 1.0}, (1.0, 0.95, "SSIM")),
    ],
    "ssim_broken": [
        ({"ssim_quarter": 0.4, "ssim_half": 0.4}, None),
        ({"ssim_quarter": 0.39, "ssim_half": 0.9}, (0.39, 0.4, "SSIM")),  # any
        ({"ssim_quarter": 0.9, "ssim_half": -0.1}, (-0.1, 0.4, "SSIM")),
    ],
    "alpha_at_border": [
        ({"border_frames": 0}, None),
        ({"border_frames": 1}, (1, 0, "images")),
        ({"border_frames": 24}, (24, 0, "images")),
    ],
}
FLAT = [(rule, *case) for rule, cases in CASES.items() for case in cases]


def facts(changes: dict[str, Any]) -> Facts:
    of_motion = {name: value for name, value in changes.items() if hasattr(MOVES, name)}
    of_detail = {name: value for name, value in changes.items() if hasattr(DETAIL, name)}
    of_asset = {name: value for name, value in changes.items() if hasattr(SOUND, name)}
    known = of_motion | of_detail | of_asset
    rest = {name: value for name, value in changes.items() if name not in known}
    motion, detail = replace(MOVES, **of_motion), replace(DETAIL, **of_detail)
    asset = replace(SOUND, **of_asset)
    return replace(GOOD, motion=motion, detail=detail, asset=asset, **rest)


def named(name: str) -> Rule:
    return next(rule for rule in RULES if rule.__name__ == name)


def test_every_rule_has_cases_on_both_sides() -> None:
    assert list(CASES) == [rule.__name__ for rule in RULES]  # in the order in which they run
    for name, cases in CASES.items():
        assert {expected is None for _, expected in cases} == {True, False}, name


def test_a_good_clip_passes_every_rule() -> None:
    assert [rule(GOOD, CONFIG) for rule in RULES] == [None] * len(RULES)
    assert decide(GOOD, CONFIG) is None


@pytest.mark.parametrize(("rule", "changes", "expected"), FLAT)
def test_the_limits(
    rule: str, changes: dict[str, Any], expected: tuple[float, float, str] | None
) -> None:
    clip = facts(changes)
    decision = named(rule)(clip, CONFIG)
    assert decide(clip, CONFIG) == decision  # no other rule has a word on these clips
    if expected is None:
        assert decision is None
        return
    assert decision is not None
    assert decision.rule == rule
    assert (decision.value, decision.limit, decision.unit) == pytest.approx(expected)
    assert decision.sentence
    assert "\n" not in decision.sentence


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_silent_about_what_was_not_measured(rule: Rule) -> None:
    assert rule(Facts(duration_s=1.0), CONFIG) is None


def test_the_settings_move_the_limits() -> None:
    strict = CurateConfig.load(
        None,
        [
            "clips.duration_min_s=2", "clips.duration_max_s=0.5", "geometry.vertices_max=999",
            "motion.min=0.3", "motion.moved_most_min=0.6", "motion.drift_min=0.2",
            "motion.jump_min=0.01", "motion.jump_share_min=0.05",
            "motion.activity_min_per_s=0.4", "motion.active_share_min=0.8",
            "motion.scale_change_max=1", "motion.loop_gap_max=0.05",
            "boundary.reach_max=0.9", "boundary.margin_min_px=6", "pixels.ssim_still=0.6",
            "pixels.ssim_broken=0.75", "pixels.border_frames_max=1",
            "rights.licences_allow=[MIT]", "rights.tags_deny=[dragon]", "quality.texture_mb_max=3",
            "geometry.triangles_max=1999", "quality.triangles_min=2001",
            "quality.missing_textures_max=0", "quality.visible_share_min=0.95",
            "quality.far_part_ratio_max=1.05", "quality.backdrop_share_max=0.05",
            "quality.degenerate_share_max=0.005", "quality.parts_max=9",
        ],
    )  # fmt: skip
    asset = replace(SOUND, missing_textures=1)
    clip = replace(GOOD, border_frames=2, asset=asset)
    decisions = [decision for rule in RULES if (decision := rule(clip, strict)) is not None]
    unmoved = {"no_mesh", "no_size", "camera_light_only"}  # these have no setting
    assert [decision.rule for decision in decisions] == [
        name for name in CASES if name not in unmoved
    ]


def test_by_default_nothing_is_asked_of_speed_scale_and_loops() -> None:
    wild = replace(DETAIL, activity_per_s=0, active_share=0, scale_change=1e6, loop_gap=9)
    assert decide(replace(GOOD, detail=wild), CurateConfig()) is None


def test_by_default_nothing_is_asked_of_licences_tags_textures_and_pieces() -> None:
    odd = replace(
        SOUND, licence="by-nc-nd", tags="nsfw", missing_textures=9, parts=10**6,
        backdrop_share=1.0, degenerate_share=1.0,
    )  # fmt: skip
    assert decide(replace(GOOD, asset=odd), CurateConfig()) is None


def test_each_set_of_rules_is_silent_about_the_others() -> None:
    ours = CurateConfig()
    rights = ["rights.licences_deny=[CC-BY-NC-*]", "rights.tags_deny=[nsfw, Adult]"]
    paper = CurateConfig.load(None, ["rules=diffusion4d", *rights])
    odd = facts({**STILL, "motion": 0.0, "margin_px": -9.0, "duration_s": 0.0})
    assert decide(odd, paper) is None
    assert decide(replace(GOOD, ssim_quarter=1.0, ssim_half=1.0, border_frames=9), ours) is None
    names = [rule.__name__ for rule in rules_of(paper)]
    assert names == [
        "licence", "denied_tag", "large_textures", "too_many_triangles",  # whatever the rules
        "too_long", "no_mesh", "too_many_vertices", "too_few_triangles", "no_size",  # or no render
        "ssim_too_still", "ssim_broken", "alpha_at_border",
    ]  # fmt: skip
    for name, cases in CASES.items():
        for changes, expected in cases:
            decision = decide(facts(changes), paper)
            assert (decision is not None) == (expected is not None and name in names), changes


def test_the_first_rule_in_order_gives_the_verdict() -> None:
    everything = Facts(
        duration_s=0.0,
        vertices=0,
        motion=replace(MOVES, size=0.0, reach=9.0, step=3.0, step_share=1.0),
        margin_px=-1.0,
    )
    found = [rule(everything, CONFIG) for rule in RULES]
    rejecting = [decision for decision in found if decision is not None]
    assert len(rejecting) >= 5
    assert decide(everything, CONFIG) == rejecting[0]
    assert rejecting[0].rule == "too_short"
    longer = replace(everything, duration_s=1.0)
    assert decide(longer, CONFIG) == Decision(
        "no_mesh", 0, 1, "vertices", "the clip shows no visible geometry"
    )
    outlined = replace(longer, vertices=8, motion=replace(MOVES, reach=9.0, step=3, step_share=1))
    decision = decide(outlined, CONFIG)
    assert decision is not None
    assert decision.rule == "leaves_frame"  # before teleport: a far jump is out of the frame
