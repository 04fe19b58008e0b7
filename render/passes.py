"""Supervision beside the images, from the same surface: exact, aligned to pixel centres.

For each image a ray goes through the centre of every pixel. The point it meets is a triangle and
barycentric weights, so its place at any other time is known too: flow needs no matching. Surfaces
less than half opaque are looked through.

Depth and normals describe one image. Flow goes to the next and the previous image of the same
sequence, camera motion included; in a grid, of the same camera. Tracks follow points that are
fixed to the surface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from render.config import PassName
from render.paths import Frame, Views
from render.surface import Hits, Surface, camera_rays
from shards.arrays import StoredArray, quantised
from shards.camera import project
from shards.sample import Frames, JointsMeta
from shards.seeding import ClipAddress, rng_for

TRACKS = 2048
_SAME_DEPTH = 2e-3  # a point this close behind the first hit is on it; sides of the unit cube
_PER_IMAGE: set[PassName] = {"depth", "normal", "flow", "index"}
_HIDDEN_NEXT, _HIDDEN_PREVIOUS = 1, 2


@dataclass(frozen=True, slots=True)
class Passes:
    """What was computed of one clip.

    Attributes:
        sequences: sequence -> pass -> array with one entry per image.
        clip: ``tracks.points``, ``tracks.colour``, ``tracks.bone``, ``joints.points``; what moves
            has one entry per time that some image shows.
        times: those times, as indices of the clip's.
        joints: names and parents, None where there is no rig.
        objects, materials: names behind ``index``; none where it was not asked for.
        warnings: what could not be computed, and why.
    """

    sequences: dict[str, dict[str, StoredArray]]
    clip: dict[str, StoredArray]
    times: tuple[int, ...]
    joints: JointsMeta | None
    objects: tuple[str, ...]
    materials: tuple[str, ...]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Shoot:
    """A rendered clip as the passes see it.

    Attributes:
        surface: all times of the clip.
        frame: where the clip was put.
        views: cameras and times of each sequence.
        images: (t, h, w, 4) uint8 of each sequence.
        k: (3, 3) intrinsics, pixels.
        skeletons: answers of Blender's ``joints()``, one per time of the surface; empty if not
            asked for.
        address: where track points are drawn from.
    """

    surface: Surface
    frame: Frame
    views: dict[str, Views]
    images: dict[str, Frames]
    k: Float64[np.ndarray, "3 3"]
    skeletons: Sequence[dict[str, Any]]
    address: ClipAddress


def compute(shoot: Shoot, names: Sequence[PassName]) -> Passes:
    """Compute the named passes of all sequences."""
    wanted = set(names)
    warnings = []
    if wanted and not shoot.surface.complete:
        warnings.append("hair, points or volumes are drawn but not part of the passes")
    if wanted & {"flow", "tracks"} and not shoot.surface.one_topology:
        wanted -= {"flow", "tracks"}
        warnings.append("the mesh changes its vertices over time: no flow and no tracks")
    sequences = {
        name: _Sequence(shoot, name).compute(wanted) if wanted & _PER_IMAGE else {}
        for name in shoot.views
    }
    clip: dict[str, StoredArray] = {}
    if "tracks" in wanted:
        tracks = _Tracks(shoot)
        clip |= tracks.clip_arrays()
        for name, arrays in sequences.items():
            arrays["visible"] = StoredArray(tracks.visible[name], "bool")
    joints = None
    if "joints" in wanted and shoot.skeletons and shoot.skeletons[0]["names"]:
        first = shoot.skeletons[0]
        joints = JointsMeta(names=tuple(first["names"]), parents=tuple(first["parents"]))
        places = np.array([skeleton["positions"] for skeleton in shoot.skeletons])
        base = (places + shoot.surface.offset) * shoot.surface.scale
        clip["joints.points"] = StoredArray(
            _stored_world(shoot, base).astype(np.float32), "sides of the unit cube"
        )
    named = "index" in wanted
    objects = tuple(shoot.surface.objects) if named else ()
    materials = tuple(about["name"] for about in shoot.surface.materials) if named else ()
    times = tuple(shoot.surface.times)
    return Passes(sequences, clip, times, joints, objects, materials, warnings)


def _stored_world(shoot: Shoot, base: Float64[np.ndarray, "m n 3"]) -> np.ndarray:
    """Carry points at the surface's times from the base world to the stored one."""
    frame = shoot.frame
    if frame.root_motion == "remove" and frame.drift is not None:
        return base - np.array(frame.drift)[shoot.surface.times, None]
    return base


