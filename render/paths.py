"""Camera paths and sample times, as plain numbers: no Blender here.

A sequence is T images, each with its own azimuth, elevation and time. ``static`` and ``orbit``
share their cameras; ``static`` stays at the window's first time.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from shards.camera import intrinsics, orbit_pose
from shards.config import Config

SequenceName = Literal["static", "orbit", "front"]


class CameraConfig(Config):
    """How the cameras of every sequence see the object."""

    fov_deg: float = Field(default=39.6, gt=1, lt=120, description="across the longer side")
    elevation_deg: float = Field(default=15.0, gt=-90, lt=90, description="above the horizon")
    distance: float | None = Field(
        default=None,
        gt=0,
        description="from the origin, in sides of the unit cube; none: fitted to each clip",
    )
    fill: float = Field(
        default=0.92, gt=0.1, le=1, description="share of the half image that a fitted object spans"
    )
    inclusive: bool = Field(
        default=False, description="last view repeats the first, as in Diffusion4D's script"
    )


class SequenceConfig(Config):
    """What is rendered of each clip."""

    names: tuple[SequenceName, ...] = ("static", "orbit", "front")
    frames: int = Field(default=24, ge=2)
    width: int = Field(default=256, ge=8)
    height: int = Field(default=256, ge=8)
    camera: CameraConfig = CameraConfig()


@dataclass(frozen=True, slots=True)
class Views:
    """The cameras and times of one sequence; entry i belongs to image i."""

    azimuth_deg: Float64[np.ndarray, " t"]
    elevation_deg: Float64[np.ndarray, " t"]
    time_index: np.ndarray  # (t,) int: which of the window's sample times

    def poses(self, distance: float) -> Float64[np.ndarray, "t 4 4"]:
        """Return camera-to-world matrices, OpenCV axes."""
        angles = zip(self.azimuth_deg, self.elevation_deg, strict=True)
        return np.stack([orbit_pose(az, el, distance) for az, el in angles])


def sample_times(start_s: float, stop_s: float, frames: int) -> Float64[np.ndarray, " t"]:
    """Spread T times over a window, half open: a looping clip does not show its seam twice."""
    return start_s + (stop_s - start_s) * np.arange(frames) / frames


def views(config: SequenceConfig, name: SequenceName) -> Views:
    """Lay out one sequence.

    The orbit has T equal steps, so its last view is one step before the first; with ``inclusive``
    it has T - 1 and ends where it began.
    """
    count = config.frames
    step_deg = 360.0 / (count - 1 if config.camera.inclusive else count)
    around = step_deg * np.arange(count) % 360.0
    elevation = np.full(count, config.camera.elevation_deg)
    moving, still = np.arange(count), np.zeros(count, int)
    match name:
        case "static":
            return Views(around, elevation, still)
        case "orbit":
            return Views(around, elevation, moving)
        case "front":
            return Views(np.zeros(count), elevation, moving)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a clip is put and from how far it is seen.

    Attributes:
        scale: normalised = (asset + offset) * scale: the union over the window fills a unit cube.
        offset: in asset units.
        distance: of every camera from the origin, in sides of the unit cube.
        margin_px: smallest distance of any projected vertex to the image border, over all images
            of all sequences; negative when one lies outside.
    """

    scale: float
    offset: tuple[float, float, float]
    distance: float
    margin_px: float


_NEAREST = 0.2  # no camera comes closer to the object than this, in sides of the unit cube


def fit(points: Float64[np.ndarray, "t n 3"], config: SequenceConfig) -> Frame:
    """Normalise a clip by its whole window and place the cameras.

    Args:
        points: outermost vertices at each of the T sample times, in asset units, z up.
        config: sequences and camera settings.

    The fitted distance is the smallest from which every image of every sequence holds its pose
    within ``fill`` of the half image: for a vertex at (x, y, z) in axes of a camera that stood at
    the origin, |x| <= fill * tan(fov / 2) * (distance + z), and so for y.
    """
    flat = points.reshape(-1, 3)
    low, high = flat.min(axis=0), flat.max(axis=0)
    scale = 1.0 / float((high - low).max())
    offset = -(low + high) / 2
    cube = (points + offset) * scale
    pairs = [
        (cube[index], pose[:3, :3])
        for name in config.names
        for index, pose in _shots(views(config, name))
    ]
    k = intrinsics(config.camera.fov_deg, config.width, config.height)
    slope = np.array([config.width, config.height]) / 2 / k[0, 0]  # half image over focal length
    distance = config.camera.distance or max(
        _needed(pose_points @ rotation, slope * config.camera.fill)
        for pose_points, rotation in pairs
    )
    distance = round(distance, 9)  # products differ in their last bits from run to run
    margins = []
    for pose_points, rotation in pairs:
        local = pose_points @ rotation
        depth = local[:, 2:] + distance
        pixels = np.abs(local[:, :2]) * k[0, 0] / np.where(depth > 1e-6, depth, np.nan)
        margin = np.array([config.width, config.height]) / 2 - pixels
        margins.append(-np.inf if np.isnan(margin).any() else margin.min())
    worst = round(max(float(min(margins)), -1e6), 4)  # behind the camera: far, but finite
    return Frame(scale, tuple(float(x) for x in offset), float(distance), worst)  # type: ignore[arg-type]


def _shots(sequence: Views) -> list[tuple[int, np.ndarray]]:
    poses = sequence.poses(1.0)
    return [(int(index), pose) for index, pose in zip(sequence.time_index, poses, strict=True)]


def _needed(local: Float64[np.ndarray, "n 3"], slope: Float64[np.ndarray, " 2"]) -> float:
    """Return the smallest camera distance that keeps points (camera axes) inside a slope."""
    inside = (np.abs(local[:, :2]) / slope).max(axis=1) - local[:, 2]
    return float(max(inside.max(), _NEAREST - local[:, 2].min()))
