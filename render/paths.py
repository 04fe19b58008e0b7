"""Camera paths, sample times and framing as plain numbers: no Blender here.

A sequence is a list of images, each with its own azimuth, elevation and time:

- ``static``: T views around the pose at the window's start; ``orbit``: the same cameras, view i at
  time i. The pair gives the motion magnitude.
- ``front``: one fixed camera over T times.
- ``four_view``: fixed cameras at azimuth 0, 90, 180, 270, each over T times. The random azimuth
  offset leaves them where they are, as in Diffusion4D's script.
- ``grid``: V fixed cameras evenly around, each over its own number of times.
- ``spiral``: as ``orbit``, while the elevation runs from one value to another.
- ``list``: given cameras, each at one share of the window or over all T times.

Where fixed cameras meet several times, images go camera by camera: image v * T + t.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from jaxtyping import Float64
from pydantic import Field, model_validator

from render.root_motion import smooth_centres
from shards.camera import intrinsics, orbit_pose, world_to_camera
from shards.config import Config
from shards.seeding import rng_for

SequenceName = Literal["static", "orbit", "front", "four_view", "grid", "spiral", "list"]
RootMotion = Literal["keep", "remove", "follow"]
Share = Annotated[float, Field(ge=0, le=1)]
ElevationDeg = Annotated[float, Field(gt=-90, lt=90)]


class CameraConfig(Config):
    """How the cameras of every sequence see the object."""

    fov_deg: float = Field(default=39.6, gt=1, lt=120, description="across the longer side")
    elevation_deg: ElevationDeg = Field(default=15.0, description="above the horizon")
    elevation_range_deg: tuple[ElevationDeg, ElevationDeg] | None = Field(
        default=None, description="draw one elevation per clip from this range instead"
    )
    azimuth_range_deg: tuple[float, float] = Field(
        default=(0.0, 0.0), description="draw one azimuth offset per clip from this range"
    )
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

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for low, high in (self.azimuth_range_deg, self.elevation_range_deg or (0.0, 0.0)):
            if low > high:
                raise ValueError(f"range [{low:g}, {high:g}] must go from low to high")
        return self


class GridConfig(Config):
    """V fixed cameras x T times, as Human4DiT trains on."""

    views: int = Field(
        default=4, ge=1, description="cameras, evenly around from the clip's azimuth"
    )
    times: int | None = Field(default=None, ge=1, description="none: as many as other sequences")


class SpiralConfig(Config):
    """An orbit whose elevation runs from its first image to its last."""

    elevation_deg: tuple[ElevationDeg, ElevationDeg] = Field(
        default=(-10.0, 50.0), description="of the first and of the last image"
    )
    turns: float = Field(default=1.0, gt=0, description="around the object")


class GivenCamera(Config):
    """One camera of the sequence ``list``."""

    azimuth_deg: float = Field(default=0.0, description="0 is the front; no offset is added")
    elevation_deg: ElevationDeg = 0.0
    distance: float | None = Field(
        default=None, gt=0, le=50, description="in sides of the unit cube; none: the clip's own"
    )
    time: Share | Literal["moving"] = Field(
        default="moving",
        description="one image at this share of the window, or one at each of the T times",
    )


class SequenceConfig(Config):
    """What is rendered of each clip."""

    names: tuple[SequenceName, ...] = Field(default=("static", "orbit", "front"), min_length=1)
    frames: int = Field(default=24, ge=2)
    width: int = Field(default=256, ge=8)
    height: int = Field(default=256, ge=8)
    camera: CameraConfig = CameraConfig()
    grid: GridConfig = GridConfig()
    spiral: SpiralConfig = SpiralConfig()
    cameras: tuple[GivenCamera, ...] = Field(default=(), description="of the sequence 'list'")
    root_motion: Literal["auto"] | RootMotion = Field(
        default="auto",
        description="keep: one frame for all times; remove: the object stays centred; follow: the "
        "camera goes along; auto: keep, or follow where keep shows the object too small",
    )
    follow_below: Share = Field(
        default=0.5, description="auto follows where keep shows less than this share of the size"
    )

    @model_validator(mode="after")
    def _list_has_cameras(self) -> Self:
        if "list" in self.names and not self.cameras:
            raise ValueError("the sequence 'list' needs cameras, for example cameras=[{time: 0}]")
        return self


@dataclass(frozen=True, slots=True)
class CameraDraw:
    """What is drawn once per clip and shared by its sequences."""

    azimuth_deg: float
    elevation_deg: float


def draw_cameras(config: CameraConfig, seed: int, uid: str, clip_index: int) -> CameraDraw:
    """Draw azimuth offset and elevation of a clip from its address."""
    azimuth, elevation = rng_for(seed, "cameras", uid, clip_index).random(2)
    low, high = config.azimuth_range_deg
    bottom, top = config.elevation_range_deg or (config.elevation_deg, config.elevation_deg)
    return CameraDraw(
        round(float(low + (high - low) * azimuth), 6),
        round(float(bottom + (top - bottom) * elevation), 6),
    )


ImageKey = tuple[float, float, int, float]  # azimuth, elevation, time index, distance


@dataclass(frozen=True, slots=True)
class Views:
    """The cameras and times of one sequence; entry i belongs to image i."""

    azimuth_deg: Float64[np.ndarray, " t"]
    elevation_deg: Float64[np.ndarray, " t"]
    time_index: np.ndarray  # (t,) int: which of ``image_times``
    distance: Float64[np.ndarray, " t"] | None = None  # an image's own; NaN or None: the clip's

    def distances(self, distance: float) -> Float64[np.ndarray, " t"]:
        """Return each image's camera distance, given the clip's."""
        own = np.full(len(self.time_index), np.nan) if self.distance is None else self.distance
        return np.where(np.isnan(own), distance, own)

    def poses(self, distance: float) -> Float64[np.ndarray, "t 4 4"]:
        """Return camera-to-world matrices, OpenCV axes, of cameras that look at the origin."""
        cameras = zip(self.azimuth_deg, self.elevation_deg, self.distances(distance), strict=True)
        return np.stack([orbit_pose(az, el, away) for az, el, away in cameras])

    def image_keys(self) -> list[ImageKey]:
        """Name each image by its camera and time, so that equal ones are found."""
        columns = (self.azimuth_deg, self.elevation_deg, self.time_index, self.distances(-1.0))
        rows = zip(*columns, strict=True)
        return [(float(az), float(el), int(at), float(away)) for az, el, at, away in rows]


def sample_times(start_s: float, stop_s: float, frames: int) -> Float64[np.ndarray, " t"]:
    """Spread T times over a window, half open: a looping clip does not show its seam twice."""
    return start_s + (stop_s - start_s) * np.arange(frames) / frames


def time_shares(config: SequenceConfig) -> Float64[np.ndarray, " m"]:
    """List every time that some image shows, as shares of the window.

    The T regular ones come first, half open; then, rising, those that only ``grid`` or ``list`` ask
    for.
    """
    regular = np.arange(config.frames) / config.frames
    wanted: list[float] = []
    if "grid" in config.names:
        wanted += _grid_shares(config).tolist()
    if "list" in config.names:
        wanted += [camera.time for camera in config.cameras if camera.time != "moving"]
    extra = {round(share, 9) for share in wanted if np.abs(regular - share).min() > _SAME_SHARE}
    return np.concatenate([regular, np.array(sorted(extra), float)])


def image_times(start_s: float, stop_s: float, config: SequenceConfig) -> Float64[np.ndarray, " m"]:
    """Place ``time_shares`` in a window: seconds, the T sample times first."""
    extra = time_shares(config)[config.frames :]
    regular = sample_times(start_s, stop_s, config.frames)
    return np.concatenate([regular, start_s + (stop_s - start_s) * extra])


def views(config: SequenceConfig, name: SequenceName, draw: CameraDraw | None = None) -> Views:
    """Lay out one sequence.

    The orbit has T equal steps, so its last view is one step before the first; with ``inclusive``
    it has T - 1 and ends where it began.

    Args:
        config: sequences and cameras.
        name: which sequence.
        draw: azimuth offset and elevation of the clip; none: no offset, ``camera.elevation_deg``.
    """
    draw = draw or CameraDraw(0.0, config.camera.elevation_deg)
    count = config.frames
    steps = np.arange(count) / (count - 1 if config.camera.inclusive else count)
    around = (draw.azimuth_deg + 360.0 * steps) % 360.0
    level = np.full(count, draw.elevation_deg)
    moving, still = np.arange(count), np.zeros(count, int)
    match name:
        case "static":
            return Views(around, level, still)
        case "orbit":
            return Views(around, level, moving)
        case "front":
            return Views(np.full(count, draw.azimuth_deg % 360.0), level, moving)
        case "four_view":
            return _fixed(np.arange(4) * 90.0, draw.elevation_deg, moving)
        case "grid":
            cameras = draw.azimuth_deg + 360.0 * np.arange(config.grid.views) / config.grid.views
            times = _indices(config, _grid_shares(config))
            return _fixed(cameras % 360.0, draw.elevation_deg, times)
        case "spiral":
            low, high = config.spiral.elevation_deg
            rising = low + (high - low) * np.arange(count) / (count - 1)
            turning = draw.azimuth_deg + 360.0 * config.spiral.turns * steps
            return Views(turning % 360.0, rising, moving)
        case "list":
            return _given(config)


_SAME_SHARE = 1e-8  # shares nearer than this are one time


def _fixed(azimuth_deg: np.ndarray, elevation_deg: float, times: np.ndarray) -> Views:
    """Let every camera meet every time, camera by camera."""
    around = np.repeat(azimuth_deg, len(times))
    level = np.full(len(around), elevation_deg)
    return Views(around, level, np.tile(times, len(azimuth_deg)))


def _given(config: SequenceConfig) -> Views:
    rows: list[tuple[float, float, int, float]] = []
    for camera in config.cameras:
        away = np.nan if camera.distance is None else camera.distance
        times = np.arange(config.frames)
        if camera.time != "moving":
            times = _indices(config, np.array([camera.time]))
        rows += [(camera.azimuth_deg, camera.elevation_deg, int(at), away) for at in times]
    azimuth, elevation, time_index, distance = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    return Views(azimuth % 360.0, elevation.astype(float), time_index, distance.astype(float))


def _grid_shares(config: SequenceConfig) -> np.ndarray:
    times = config.grid.times or config.frames
    return np.arange(times) / times


def _indices(config: SequenceConfig, shares: np.ndarray) -> np.ndarray:
    """Find shares among ``time_shares``."""
    return np.abs(time_shares(config)[None] - shares[:, None]).argmin(axis=1)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a clip is put and from how far it is seen.

    Attributes:
        scale: base = (asset + offset) * scale. With ``keep`` the union of the geometry over the
            window fills a unit cube around the origin of this base world. Else the union of the
            centred poses does, and the pose at time i is centred at ``drift[i]``.
        offset: in asset units.
        distance: of every camera from what it looks at, in sides of the unit cube.
        margin_px: smallest distance of any projected vertex to the image border, over all images
            of all sequences; negative when one lies outside.
        root_motion: what is done about the object's path. The stored world is the base world, but
            for ``remove``: base - drift[i]. The stored cameras look at the origin, but for
            ``follow``: at drift[i]. Images are the same for both.
        drift: (m, 3) in the base world, one place per time of ``image_times``, zero at the
            window's start; none with ``keep``.
        draw: the clip's own azimuth offset and elevation.
    """

    scale: float
    offset: tuple[float, float, float]
    distance: float
    margin_px: float
    root_motion: RootMotion = "keep"
    drift: tuple[tuple[float, float, float], ...] | None = None
    draw: CameraDraw | None = None

    def centres(self, sequence: Views) -> Float64[np.ndarray, "t 3"]:
        """Return what each image's camera looks at, in the base world."""
        if self.drift is None:
            return np.zeros((len(sequence.time_index), 3))
        return np.array(self.drift, float)[sequence.time_index]

    def base_poses(self, sequence: Views) -> Float64[np.ndarray, "t 4 4"]:
        """Return the camera-to-base-world matrix of each image, OpenCV axes: what is rendered."""
        poses = sequence.poses(self.distance)
        poses[:, :3, 3] += self.centres(sequence)
        return poses

    def poses(self, sequence: Views) -> Float64[np.ndarray, "t 4 4"]:
        """Return the camera-to-world matrix of each image in the stored world, OpenCV axes."""
        if self.root_motion == "remove":
            return sequence.poses(self.distance)
        return self.base_poses(sequence)


