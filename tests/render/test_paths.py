"""Laws of camera paths, sample times and framing."""

from typing import get_args

import numpy as np
import pytest

from render.paths import (
    CameraConfig,
    CameraDraw,
    GivenCamera,
    GridConfig,
    SequenceConfig,
    SequenceName,
    SpiralConfig,
    draw_cameras,
    fit,
    image_times,
    sample_times,
    time_shares,
    views,
)
from shards.camera import intrinsics, project
from shards.errors import ConfigError

NAMES = ("static", "orbit", "front")
ALL_NAMES = get_args(SequenceName)
GIVEN = (
    GivenCamera(azimuth_deg=370, elevation_deg=60, time=0.3),
    GivenCamera(azimuth_deg=-90, elevation_deg=-20, distance=6.0, time=1.0),
    GivenCamera(azimuth_deg=20, time="moving"),
)


def config(**camera: object) -> SequenceConfig:
    return SequenceConfig(
        frames=12,
        width=64,
        height=64,
        camera=CameraConfig.model_validate(camera),
        root_motion="keep",
    )


def rich_config(**changes: object) -> SequenceConfig:
    """All sequences, with times of their own that no other sequence has."""
    tree = {"names": ALL_NAMES, "grid": GridConfig(views=3, times=5), "cameras": GIVEN}
    return config(elevation_deg=20.0).model_copy(update=tree | changes)


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


def test_four_views_are_fixed_cameras_at_right_angles_over_all_times() -> None:
    found = views(rich_config(), "four_view", CameraDraw(33.0, 10.0))
    np.testing.assert_array_equal(found.azimuth_deg, np.repeat([0.0, 90.0, 180.0, 270.0], 12))
    np.testing.assert_array_equal(found.time_index, np.tile(np.arange(12), 4))


def test_a_grid_lets_every_camera_meet_every_time() -> None:
    settings = rich_config()
    found = views(settings, "grid", CameraDraw(10.0, 5.0))
    np.testing.assert_allclose(found.azimuth_deg, np.repeat([10.0, 130.0, 250.0], 5))
    shares = time_shares(settings)[found.time_index]
    np.testing.assert_allclose(shares, np.tile([0.0, 0.2, 0.4, 0.6, 0.8], 3))


def test_a_grid_takes_the_times_of_the_others_by_default() -> None:
    settings = rich_config(names=("orbit", "grid"), grid=GridConfig(views=2))
    np.testing.assert_allclose(time_shares(settings), np.arange(12) / 12)


def test_a_spiral_rises_while_it_turns() -> None:
    found = views(rich_config(spiral=SpiralConfig(elevation_deg=(-30.0, 60.0), turns=2)), "spiral")
    assert (found.elevation_deg[0], found.elevation_deg[-1]) == (-30.0, 60.0)
    np.testing.assert_allclose(np.diff(found.elevation_deg), 90 / 11)
    np.testing.assert_allclose(np.diff(found.azimuth_deg) % 360, 60.0)
    np.testing.assert_array_equal(found.time_index, np.arange(12))


def test_given_cameras_stand_where_and_when_they_are_told() -> None:
    settings = rich_config()
    found = views(settings, "list", CameraDraw(90.0, 45.0))
    assert len(found.time_index) == 2 + 12
    np.testing.assert_allclose(found.azimuth_deg[:3], [10.0, 270.0, 20.0])
    np.testing.assert_allclose(found.elevation_deg[:3], [60.0, -20.0, 0.0])
    np.testing.assert_allclose(time_shares(settings)[found.time_index[:2]], [0.3, 1.0])
    away = np.linalg.norm(found.poses(2.0)[:3, :3, 3], axis=1)
    np.testing.assert_allclose(away, [2.0, 6.0, 2.0])


def test_a_list_without_cameras_is_refused() -> None:
    with pytest.raises(ConfigError, match="'list' needs cameras"):
        SequenceConfig.build({"names": ["list"]})


def test_image_times_begin_with_the_sample_times_and_name_no_time_twice() -> None:
    times_s = image_times(1.0, 3.0, rich_config())
    np.testing.assert_array_equal(times_s[:12], sample_times(1.0, 3.0, 12))
    np.testing.assert_allclose(times_s[12:], [1.4, 1.6, 1.8, 2.2, 2.6, 3.0])
    assert len(set(times_s.tolist())) == len(times_s)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_cameras_of_every_path_are_upright_rotations_that_look_at_the_origin(name: str) -> None:
    found = views(rich_config(), name, CameraDraw(77.0, -40.0))  # type: ignore[arg-type]
    poses = found.poses(2.5)
    rotation = poses[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), [np.eye(3)] * len(poses), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    np.testing.assert_allclose(rotation[:, 2, 0], 0.0, atol=1e-12)  # x is level
    assert (rotation[:, 2, 1] < 0).all()  # y points down
    ahead = poses[:, :3, 3] + rotation[:, :, 2] * found.distances(2.5)[:, None]
    np.testing.assert_allclose(ahead, 0.0, atol=1e-12)
    assert ((found.azimuth_deg >= 0) & (found.azimuth_deg < 360)).all()
    assert len(set(found.image_keys())) == len(poses)


