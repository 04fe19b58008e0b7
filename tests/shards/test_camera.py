import numpy as np
import pytest

from shards.camera import intrinsics, opencv_to_blender, orbit_pose, project, world_to_camera

ANGLES = [(0.0, 0.0), (90.0, 0.0), (37.0, -60.0), (200.0, 30.0), (359.0, 89.0), (-45.0, -89.0)]


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), ANGLES)
def test_orbit_keeps_distance_and_elevation(azimuth_deg: float, elevation_deg: float) -> None:
    centre = orbit_pose(azimuth_deg, elevation_deg, 2.5)[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(centre), 2.5)
    np.testing.assert_allclose(np.rad2deg(np.arcsin(centre[2] / 2.5)), elevation_deg, atol=1e-9)


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), ANGLES)
def test_orbit_pose_is_a_rotation_with_the_horizon_level(
    azimuth_deg: float, elevation_deg: float
) -> None:
    pose = orbit_pose(azimuth_deg, elevation_deg, 2.0)
    rotation = pose[:3, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    assert pose[2, 0] == 0  # x stays level
    assert pose[2, 1] < 0  # y points down
    np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])


def test_azimuth_zero_looks_along_plus_y_and_ninety_stands_at_plus_x() -> None:
    front = orbit_pose(0, 0, 2)
    np.testing.assert_allclose(front[:3, 2], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(front[:3, 3], [0, -2, 0], atol=1e-12)
    np.testing.assert_allclose(orbit_pose(90, 0, 2)[:3, 3], [2, 0, 0], atol=1e-12)


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), ANGLES)
def test_the_origin_lands_in_the_image_centre(azimuth_deg: float, elevation_deg: float) -> None:
    pose = orbit_pose(azimuth_deg, elevation_deg, 3.0)
    pixels, depth = project(np.zeros((1, 3)), intrinsics(40, 64, 48), pose)
    np.testing.assert_allclose(pixels, [[32, 24]])
    np.testing.assert_allclose(depth, [3.0])


def test_right_of_the_front_camera_is_plus_x_and_up_is_smaller_y() -> None:
    points = np.array([[0.1, 0, 0], [0, 0, 0.1]])
    pixels, _ = project(points, intrinsics(40, 64, 64), orbit_pose(0, 0, 2))
    assert pixels[0, 0] > 32
    assert pixels[1, 1] < 32


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 32), (32, 64)])
def test_the_field_of_view_spans_the_longer_side(width: int, height: int) -> None:
    k = intrinsics(60, width, height)
    edge = np.tan(np.deg2rad(30))
    corner = np.array([[-edge, -edge, 1.0]])
    pixels, _ = project(corner, k, np.eye(4))
    np.testing.assert_allclose(pixels[0, 0 if width >= height else 1], 0, atol=1e-9)


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels, depth = project(np.array([[0.0, -5.0, 0.0]]), intrinsics(40, 8, 8), orbit_pose(0, 0, 2))
    assert np.isnan(pixels).all()
    assert depth[0] < 0


def test_world_to_camera_undoes_the_pose() -> None:
    pose = orbit_pose(33, 12, 2)
    local = np.array([[0.1, -0.2, 0.5], [0, 0, 2.0]])
    world = local @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(world_to_camera(world, pose), local, atol=1e-12)


def test_opencv_to_blender_is_its_own_inverse_and_keeps_the_place() -> None:
    pose = orbit_pose(33, 12, 2)
    flipped = opencv_to_blender(pose)
    np.testing.assert_array_equal(opencv_to_blender(flipped), pose)
    np.testing.assert_array_equal(flipped[:3, 3], pose[:3, 3])
    np.testing.assert_array_equal(flipped[:3, 2], -pose[:3, 2])  # Blender's cameras look along -z
