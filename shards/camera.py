"""Pinhole cameras as plain arrays.

Camera axes are OpenCV's: x right, y down, z forward. World z is up. ``c2w`` (4x4) takes camera
coordinates to world coordinates; ``K`` (3x3) holds pixels, with (0, 0) the outer corner of the
top left pixel, so the centre of pixel (i, j) projects to (j + 0.5, i + 0.5).
"""

import numpy as np
from jaxtyping import Float32, Float64

_FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


def intrinsics(fov_deg: float, width: int, height: int) -> Float64[np.ndarray, "3 3"]:
    """Build K for a field of view measured across the longer side of the image."""
    focal_px = 0.5 * max(width, height) / np.tan(np.deg2rad(fov_deg) / 2)
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])


def orbit_pose(
    azimuth_deg: float, elevation_deg: float, distance: float
) -> Float64[np.ndarray, "4 4"]:
    """Place a camera on a sphere around the origin, looking at it, upright.

    Args:
        azimuth_deg: 0 stands at -y and looks along +y (the front); growing azimuth walks
            counter-clockwise seen from above, so 90 stands at +x.
        elevation_deg: above the horizon, strictly between -90 and 90.
        distance: from the origin, in world units.

    Returns:
        Camera-to-world matrix, OpenCV axes.
    """
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    level, sin, cos = np.cos(elevation), np.sin(azimuth), np.cos(azimuth)
    # columns: right, down, forward (from the camera to the origin), centre; down is written out,
    # np.cross takes a hundred microseconds
    x, y, z = -level * sin, level * cos, -np.sin(elevation)
    return np.array(
        [
            [cos, y * 0.0 - z * sin, x, -distance * x],
            [sin, z * cos - x * 0.0, y, -distance * y],
            [0.0, x * sin - y * cos, z, -distance * z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def world_to_camera(
    points: Float64[np.ndarray, "n 3"], c2w: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "n 3"]:
    """Express world points in camera axes (x right, y down, z forward)."""
    return (points - c2w[:3, 3]) @ c2w[:3, :3]


def project(
    points: Float64[np.ndarray, "n 3"],
    k: Float64[np.ndarray, "3 3"],
    c2w: Float64[np.ndarray, "4 4"],
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, " n"]]:
    """Project world points to pixels.

    Returns:
        Pixel coordinates (x right, y down) and depth along the viewing axis in world units.
        Points at or behind the camera plane come out as NaN pixels.
    """
    local = world_to_camera(points, c2w)
    depth = local[:, 2]
    safe = np.where(depth > 0, depth, np.nan)
    pixels = local @ k.T
    return pixels[:, :2] / safe[:, None], depth


def projected_box(
    points: Float32[np.ndarray, "n 3"], k: np.ndarray, c2w: np.ndarray
) -> Float64[np.ndarray, " 4"]:
    """Return left, top, right, bottom of projected points in pixels, NaN if any is behind.

    Args:
        points: in the world.
        k: (3, 3) intrinsics, pixels.
        c2w: (4, 4) camera to normalised world, OpenCV axes.
    """
    rotation, centre = c2w[:3, :3], c2w[:3, 3]
    matrix = (k @ rotation.T).astype(np.float32)
    projected = points @ matrix.T - matrix @ centre.astype(np.float32)
    if len(points) == 0 or projected[:, 2].min() <= 1e-3:
        return np.full(4, np.nan)
    pixels = projected[:, :2] / projected[:, 2:]
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]).astype(np.float64)


def opencv_to_blender(c2w: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """Turn an OpenCV camera-to-world matrix into Blender's and OpenGL's (y up, z backward).

    The same call converts back.
    """
    return c2w @ _FLIP_YZ