def test_camera_draws_have_an_address_and_keep_their_ranges() -> None:
    ranges = CameraConfig(azimuth_range_deg=(-30, 30), elevation_range_deg=(0, 40))
    draws = [draw_cameras(ranges, 0, "a", clip) for clip in range(40)]
    assert draws[3] == draw_cameras(ranges, 0, "a", 3)
    assert len(set(draws)) == 40
    assert all(-30 <= draw.azimuth_deg <= 30 and 0 <= draw.elevation_deg <= 40 for draw in draws)
    assert max(draw.azimuth_deg for draw in draws) > 20
    assert draw_cameras(CameraConfig(), 0, "a", 0) == CameraDraw(0.0, 15.0)


def test_drawn_angles_turn_static_and_orbit_alike() -> None:
    draw = CameraDraw(30.0, 40.0)
    static, orbit = (views(config(), name, draw) for name in ("static", "orbit"))
    np.testing.assert_array_equal(static.poses(2.0), orbit.poses(2.0))
    np.testing.assert_allclose(orbit.azimuth_deg[:2], [30.0, 60.0])
    assert set(orbit.elevation_deg.tolist()) == {40.0}


def travelling(frames: int, sizes: float, seed: int = 0) -> np.ndarray:
    """A body of size 1 that wobbles and goes `sizes` to the right, at even speed."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-0.5, 0.5, size=(60, 3)) + 40.0
    wobble = rng.normal(size=(frames, 1, 3)) * 0.01
    return body + wobble + (np.arange(frames) / frames)[:, None, None] * [sizes, 0, 0]


def test_auto_keeps_what_stays_and_follows_what_travels() -> None:
    settings = config().model_copy(update={"root_motion": "auto"})
    assert fit(travelling(12, 0.0), settings).root_motion == "keep"
    assert fit(travelling(12, 0.5), settings).root_motion == "keep"
    assert fit(travelling(12, 3.0), settings).root_motion == "follow"


def test_auto_does_not_follow_a_part_that_flies_off() -> None:
    points = travelling(12, 0.0)
    points[:, :3] += (np.arange(12) / 12)[:, None, None] * [4.0, 0, 0]
    assert fit(points, config().model_copy(update={"root_motion": "auto"})).root_motion == "keep"


@pytest.mark.parametrize("mode", ["keep", "remove", "follow"])
def test_every_image_of_every_path_holds_its_pose_whatever_the_root_does(mode: str) -> None:
    settings = rich_config(root_motion=mode)
    points = travelling(len(time_shares(settings)), 3.0)
    frame = fit(points, settings, CameraDraw(25.0, 35.0))
    drift = np.zeros((len(points), 3)) if frame.drift is None else np.array(frame.drift)
    world = (points + frame.offset) * frame.scale - (drift[:, None] if mode == "remove" else 0)
    k, margins = intrinsics(settings.camera.fov_deg, 64, 64), []
    for name in settings.names:
        sequence = views(settings, name, frame.draw)
        for pose, index in zip(frame.poses(sequence), sequence.time_index, strict=True):
            pixels, depth = project(world[index], k, pose)
            assert depth.min() > 0
            margins.append(min(pixels.min(), 64 - pixels.max()))
    np.testing.assert_allclose(min(margins), frame.margin_px, atol=1e-3)
    assert frame.margin_px >= 32 * (1 - settings.camera.fill) - 1e-4
    assert (frame.root_motion, frame.draw) == (mode, CameraDraw(25.0, 35.0))


def test_remove_and_follow_are_one_picture_and_remove_can_be_undone() -> None:
    points = travelling(12, 3.0)
    removed, followed = (
        fit(points, config().model_copy(update={"root_motion": mode}))
        for mode in ("remove", "follow")
    )
    orbit = views(config(), "orbit")
    np.testing.assert_array_equal(removed.base_poses(orbit), followed.base_poses(orbit))
    np.testing.assert_array_equal(followed.poses(orbit), followed.base_poses(orbit))
    assert removed.drift is not None
    drift = np.array(removed.drift)
    assert not drift[0].any()
    world = (points + removed.offset) * removed.scale - drift[:, None]
    assert np.ptp(world.reshape(-1, 3), axis=0).max() == pytest.approx(1.0, abs=1e-6)
    back = (world + drift[:, None]) / removed.scale - removed.offset
    np.testing.assert_allclose(back, points, atol=1e-6)
    put_back = removed.poses(orbit)
    put_back[:, :3, 3] += drift[orbit.time_index]
    np.testing.assert_allclose(put_back, followed.poses(orbit))


def test_poses_and_times_must_agree() -> None:
    with pytest.raises(ValueError, match="11 poses for 12 image times"):
        fit(travelling(11, 0.0), config())
