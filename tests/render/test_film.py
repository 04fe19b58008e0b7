"""The pixel filter and coverage as numbers: against direct sums and known areas."""

import numpy as np
import pytest

from render.film import develop, filter_weight, sample_offsets, shrink
from render.surface import camera_rays
from shards.camera import intrinsics, orbit_pose, project


def test_the_filter_keeps_what_is_even_and_vanishes_at_its_radius() -> None:
    image = np.full((32, 48, 3), 0.7, np.float32)
    small = shrink(image, 2, 1.5)
    assert small.shape == (16, 24, 3)
    np.testing.assert_allclose(small[2:-2, 2:-2], 0.7, atol=1e-6)
    assert filter_weight(np.array([1.5, -1.5, 2.0]), 1.5).max() < 1e-4
    assert filter_weight(np.array([0.0]), 1.5) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("fine", [2, 3])
def test_shrinking_is_the_weighted_sum_around_each_pixel(fine: int) -> None:
    image = np.random.default_rng(0).random((8 * fine, 10 * fine, 1)).astype(np.float32)
    small = shrink(image, fine, 1.5)
    row, column = 4, 5
    places = (np.arange(max(image.shape)) + 0.5) / fine
    down = filter_weight(places[: image.shape[0]] - row - 0.5, 1.5)
    across = filter_weight(places[: image.shape[1]] - column - 0.5, 1.5)
    weights = down[:, None] * across
    expected = (weights * image[..., 0]).sum() / weights.sum()
    assert small[row, column, 0] == pytest.approx(expected, abs=1e-5)


def test_offsets_follow_the_filter() -> None:
    offsets = sample_offsets(4096, 1.5)
    grid = np.linspace(-1.5, 1.5, 2001)
    weight = filter_weight(grid, 1.5)
    variance = (weight * grid**2).sum() / weight.sum()
    np.testing.assert_allclose(offsets.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(offsets.var(axis=0), variance, rtol=1e-2)
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.02


def test_an_image_is_developed_with_straight_alpha_and_srgb() -> None:
    linear = np.zeros((16, 16, 4), np.float32)
    linear[:, 8:] = [0.5, 0.25, 2.0, 1.0]
    image = develop(linear, 2, 1.5, None)
    assert image.shape == (8, 8, 4)
    assert tuple(image[4, 7]) == (188, 137, 255, 255)  # sRGB of 0.5, 0.25 and clipped
    assert tuple(image[4, 0]) == (0, 0, 0, 0)
    edge = image[4, 3:5]
    assert 0 < edge[0, 3] < edge[1, 3] <= 255
    assert np.abs(edge[:, :3].astype(int) - [188, 137, 255]).max() <= 1  # the colour is not faded


def test_alpha_comes_from_rays_only_on_edges_and_where_it_can_be_told() -> None:
    linear = np.zeros((16, 16, 4), np.float32)
    linear[:, 8:] = 1.0
    plain = develop(linear, 2, 1.5, None)
    asked: list[np.ndarray] = []

    def slightly_more(pixels: np.ndarray) -> np.ndarray:
        asked.append(pixels)
        share = plain[pixels[:, 0], pixels[:, 1], 3] / 255 + 0.05
        share[pixels[:, 0] == 2] = np.nan  # a see-through material
        share[pixels[:, 0] == 3] = 5.0  # nonsense: another surface than the one rendered
        return share

    image = develop(linear, 2, 1.5, slightly_more)
    changed = image[..., 3] != plain[..., 3]
    assert set(np.unique(asked[0][:, 1])) <= {2, 3, 4, 5}
    assert changed[5].any()
    assert not changed[2:4].any()


def test_rays_meet_the_pixels_that_points_project_to() -> None:
    k, pose = intrinsics(39.6, 64, 48), orbit_pose(30, 20, 2.0)
    pixels = np.array([[0.5, 0.5], [40.2, 11.7], [63.9, 47.0]])
    origins, directions = camera_rays(pixels, k, pose)
    back, depth = project((origins + 1.7 * directions).astype(float), k, pose)
    np.testing.assert_allclose(back, pixels, atol=1e-4)
    np.testing.assert_allclose(depth, 1.7, atol=1e-6)