_NEAREST = 0.2  # no camera comes closer to the object than this, in sides of the unit cube


def fit(
    points: Float64[np.ndarray, "m n 3"], config: SequenceConfig, draw: CameraDraw | None = None
) -> Frame:
    """Normalise a clip by its whole window and place the cameras.

    Args:
        points: outermost vertices at each of ``image_times``, in asset units, z up.
        config: sequences, cameras and what to do about root motion.
        draw: the clip's azimuth offset and elevation.

    The fitted distance is the smallest from which every image of every sequence holds its pose
    within ``fill`` of the half image: for a vertex at (x, y, z) in axes of a camera that stood at
    the origin, |x| <= fill * tan(fov / 2) * (distance + z), and so for y.

    ``auto`` follows where ``keep`` would show the object smaller than ``follow_below`` times the
    size it has when centred.
    """
    shares = time_shares(config)
    if len(points) != len(shares):
        raise ValueError(f"{len(points)} poses for {len(shares)} image times")
    keep = _place(points, np.zeros((len(points), 3)), config, draw)
    if config.root_motion == "keep":
        return keep
    centred = _place(points, smooth_centres(points, shares, config.frames), config, draw)
    if config.root_motion != "auto":
        return replace(centred, root_motion=config.root_motion)
    shown = (keep.scale / keep.distance) / (centred.scale / centred.distance)
    return replace(centred, root_motion="follow") if shown < config.follow_below else keep


