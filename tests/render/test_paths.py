"""Laws of camera paths, sample times and framing."""

import numpy as np
import pytest

from render.paths import CameraConfig, SequenceConfig, fit, sample_times, views
from shards.camera import intrinsics, project

NAMES = ("static", "orbit", "front")


def config(**camera: float | bool) -> SequenceConfig:
    return SequenceConfig(
        frames=12, width=64, height=64, camera=CameraConfig.model_validate(camera)
    )


def cloud(seed: int, frames: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    body = rng.normal(size=(60, 3)) * rng.uniform(0.2, 3.0, 3) + rng.normal(size=3) * 10
    walk = np.cumsum(rng.normal(size=(frames, 1, 3)) * 0.2, axis=0)
    return body + walk


def test_half_open_orbit_repeats_no_view_and_ends_one_step_before_the_start() -> None:
    azimuth = views(config(), "orbit").azimuth_deg
    np.testing.assert_allclose(np.diff(azimuth), 30.0)
    assert len(set(azimuth.tolist())) == 12
    assert azimuth[-1] == 330.0


def test_inclusive_orbit_ends_where_it_began() -> None:
    azimuth = views(config(inclusive=True), "orbit").azimuth_deg
    assert azimuth[0] == azimuth[-1] == 0.0
    np.testing.assert_allclose(azimuth[1], 360 / 11)


def test_static_has_the_cameras_of_orbit_and_the_time_of_the_start() -> None:
    static, orbit = views(config(), "static"), views(config(), "orbit")
    np.testing.assert_array_equal(static.poses(2.0), orbit.poses(2.0))
    assert set(static.time_index.tolist()) == {0}
    np.testing.assert_array_equal(orbit.time_index, np.arange(12))


def test_front_stands_still_while_time_goes_on() -> None:
    front = views(config(), "front")
    assert np.ptp(front.poses(2.0), axis=0).max() == 0
    np.testing.assert_array_equal(front.time_index, np.arange(12))


@pytest.mark.parametrize("elevation_deg", [-60.0, 0.0, 30.0, 89.0])
@pytest.mark.parametrize("name", NAMES)
def test_cameras_keep_distance_and_elevation(name: str, elevation_deg: float) -> None:
    poses = views(config(elevation_deg=elevation_deg), name).poses(2.5)  # type: ignore[arg-type]
    centre = poses[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(centre, axis=1), 2.5)
    np.testing.assert_allclose(np.rad2deg(np.arcsin(centre[:, 2] / 2.5)), elevation_deg, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1.0)


def test_times_are_half_open_in_seconds() -> None:
    np.testing.assert_allclose(sample_times(1.0, 3.0, 4), [1.0, 1.5, 2.0, 2.5])


@pytest.mark.parametrize("seed", range(5))
def test_fit_fills_the_unit_cube_and_keeps_every_image_inside(seed: int) -> None:
    points, settings = cloud(seed), config(elevation_deg=20.0)
    frame = fit(points, settings)
    cube = (points + frame.offset) * frame.scale
    flat = cube.reshape(-1, 3)
    np.testing.assert_allclose(np.ptp(flat, axis=0).max(), 1.0)
    np.testing.assert_allclose(flat.max(axis=0) + flat.min(axis=0), 0.0, atol=1e-9)
    k = intrinsics(settings.camera.fov_deg, 64, 64)
    margins = []
    for name in NAMES:
        sequence = views(settings, name)  # type: ignore[arg-type]
        for pose, index in zip(sequence.poses(frame.distance), sequence.time_index, strict=True):
            pixels, depth = project(cube[index], k, pose)
            assert depth.min() > 0
            margins.append(min(pixels.min(), 64 - pixels.max()))
    np.testing.assert_allclose(min(margins), frame.margin_px, atol=1e-6)
    np.testing.assert_allclose(frame.margin_px, 32 * (1 - settings.camera.fill), atol=1e-6)


def test_fit_does_not_depend_on_unit_or_place() -> None:
    points = cloud(0)
    one, other = fit(points, config()), fit(points * 250 + 1000.0, config())
    np.testing.assert_allclose(other.scale * 250, one.scale)
    np.testing.assert_allclose(other.distance, one.distance)


def test_a_given_distance_is_kept_and_its_margin_may_be_negative() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    points = np.repeat(corners[None], 12, axis=0)
    frame = fit(points, config(distance=2.0, elevation_deg=0.0))
    assert frame.distance == 2.0
    # A unit cube turned 45 degrees reaches |ndc| 1.074 at distance 2 under 39.6 degrees.
    np.testing.assert_allclose(1 - frame.margin_px / 32, 1.074, atol=0.04)
    assert frame.margin_px < 0


def test_a_camera_inside_the_object_is_far_out_of_frame_but_finite() -> None:
    frame = fit(cloud(0), config(distance=0.05))
    assert frame.margin_px == -1e6