class _Sequence:
    """The passes of one sequence, an image at a time."""

    def __init__(self, shoot: Shoot, name: str) -> None:
        self.shoot = shoot
        views = shoot.views[name]
        self.poses, self.times = shoot.frame.base_poses(views), views.time_index
        self.frames, self.height, self.width, _ = shoot.images[name].shape
        rows, columns = np.mgrid[: self.height, : self.width]
        self.centres = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5

    def compute(self, wanted: set[PassName]) -> dict[str, StoredArray]:
        shape = (self.frames, self.height, self.width)
        depth = np.zeros(shape, np.float32)
        normal = np.zeros((*shape, 3), np.float32)
        index = np.zeros((*shape, 2), np.uint16)
        flow = np.zeros((*shape, 4), np.float32)
        hidden = np.zeros(shape, np.uint8)
        for i in range(self.frames):
            met, hits = self._look(i)
            at = np.unravel_index(met, shape[1:])
            depth[i][at] = hits.distance
            if "normal" in wanted:
                normal[i][at] = self._normals(i, met, hits)
            if "index" in wanted:
                topology = self.shoot.surface.topology(int(self.times[i]))
                pair = (topology.objects[hits.triangle], topology.materials[hits.triangle])
                index[i][at] = 1 + np.stack(pair, axis=1)
            if "flow" in wanted:
                flow[i][at], hidden[i][at] = self._flow(i, met, hits)
        unit = "pixels: x, y to the next image, x, y to the previous one"
        arrays = {
            "depth": quantised(depth, np.uint16, "sides of the unit cube along the view axis"),
            "normal": quantised(normal, np.int16, "unit vector in the world", limit=1.0),
            "index": StoredArray(index, "object, material; 1 = the first, 0 = nothing"),
            "flow": quantised(flow, np.int16, unit),
        }
        arrays = {name: array for name, array in arrays.items() if name in wanted}
        if "flow" in wanted:
            arrays["occlusion"] = StoredArray(hidden, "bit 0: not seen next; bit 1: previously")
        return arrays

    def _look(self, i: int) -> tuple[np.ndarray, Hits]:
        """Return which pixels of an image see the surface, and where."""
        rays = self.shoot.surface.rays(int(self.times[i]))
        hits = rays.cast(*camera_rays(self.centres, self.shoot.k, self.poses[i]))
        met = np.flatnonzero(hits.triangle >= 0)
        return met, Hits(hits.triangle[met], hits.weights[met], hits.distance[met])

    def _flow(self, i: int, met: np.ndarray, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
        """Return flow (n, 4) to the next and previous image, and what of it is hidden there."""
        flow = np.zeros((len(met), 4), np.float32)
        hidden = np.zeros(len(met), np.uint8)
        for other, channel, bit in ((i + 1, 0, _HIDDEN_NEXT), (i - 1, 2, _HIDDEN_PREVIOUS)):
            if not self._joined(i, other):
                hidden |= bit
                continue
            time = int(self.times[other])
            there = _points_on(self.shoot.surface, time, hits)
            size = (self.height, self.width)
            pixels, visible = _look_at(self.shoot, time, self.poses[other], there, size)
            flow[:, channel : channel + 2] = np.nan_to_num(pixels - self.centres[met])
            hidden |= np.where(visible, 0, bit).astype(np.uint8)
        return flow, hidden

    def _joined(self, i: int, other: int) -> bool:
        """Tell whether neighbours in the sequence belong together.

        A grid goes through its times camera by camera, so going back in time starts a new run.
        """
        if not 0 <= other < self.frames:
            return False
        return (self.times[other] - self.times[i]) * (other - i) >= 0

    def _normals(self, i: int, met: np.ndarray, hits: Hits) -> Float32[np.ndarray, "r 3"]:
        """Return unit shading normals in the world, turned towards the camera."""
        surface, time = self.shoot.surface, int(self.times[i])
        topology = surface.topology(time)
        corners = surface.corner_normals(time)[topology.corners[hits.triangle]]
        bent = np.einsum("rc,rcx->rx", hits.weights, _unit(corners))
        points = surface.rays(time).points[topology.triangles[hits.triangle]]
        flat = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        length = np.linalg.norm(bent, axis=1, keepdims=True)
        bent = _unit(np.where(length > 1e-6, bent, flat))
        _, towards = camera_rays(self.centres[met], self.shoot.k, self.poses[i])
        away = (bent * towards).sum(axis=1) > 0
        return np.where(away[:, None], -bent, bent).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)


