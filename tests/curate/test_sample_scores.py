"""The scores of the built-in samples are what the samples were made with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.detail import Detail, describe
from curate.gltf_pose import GltfScene
from curate.inspect import inspect_file
from curate.motion import Motion, measure

pytestmark = pytest.mark.blender  # which makes the samples
_TIMES = 49  # enough to meet the largest of every sine
_CLOSE = 0.02
Scores = dict[tuple[str, str], tuple[dict[str, Any], Motion, Detail]]

# (asset, clip) whose stated amplitude is that of the whole asset, and how a score shows it
_WHOLE = {
    ("engine", "roll"): lambda m, d: m.drift * m.size,
    ("ball", "roll"): lambda m, d: m.drift * m.size,
    ("saucer", "land"): lambda m, d: m.drift * m.size,
    ("teleporting_robot", "teleport"): lambda m, d: m.drift * m.size,
    ("runaway_rocket", "launch"): lambda m, d: m.drift * m.size,
    ("brief_firefly", "blink"): lambda m, d: m.rotation_deg,
    ("flag", "breeze"): lambda m, d: d.moved_max * m.size,
    ("flag", "gale"): lambda m, d: d.moved_max * m.size,
    ("frozen_duck", "breathe"): lambda m, d: d.scale_change,
}
_RIGID = (
    ("ball", "roll"), ("top", "hum"), ("saucer", "hover"), ("saucer", "land"),
    ("teleporting_robot", "teleport"), ("runaway_rocket", "launch"), ("brief_firefly", "blink"),
)  # fmt: skip


@pytest.fixture(scope="module")
def scores(samples_dir: Path) -> Scores:
    found: Scores = {}
    for sample in json.loads((samples_dir / "samples.json").read_text())["samples"]:
        parts = inspect_file(samples_dir / sample["file"]).parts
        assert parts is not None
        scene = GltfScene(parts)
        for clip in sample["clips"]:
            if clip["index"] < 0 or not scene.vertices:
                continue
            times_s = np.linspace(0.0, clip["duration_s"], _TIMES)
            posed = scene.points(clip["index"], times_s, 5000)
            points, weights = posed.points, posed.weights
            detail = describe(points, times_s, points[[0, -1]], weights)
            found[sample["name"], clip["name"]] = clip, measure(points, weights), detail
    return found


@pytest.mark.parametrize("name", _WHOLE, ids="-".join)
def test_the_amplitude_that_was_made_is_measured(scores: Scores, name: tuple[str, str]) -> None:
    clip, motion, detail = scores[name]
    assert _WHOLE[name](motion, detail) == pytest.approx(clip["amplitude"]["value"], rel=_CLOSE)


def test_growth_is_measured_and_not_only_one(scores: Scores) -> None:
    _, _, detail = scores["frozen_duck", "breathe"]
    assert detail.scale_change - 1 == pytest.approx(0.004, rel=_CLOSE)
    assert detail.shape_change < 1e-4  # all of it is growth


@pytest.mark.parametrize("name", _RIGID, ids="-".join)
def test_what_only_moves_as_a_whole_has_no_deformation(
    scores: Scores, name: tuple[str, str]
) -> None:
    _, motion, _ = scores[name]
    assert motion.deformation < 1e-4
    assert motion.moved_most + motion.drift > 0.05


def test_what_only_deforms_has_little_drift(scores: Scores) -> None:
    _, motion, _ = scores["flag", "gale"]
    assert motion.deformation > 0.03
    assert motion.drift < 0.25 * motion.moved_most


def test_only_a_teleport_has_its_path_in_one_step(scores: Scores) -> None:
    shares = {name: motion.step_share for name, (_, motion, _) in scores.items()}
    assert shares.pop(("teleporting_robot", "teleport")) == pytest.approx(1.0)
    assert max(shares.values()) < 0.3


def test_loops_close_and_travels_do_not(scores: Scores) -> None:
    loops = {name: detail.loop_gap for name, (clip, _, detail) in scores.items() if clip["loop"]}
    assert len(loops) > 10
    assert max(loops.values()) < 1e-4
    for name in (("engine", "roll"), ("saucer", "land"), ("runaway_rocket", "launch")):
        assert scores[name][2].loop_gap > 0.3


def test_a_clip_that_stops_early_says_when(samples_dir: Path) -> None:
    """Posed for twice its length it stands still after its last key."""
    inspection = inspect_file(samples_dir / "ball.glb")
    assert inspection.parts is not None
    clip = next(clip for clip in inspection.clips or () if clip.name == "roll")
    times_s = np.linspace(0.0, 2 * clip.duration_s, 2 * _TIMES - 1)
    posed = GltfScene(inspection.parts).points(clip.index, times_s, 5000)
    points = posed.points
    detail = describe(points, times_s, points[[0, -1]], posed.weights)
    assert detail.stops_s == pytest.approx(clip.duration_s, rel=0.1)
    assert detail.active_share == pytest.approx(0.5, abs=0.05)


def test_what_stands_still_scores_nothing(scores: Scores) -> None:
    for name in (("frozen_duck", "frozen"), ("pip", "rest")):
        _, motion, detail = scores[name]
        assert (motion.motion, motion.drift, motion.step) == pytest.approx((0, 0, 0), abs=1e-6)
        assert detail.moving_share == 0
