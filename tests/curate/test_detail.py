import numpy as np
import pytest

from curate.detail import activity_curve, describe

TIMES = np.linspace(0.0, 2.0, 21)
BOX = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.3, 0.3) for z in (-0.1, 0.1)])


def still() -> np.ndarray:
    return np.repeat(BOX[None], len(TIMES), axis=0)


def ends(points: np.ndarray) -> np.ndarray:
    return points[[0, -1]]


def test_what_stands_still_scores_nothing() -> None:
    found = describe(still(), TIMES, ends(still()))
    assert found.scale_change == pytest.approx(1)
    assert (found.shape_change, found.activity_per_s) == pytest.approx((0, 0), abs=1e-12)
    assert (found.moved_max, found.moving_share, found.starts_s, found.stops_s) == (0, 0, 0, 0)
    assert (found.active_share, found.loop_gap) == (0, 0)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_growth_is_a_change_of_scale_and_of_nothing_else(factor: float) -> None:
    grown = np.linspace(1, factor, len(TIMES))[:, None, None] * BOX + [7.0, 0.0, 0.0]
    found = describe(grown, TIMES, ends(grown))
    assert found.scale_change == pytest.approx(max(factor, 1 / factor))
    assert found.shape_change == pytest.approx(0, abs=1e-12)


def test_a_turn_and_a_drift_change_neither_scale_nor_shape() -> None:
    angle = np.linspace(0, 2.5, len(TIMES))
    turn = np.zeros((len(TIMES), 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 0, 1], turn[:, 1, 0] = -np.sin(angle), np.sin(angle)
    turn[:, 2, 2] = 1
    points = BOX @ turn + angle[:, None, None]
    found = describe(points, TIMES, ends(points))
    assert found.scale_change == pytest.approx(1)
    assert found.shape_change == pytest.approx(0, abs=1e-12)
    assert found.moving_share == 1


def test_a_bent_part_is_a_change_of_shape() -> None:
    points = still()
    points[10:, 0] += [0.0, 0.0, 0.4]
    found = describe(points, TIMES, ends(points))
    assert found.shape_change > 0.01
    assert found.moving_share == pytest.approx(1 / 8)
    assert found.moved_max == pytest.approx(0.4)
    assert found.loop_gap == pytest.approx(0.4 / 8)


def test_motion_has_a_start_and_an_end() -> None:
    points = still()
    way = np.clip((TIMES - 0.5) / 0.5, 0, 1)  # moves from 0.5 s to 1 s
    points[:, :, 0] += way[:, None]
    found = describe(points, TIMES, ends(points))
    assert (found.starts_s, found.stops_s) == pytest.approx((0.5, 1.0))
    assert found.active_share == pytest.approx(0.25)
    assert found.activity_per_s == pytest.approx(0.5)
    assert found.moved_p95 == pytest.approx(1)


def test_a_loop_ends_where_it_began() -> None:
    points = still()
    points[:, :, 2] += np.sin(np.pi * TIMES)[:, None]
    assert describe(points, TIMES, ends(points)).loop_gap == pytest.approx(0, abs=1e-12)
    assert describe(points, TIMES, points[[0, 5]]).loop_gap == pytest.approx(1)


def test_scores_do_not_depend_on_the_unit() -> None:
    points = still() + np.random.default_rng(0).normal(size=(len(TIMES), 8, 3)) * 0.1
    one, other = (describe(points * s, TIMES, ends(points) * s) for s in (1.0, 250.0))
    assert one.shape_change == pytest.approx(other.shape_change)
    assert one.activity_per_s == pytest.approx(other.activity_per_s)


def test_a_point_has_no_scores_and_nothing_finite_is_asked() -> None:
    found = describe(still() * 0, TIMES, ends(still()) * 0)
    assert (found.scale_change, found.moved_max, found.loop_gap) == (1, 0, 0)
    with pytest.raises(ValueError, match="finite"):
        describe(still() * np.nan, TIMES, ends(still()))


def test_the_curve_shows_when_it_moves_and_its_mean_is_the_activity() -> None:
    times_s = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    cube = np.array([[x, y, z] for x in (0, 2) for y in (0, 2) for z in (0, 2)], float)
    points = cube + np.array([0, 0, 1, 1, 2.5])[:, None, None] * [1, 0, 0]
    curve = activity_curve(points, times_s)
    assert curve == pytest.approx([0, 1, 0, 1.5])  # sizes of 2, steps of half a second
    assert np.mean(curve) == pytest.approx(
        describe(points, times_s, points[[0, -1]]).activity_per_s
    )
    assert activity_curve(points[:, :1] * 0, times_s) == []
    assert activity_curve(points, times_s * 0) == [0, 0, 0, 0]


def test_of_all_displacements_a_twentieth_is_larger_than_moved_p95() -> None:
    pose = np.linspace(0, 1000, 100)[:, None] * [0, 1.0, 0]
    points = np.stack([pose, pose + np.arange(100)[:, None] * [1.0, 0, 0]])
    found = describe(points, np.array([0.0, 1.0]), points)
    assert found.moved_p95 == pytest.approx(0.089)  # 100 of 200 are 0; 190 do not exceed this
    assert found.moved_max == pytest.approx(0.099)
