"""The path a camera follows is steady, exact for even travel, and no extra time changes it."""

import numpy as np
import pytest

from render.root_motion import smooth_centres

SHARES = np.arange(24) / 24


def body(centres: np.ndarray) -> np.ndarray:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) - 0.5
    return corners + centres[:, None]


@pytest.mark.parametrize("frames", [2, 3, 8, 24])
def test_even_travel_is_followed_exactly(frames: int) -> None:
    shares = np.arange(frames) / frames
    path = shares[:, None] * [3.0, -2.0, 0.5] + 7.0
    np.testing.assert_allclose(smooth_centres(body(path), shares, frames), path, atol=1e-6)


@pytest.mark.parametrize(("cycles", "left"), [(1, 0.8), (4, 0.15), (8, 0.05)])
def test_the_rhythm_of_a_gait_is_taken_out(cycles: int, left: float) -> None:
    swing = np.sin(2 * np.pi * cycles * SHARES)[:, None] * [1.0, 0.0, 0.0]
    followed = smooth_centres(body(swing), SHARES, 24)
    inner = slice(4, -4)  # at the ends a line is fitted to one side alone
    assert np.std(followed[inner]) <= left * np.std(swing[inner])


def test_further_times_do_not_change_the_path() -> None:
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(size=(24, 3)), axis=0)
    plain = smooth_centres(body(path), SHARES, 24)
    shares = np.append(SHARES, [0.31, 0.99])
    more = smooth_centres(body(np.concatenate([path, path[:2] + 100.0])), shares, 24)
    np.testing.assert_allclose(more[:24], plain, atol=1e-5)
    assert np.abs(more[24:]).max() < 50


def test_unit_and_place_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    points = body(np.cumsum(rng.normal(size=(24, 3)), axis=0))
    one = smooth_centres(points, SHARES, 24)
    other = smooth_centres(points * 40 + 300, SHARES, 24)
    np.testing.assert_allclose((other - 300) / 40, one, atol=1e-6)
