"""Which vertices of a large mesh are measured: those that stand for its surface."""

import numpy as np
import pytest

from render.visible import thinned, vertex_areas

SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], float)
TWO_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])


def test_the_areas_of_vertices_add_up_to_that_of_the_mesh() -> None:
    areas = vertex_areas(SQUARE, TWO_TRIANGLES)
    np.testing.assert_allclose(areas, [4 / 3, 2 / 3, 4 / 3, 2 / 3])


def test_a_vertex_of_no_triangle_has_no_area_and_nan_hurts_no_other() -> None:
    points = np.concatenate([SQUARE, [[9, 9, 9], [np.nan, 0, 0]]])
    corners = np.concatenate([TWO_TRIANGLES, [[0, 1, 5]]])
    np.testing.assert_allclose(vertex_areas(points, corners), [4 / 3, 2 / 3, 4 / 3, 2 / 3, 0, 0])


@pytest.mark.parametrize("few", [1, 10, 999])
def test_so_many_are_chosen_each_once_and_always_the_same(few: int) -> None:
    areas = np.random.default_rng(0).random(1000)
    chosen = thinned(areas, few).indices
    assert len(chosen) == few
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, thinned(areas.copy(), few).indices)


def test_none_is_left_out_where_there_are_few() -> None:
    np.testing.assert_array_equal(thinned(np.zeros(7), 7).indices, np.arange(7))


def test_a_surface_gets_its_share_however_finely_it_is_cut() -> None:
    """A face of 9000 tiny triangles beside a wall of 1000 large ones, ten times its area."""
    areas = np.concatenate([np.full(9000, 1.0), np.full(1000, 90.0)])
    picks = thinned(areas, 500)
    wall = picks.indices >= 9000
    assert wall.mean() > 0.7  # every i-th would give 0.1
    stand_for = areas[picks.indices] / picks.chances
    assert stand_for[wall].sum() / stand_for.sum() == pytest.approx(10 / 11, abs=0.01)


def test_a_vertex_of_a_huge_face_stands_for_all_of_it() -> None:
    areas = np.concatenate([np.full(20_000, 1.0), np.full(4, 50_000.0)])
    picks = thinned(areas, 1000)
    stand_for = areas[picks.indices] / picks.chances
    assert len(picks.indices) == 1000
    np.testing.assert_allclose(stand_for[-4:], 50_000)
    assert stand_for[:-4].sum() == pytest.approx(20_000, rel=0.01)


def test_neighbours_in_the_file_are_spread_out() -> None:
    chosen = thinned(np.ones(10_000), 1000).indices
    assert np.diff(chosen).max() < 30  # chance would leave gaps of some 70


def test_vertices_without_area_fill_up_and_count_alike_if_all_are() -> None:
    areas = np.concatenate([np.ones(3), np.zeros(20)])
    chosen = thinned(areas, 5).indices
    assert {0, 1, 2} < set(chosen.tolist())
    assert len(thinned(np.zeros(50), 10).indices) == 10