def _points_on(surface: Surface, time_index: int, hits: Hits) -> Float64[np.ndarray, "r 3"]:
    """Return where the material points that rays met are at a time, in the base world."""
    corners = surface.rays(time_index).points[surface.topology(time_index).triangles[hits.triangle]]
    return np.einsum("rc,rcx->rx", hits.weights, corners, dtype=np.float64)


def _look_at(
    shoot: Shoot, time_index: int, pose: np.ndarray, points: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Project points and tell which of them are seen: inside the image, with nothing in front."""
    pixels, depth = project(points, shoot.k, pose)
    height, width = size
    inside = (pixels >= 0).all(axis=1) & (pixels < [width, height]).all(axis=1)
    visible = np.zeros(len(points), bool)
    looked = np.flatnonzero(inside)
    hits = shoot.surface.rays(time_index).cast(*camera_rays(pixels[looked], shoot.k, pose))
    first = np.where(hits.triangle >= 0, hits.distance, np.inf)
    visible[looked] = first > depth[looked] - _SAME_DEPTH
    return pixels, visible


class _Tracks:
    """Points fixed to the surface, spread evenly over its area at the first time."""

    def __init__(self, shoot: Shoot) -> None:
        surface = shoot.surface
        first = surface.times[0]
        topology = surface.topology(first)
        seed, uid, clip_index = shoot.address
        rng = rng_for(seed, "tracks", uid, clip_index)
        corners = surface.points(first)[topology.triangles].astype(np.float64)
        sides = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
        shares = np.cumsum(area) / area.sum()
        triangle = np.searchsorted(shares, rng.random(TRACKS), side="right")
        u, v = rng.random((2, TRACKS))
        root = np.sqrt(u)
        weights = np.stack([1 - root, root * (1 - v), root * v], axis=1).astype(np.float32)
        self._hits = Hits(
            np.minimum(triangle, len(area) - 1).astype(np.int32), weights,
            np.zeros(TRACKS, np.float32),
        )  # fmt: skip
        self._shoot = shoot
        at = {time: _points_on(surface, time, self._hits) for time in surface.times}
        self._base = np.stack(list(at.values()))
        self.visible: dict[str, np.ndarray] = {}
        colours: list[np.ndarray] = []
        for name, views in shoot.views.items():
            images = shoot.images[name]
            seen = np.zeros((len(images), TRACKS), bool)
            places = zip(views.time_index, shoot.frame.base_poses(views), strict=True)
            for i, (time, pose) in enumerate(places):
                size = (images.shape[1], images.shape[2])
                pixels, seen[i] = _look_at(shoot, int(time), pose, at[int(time)], size)
                x, y = np.floor(pixels[seen[i]]).astype(int).T
                picked = np.full((TRACKS, 3), np.nan, np.float32)
                solid = images[i][y, x, 3] == 255
                picked[np.flatnonzero(seen[i])[solid]] = images[i][y, x, :3][solid]
                colours.append(picked)
            self.visible[name] = seen
        stack = np.stack(colours)
        stack[:, np.isnan(stack).all(axis=(0, 2))] = 0  # never seen: black
        self._colour = np.nanmedian(stack, axis=0)

    def clip_arrays(self) -> dict[str, StoredArray]:
        topology = self._shoot.surface.topology(self._shoot.surface.times[0])
        heaviest = self._hits.weights.argmax(axis=1)
        vertex = topology.triangles[self._hits.triangle, heaviest]
        points = _stored_world(self._shoot, self._base).astype(np.float32)
        return {
            "tracks.points": StoredArray(points, "sides of the unit cube"),
            "tracks.colour": StoredArray(
                np.round(self._colour).astype(np.uint8), "sRGB, median over the images that see it"
            ),
            "tracks.bone": StoredArray(
                topology.bones[vertex].astype(np.int16), "index into joints, -1 = none"
            ),
        }
