from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curate.detail import activity_curve, describe
from curate.motion import Motion, busiest_window, measure, own_size, quantile
from curate.sketch import clip_sketch

LENGTHS = ("motion", "drift", "deformation", "moved_most", "step", "reach")  # in asset sizes
NAMES = [field.name for field in fields(Motion)]


def cube(n: int = 7) -> np.ndarray:
    """Vertices (n^3, 3) of a lattice in the unit cube."""
    side = np.linspace(-0.5, 0.5, n)
    return np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)


def turn(axis: np.ndarray, angle_deg: float) -> np.ndarray:
    """Rotation by Rodrigues' formula, for row vectors."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(angle_deg)
    return (np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k).T


def held(pose: np.ndarray, times: int = 5) -> np.ndarray:
    return np.repeat(pose[None], times, axis=0)


@st.composite
def clips(draw: st.DrawFn) -> np.ndarray:
    """A cloud that drifts, turns and deforms, (k, n, 3)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k, n = draw(st.integers(2, 8)), draw(st.integers(4, 60))
    pose = rng.normal(size=(n, 3))
    poses = [pose @ turn(rng.normal(size=3), rng.uniform(0, 40)) for _ in range(k)]
    return np.stack(poses) + rng.normal(size=(k, n, 3)) * 0.1 + rng.normal(size=(k, 1, 3)) * 0.5