def _place(
    points: np.ndarray, centres: np.ndarray, config: SequenceConfig, draw: CameraDraw | None
) -> Frame:
    """Normalise poses (m, n, 3), each moved by its centre (m, 3), and find the distance."""
    flat = (points - centres[:, None]).reshape(-1, 3)
    low, high = flat.min(axis=0), flat.max(axis=0)
    scale = 1.0 / float((high - low).max())
    offset = -(low + high) / 2 - centres[0]
    drift = np.round((centres - centres[0]) * scale, 9)
    cube = (points + offset) * scale - drift[:, None]
    layouts = [views(config, name, draw) for name in config.names]
    k = intrinsics(config.camera.fov_deg, config.width, config.height)
    half = np.array([config.width, config.height]) / 2
    distance = config.camera.distance or _fitted(cube, layouts, half / k[0, 0] * config.camera.fill)
    distance = round(distance, 9)  # products differ in their last bits from run to run
    margins = []
    for layout in layouts:
        for index, pose in zip(layout.time_index, layout.poses(distance), strict=True):
            local = world_to_camera(cube[index], pose)
            depth = local[:, 2:]
            pixels = np.abs(local[:, :2]) * k[0, 0] / np.where(depth > 1e-6, depth, np.nan)
            margins.append(-np.inf if np.isnan(pixels).any() else (half - pixels).min())
    worst = round(max(float(min(margins)), -1e6), 4)  # behind the camera: far, but finite
    return Frame(
        scale,
        (float(offset[0]), float(offset[1]), float(offset[2])),
        float(distance),
        worst,
        drift=tuple((float(x), float(y), float(z)) for x, y, z in drift) if drift.any() else None,
        draw=draw,
    )


def _fitted(cube: np.ndarray, layouts: list[Views], slope: Float64[np.ndarray, " 2"]) -> float:
    """Return the smallest distance from which all cameras without one of their own see all."""
    needed = [_NEAREST]
    for layout in layouts:
        free = layout.distances(np.nan)
        for i in np.flatnonzero(np.isnan(free)):
            pose = orbit_pose(layout.azimuth_deg[i], layout.elevation_deg[i], 1.0)
            local = cube[layout.time_index[i]] @ pose[:3, :3]
            inside = (np.abs(local[:, :2]) / slope).max(axis=1) - local[:, 2]
            needed.append(max(float(inside.max()), float(_NEAREST - local[:, 2].min())))
    return max(needed)