DEGENERATE = {
    "cube": cube(),
    "plane": cube() * [1, 1, 0],
    "two points": np.array([[0.0, 0, 0], [1, 0, 0]]),
    "line in space": np.linspace(0, 1, 9)[:, None] * [[1.0, 2, 3]],
    "thin rod": cube() * [1, 1e-6, 1e-6] @ turn(np.array([1.0, 2, 0]), 33),
    "float32 rod far away": (np.linspace(0, 1, 9)[:, None] * [[1.0, 2, 3]] + 50).astype("f4"),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_what_stands_still_scores_zero(name: str) -> None:
    scores = asdict(measure(held(DEGENERATE[name])))
    assert scores.pop("size") > 0
    assert scores.pop("reach") > 0
    assert scores == pytest.approx(dict.fromkeys(scores, 0.0), abs=1e-9)


@pytest.mark.parametrize("shift", [(0.25, 0, 0), (0, -3.0, 0), (1.0, 2.0, 2.0)])
def test_a_translation_is_drift_and_nothing_else(shift: tuple[float, float, float]) -> None:
    path = np.linspace(0, 1, 6)[:, None] * np.array(shift)
    motion = measure(cube() + path[:, None])
    length = float(np.linalg.norm(shift))
    assert motion.size == pytest.approx(1)
    assert motion.drift == pytest.approx(length)
    assert motion.step == pytest.approx(length / 5)
    assert motion.step_share == pytest.approx(1 / 5)
    rest = (motion.motion, motion.rotation_deg, motion.deformation, motion.moved_most)
    assert rest == pytest.approx((0, 0, 0, 0), abs=1e-9)


def test_drift_and_rotation_are_the_largest_on_the_way_not_the_last() -> None:
    there_and_back = np.array([0, 0.5, 2.0, 0.5, 0])
    moved = cube() + there_and_back[:, None, None] * [1.0, 0, 0]
    assert measure(moved).drift == pytest.approx(2)
    assert measure(moved).reach == pytest.approx(np.linalg.norm([2.5, 0.5, 0.5]))
    turned = np.stack([cube() @ turn(np.array([0, 0, 1.0]), 60 * t) for t in there_and_back])
    assert measure(turned).rotation_deg == pytest.approx(120)


@pytest.mark.parametrize("angle_deg", [1e-5, 0.1, 45, 90, 179, 179.9999, 180])
@pytest.mark.parametrize("axis", [(0, 0, 1), (1, -2, 0.5)])
@pytest.mark.parametrize("name", ["cube", "plane"])
def test_a_rotation_is_measured_exactly(
    name: str, axis: tuple[float, float, float], angle_deg: float
) -> None:
    pose = DEGENERATE[name]
    motion = measure(np.stack([pose, pose @ turn(np.array(axis), angle_deg)]))
    assert motion.rotation_deg == pytest.approx(angle_deg, rel=1e-6)
    assert motion.deformation == pytest.approx(0, abs=1e-9)
    assert motion.drift == pytest.approx(0, abs=1e-9)
    assert motion.motion > 0


def test_a_line_that_turns_end_over_end_shows_its_angle() -> None:
    pose = DEGENERATE["line in space"]
    across = np.cross([1.0, 2, 3], [1, 0, 0])
    motion = measure(np.stack([pose, pose @ turn(across, 70)]))
    assert motion.rotation_deg == pytest.approx(70)
    assert motion.deformation == pytest.approx(0, abs=1e-9)


def test_a_mirrored_pose_is_no_rotation() -> None:
    shape = np.random.default_rng(0).normal(size=(40, 3))
    motion = measure(np.stack([shape, shape * [1, 1, -1]]))
    assert motion.deformation > 0.01


@given(clips(), st.sampled_from([1000.0, 1e-3, 2.5]))
@settings(max_examples=30, deadline=None)
def test_scores_do_not_depend_on_the_unit(points: np.ndarray, scale: float) -> None:
    before, after = asdict(measure(points)), asdict(measure(points * scale))
    before["size"] *= scale
    assert after == pytest.approx(before, rel=1e-7, abs=1e-7)


@given(clips(), st.tuples(*[st.floats(-100, 100)] * 3))
@settings(max_examples=30, deadline=None)
def test_scores_do_not_depend_on_the_place(
    points: np.ndarray, place: tuple[float, float, float]
) -> None:
    before, after = asdict(measure(points)), asdict(measure(points + np.array(place)))
    assert after == pytest.approx(before, rel=1e-7, abs=1e-7)


@given(clips(), st.tuples(*[st.floats(-1, 1)] * 3), st.floats(0, 360))
@settings(max_examples=30, deadline=None)
def test_lengths_and_angles_do_not_depend_on_the_orientation(
    points: np.ndarray, axis: tuple[float, float, float], angle_deg: float
) -> None:
    # The size is the side of an upright box: it follows the orientation, within these bounds.
    assume(np.linalg.norm(axis) > 0.1)
    before = asdict(measure(points))
    after = asdict(measure(points @ turn(np.array(axis), angle_deg)))
    assert 0.577 < after["size"] / before["size"] < 1.733
    for name in LENGTHS:
        assert after[name] * after["size"] == pytest.approx(before[name] * before["size"])
    for name in ("rotation_deg", "step_share"):
        assert after[name] == pytest.approx(before[name], abs=1e-6)


@given(clips(), st.permutations([0, 1, 2]))
@settings(max_examples=20, deadline=None)
def test_scores_do_not_depend_on_which_way_is_up(points: np.ndarray, axes: list[int]) -> None:
    before, after = asdict(measure(points)), asdict(measure(points[..., axes]))
    assert after == pytest.approx(before, rel=1e-7, abs=1e-7)


@given(clips(), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_scores_do_not_depend_on_the_order_of_vertices(points: np.ndarray, random: object) -> None:
    shuffled = points[:, np.random.default_rng(0).permutation(points.shape[1])]
    assert asdict(measure(shuffled)) == pytest.approx(asdict(measure(points)), abs=1e-7)


def sketched(points: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    sketch = clip_sketch(points, weights)
    assert sketch is not None
    return sketch.values


@given(clips(), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_weight_of_two_is_a_vertex_twice(points: np.ndarray, seed: int) -> None:
    draw = np.random.default_rng(seed)
    times = draw.integers(1, 5, points.shape[1])
    twice, weights = np.repeat(points, times, axis=1), times * 0.25
    times_s = np.arange(len(points)) * 0.5
    for score in (
        lambda p, w: asdict(measure(p, w)),
        lambda p, w: asdict(describe(p, times_s, p[[0, -1]], w)),
        lambda p, w: dict(enumerate(activity_curve(p, times_s, w))),
        lambda p, w: dict(enumerate(sketched(p, w))),
        lambda p, w: dict(enumerate(busiest_window(p, times_s, times_s[-1] / 2, w))),
    ):
        assert score(points, weights) == pytest.approx(score(twice, None), rel=1e-6, abs=1e-6)


@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(0.01, 1))
@settings(max_examples=50, deadline=None)
def test_a_quantile_is_the_least_value_that_so_much_does_not_exceed(
    seed: int, count: int, level: float
) -> None:
    draw = np.random.default_rng(seed)
    values = np.round(draw.exponential(size=(3, count)) ** 3, 2)
    share = draw.random(count)
    share /= share.sum()
    found = quantile(values, share, level)
    assert found in values
    held = [float((share * (values <= limit)).sum()) / 3 for limit in (found, found - 1e-9)]
    assert held[0] >= level - 1e-9
    assert held[1] < level + 1e-9


def test_twice_the_amplitude_is_twice_the_motion() -> None:
    pose = cube(9)
    inner = np.abs(pose).max(axis=1) < 0.3  # the box stays the same
    wave = np.sin(np.linspace(0, 2 * np.pi, 9))
    away = np.where(inner[:, None], [0.0, 0.0, 1.0], 0.0)
    small, large = (
        measure(pose + amplitude * wave[:, None, None] * away) for amplitude in (0.05, 0.1)
    )
    assert small.motion > 0
    for name in ("motion", "moved_most", "step"):
        assert getattr(large, name) == pytest.approx(2 * getattr(small, name)), name
    assert large.step_share == pytest.approx(small.step_share)


def test_a_small_part_shows_in_moved_most_and_hardly_in_the_mean() -> None:
    pose = cube(10)
    part = np.arange(1000) < 20
    moved = pose + np.where(part[:, None], [0.0, 0.0, 0.4], 0.0)
    motion = measure(np.stack([pose, moved, pose]))
    assert motion.motion < 0.01
    assert motion.moved_most == pytest.approx(0.392)  # less the mean, which moves 0.008


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_single_jump_holds_the_whole_path(at: int) -> None:
    points = held(cube(), 6)
    points[at:] += [2.0, 0, 0]
    motion = measure(points)
    assert motion.step_share == 1
    assert motion.step == pytest.approx(2)


def test_an_even_movement_has_no_jump() -> None:
    points = cube() + np.linspace(0, 3, 25)[:, None, None] * [1.0, 0, 0]
    assert measure(points).step_share == pytest.approx(1 / 24)


@pytest.mark.parametrize("far", [3, 30, 3000])
def test_a_small_part_that_flies_off_does_not_enlarge_the_asset(far: float) -> None:
    points = held(cube(), 9)
    points[3:, :10] += np.linspace(0, far, 7)[1:, None, None] * [1.0, 1.0, 1.0]
    assert own_size(points) == pytest.approx(1)
    assert measure(points).reach > far


def test_a_part_of_few_vertices_counts_as_much_as_one_of_many() -> None:
    pose = np.concatenate([np.zeros((1000, 3)), [[2.0, 0, 0]]])
    assert own_size(held(pose)) == 2


def test_an_asset_that_grows_from_nothing_has_the_size_it_grows_to() -> None:
    grown = measure(cube() * np.array([0, 1, 1, 1, 1.0])[:, None, None])
    assert grown.size == pytest.approx(1)
    assert grown.rotation_deg == 0
    assert np.isfinite([getattr(grown, name) for name in NAMES]).all()
    late = measure(cube() * np.array([0, 0, 0, 0, 1.0])[:, None, None])
    assert late.size == pytest.approx(1)
    assert late.step_share == 1


def test_what_is_always_a_point_has_no_size_and_no_scores() -> None:
    points = held(np.ones((4, 3))) + np.arange(5)[:, None, None]
    assert measure(points) == Motion(*[0.0] * 9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_finite_are_refused(bad: float) -> None:
    points = held(cube())
    points[2, 5, 1] = bad
    with pytest.raises(ValueError, match="must be finite"):
        measure(points)


def test_no_vertex_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one vertex"):
        measure(np.zeros((4, 0, 3)))


def path_length(points: np.ndarray, times_s: np.ndarray, start_s: float, stop_s: float) -> float:
    """How far a rigid asset goes between two times, interpolated."""
    travelled = np.append(0, np.cumsum(np.linalg.norm(np.diff(points[:, 0], axis=0), axis=-1)))
    stop, start = np.interp([stop_s, start_s], times_s, travelled)
    return float(stop - start)


def walk(steps: list[float]) -> np.ndarray:
    """A rigid asset that goes these distances along x, one after the other."""
    return cube(2) + np.append(0, np.cumsum(steps))[:, None, None] * [1.0, 0, 0]


def test_the_window_lies_on_the_moving_middle() -> None:
    steps = [0.0] * 8 + [1.0] * 4 + [0.0] * 8
    assert busiest_window(walk(steps), np.arange(21) * 0.5, 2.0) == (4.0, 6.0)


def test_motion_within_the_asset_counts_as_well_as_its_travel() -> None:
    sway = np.sin(np.arange(5))[:, None, None] * np.array([1.0, 0, 0]) * cube(2)
    points = np.concatenate([held(cube(2), 10), cube(2) + sway, held(cube(2), 10)])
    start_s, stop_s = busiest_window(points, np.arange(25.0), 6.0)
    assert start_s <= 9
    assert stop_s >= 15


@pytest.mark.parametrize("steps", [[0.0] * 20, [1.0] * 20, [0.0, 0, 1, 0, 0] * 4])
def test_of_equal_windows_the_earliest_wins(steps: list[float]) -> None:
    points = walk(steps)
    times_s = np.arange(21) * 0.25
    start_s, stop_s = busiest_window(points, times_s, 1.25)
    best = path_length(points, times_s, start_s, stop_s)
    earlier = np.linspace(0, start_s, 50)[:-1] if start_s else []
    assert start_s == 0 or max(path_length(points, times_s, s, s + 1.25) for s in earlier) < best
    assert start_s < 1.25


@given(
    st.lists(st.floats(0, 10), min_size=4, max_size=30),
    st.floats(0.05, 0.99),
    st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_no_window_holds_more_and_the_window_lies_in_the_clip(
    steps: list[float], share: float, other: float
) -> None:
    times_s = np.linspace(0, 7, len(steps) + 1)
    length_s, points = 7 * share, walk(steps)
    start_s, stop_s = busiest_window(points, times_s, length_s)
    assert start_s >= 0
    assert stop_s <= 7 + 1e-12
    assert stop_s - start_s == pytest.approx(length_s)
    rival_s = other * (7 - length_s)
    rival = path_length(points, times_s, rival_s, rival_s + length_s)
    assert path_length(points, times_s, start_s, stop_s) >= rival * (1 - 1e-6) - 1e-9


def test_a_peak_between_coarse_times_is_found() -> None:
    # The best window of 1.5 steps ends where the motion ends, so it starts between two times.
    assert busiest_window(walk([0, 0, 0, 3.0, 5.0, 0, 0]), np.arange(8.0), 1.5) == (3.5, 5.0)


def test_a_window_longer_than_the_clip_starts_with_it() -> None:
    assert busiest_window(walk([1.0, 2.0]), np.arange(3.0), 5.0)[0] == 0
