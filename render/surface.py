"""The surface of a clip, as Blender evaluated it, and rays through it.

Arrays come from ``render.blender.surface``; positions are normalised here (see ``WorldMeta``).
Rays are cast by Embree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore import EmbreeDevice
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Float32, Float64, Int32

from render.film import sample_offsets

_LAYERS_MAX = 16  # see-through surfaces that one ray may pass before it counts as stopped
_STEP = 1e-5  # beyond a see-through hit, in sides of the unit cube
_OPAQUE_ENOUGH = 0.5
_KEPT_VERTICES = 1_000_000  # of all times in memory together; Embree takes some 200 bytes for each


@dataclass(frozen=True, slots=True)
class Hits:
    """Where rays met the surface; every array has one entry per ray.

    Attributes:
        triangle: (r,) int32 index, -1 where a ray met nothing.
        weights: (r, 3) float32 barycentric weights of the triangle's corners.
        distance: (r,) float32 in lengths of the ray's direction.
    """

    triangle: Int32[np.ndarray, " r"]
    weights: Float32[np.ndarray, "r 3"]
    distance: Float32[np.ndarray, " r"]


class Topology:
    """Triangles of one stretch of time: vertices, face corners, objects and materials."""

    def __init__(self, file: Path) -> None:
        with np.load(file) as arrays:
            self.triangles: np.ndarray = arrays["triangles"]
            self.corners: np.ndarray = arrays["corners"]
            self.objects: np.ndarray = arrays["objects"]
            self.materials: np.ndarray = arrays["materials"]
            self.uv: np.ndarray = arrays["uv"]
            self.bones: np.ndarray = arrays["bones"]


class Surface:
    """The recorded times of one clip. A topology holds until the next one is given."""

    def __init__(self, folder: Path, scale: float, offset: Sequence[float]) -> None:
        """Start without any time; arrays are read when they are needed.

        Args:
            folder: of the recorded arrays.
            scale: normalised = (asset + offset) * scale.
            offset: in asset units.
        """
        self.folder = folder
        self.scale, self.offset = scale, np.asarray(offset, np.float64)
        self.times: list[int] = []  # indices of those recorded so far
        self.objects: list[str] = []
        self.materials: list[dict[str, Any]] = []
        self.complete = True
        self.unreadable: tuple[str, ...] = ()  # textures painted magenta
        self.opaque = True  # no material lets anything through
        self._topologies: dict[int, Topology] = {}
        self._rays: dict[int, _Rays] = {}
        self._drawn: tuple[int, np.ndarray] | None = None

    def learn(self, about: dict[str, Any]) -> None:
        """Take in what was recorded since: the latest of ``Recorder.describe``."""
        self.times = about["times"]
        self.objects, self.materials = about["objects"], about["materials"]
        self.complete = about["complete"]
        self.unreadable = tuple(about["unreadable"])
        self.opaque = all(material["kind"] == "opaque" for material in self.materials)
        for start in about["topologies"]:
            if start not in self._topologies:
                self._topologies[start] = Topology(self.folder / f"topology-{start}.npz")

    @property
    def one_topology(self) -> bool:
        """Tell whether vertices can be followed through all times."""
        return len(self._topologies) == 1

    def topology(self, time_index: int) -> Topology:
        """Return the triangles that hold at a time."""
        return self._topologies[max(k for k in self._topologies if k <= time_index)]

    def points(self, time_index: int) -> Float32[np.ndarray, "n 3"]:
        """Return the vertices at a time, normalised."""
        raw = np.load(self.folder / f"points-{time_index}.npy").astype(np.float64)
        return ((raw + self.offset) * self.scale).astype(np.float32)

    def drawn_points(self, time_index: int) -> Float32[np.ndarray, "n 3"]:
        """Return the vertices that triangles use; the last time asked for stays in memory."""
        if self._drawn is None or self._drawn[0] != time_index:
            points = self.points(time_index)
            used = np.zeros(len(points), bool)
            used[self.topology(time_index).triangles.ravel()] = True
            self._drawn = (time_index, points[used])
        return self._drawn[1]

    def corner_normals(self, time_index: int) -> Float32[np.ndarray, "c 3"]:
        """Return the shading normals of face corners at a time; not of unit length."""
        return np.load(self.folder / f"normals-{time_index}.npy")

    def rays(self, time_index: int) -> "_Rays":
        """Return what casts rays at a time. The last ones asked for stay in memory."""
        if time_index not in self._rays:
            while sum(len(rays.points) for rays in self._rays.values()) > _KEPT_VERTICES:
                self._rays.pop(next(iter(self._rays)))
            self._rays[time_index] = _Rays(self, time_index)
        return self._rays[time_index]


class _Rays:
    """Casts rays at the surface of one time."""

    def __init__(self, surface: Surface, time_index: int) -> None:
        self.surface = surface
        self.topology = surface.topology(time_index)
        self.points = surface.points(time_index)
        self._device = EmbreeDevice()
        self._scene = EmbreeScene(self._device)
        if len(self.topology.triangles):
            TriangleMesh(self._scene, self.points, self.topology.triangles)

    def cast(
        self, origins: Float32[np.ndarray, "r 3"], directions: Float32[np.ndarray, "r 3"]
    ) -> Hits:
        """Find the first surface along each ray that is at least half opaque."""
        hits = self._first(origins, directions)
        if self.surface.opaque:
            return hits
        pending = np.flatnonzero(hits.triangle >= 0)
        travelled = np.zeros(len(origins), np.float32)
        for _ in range(_LAYERS_MAX):
            found = Hits(*(a[pending] for a in (hits.triangle, hits.weights, hits.distance)))
            through = pending[self.opacity(found) < _OPAQUE_ENOUGH]
            if len(through) == 0:
                break
            travelled[through] += hits.distance[through] + _STEP
            start = origins[through] + directions[through] * travelled[through, None]
            beyond = self._first(start, directions[through])
            hits.triangle[through] = beyond.triangle
            hits.weights[through] = beyond.weights
            hits.distance[through] = beyond.distance
            pending = through[beyond.triangle >= 0]
        hits.distance[:] += travelled
        return hits

    def _first(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        if len(self.topology.triangles) == 0 or len(origins) == 0:
            nothing = np.full(len(origins), -1, np.int32)
            return Hits(
                nothing, np.zeros((len(origins), 3), np.float32), np.zeros(len(origins), np.float32)
            )
        found = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            output=True,
        )
        u, v = found["u"], found["v"]
        weights = np.stack([1 - u - v, u, v], axis=1)
        return Hits(found["primID"], weights, found["tfar"])

    def _meets(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Tell which rays meet anything: six times faster than where."""
        if len(self.topology.triangles) == 0:
            return np.zeros(len(origins), bool)
        origins = np.ascontiguousarray(origins, np.float32)
        return self._scene.run(origins, directions, query="OCCLUDED") >= 0

    def opacity(self, hits: Hits) -> Float32[np.ndarray, " r"]:
        """Look up how opaque the surface is where rays met it; NaN where it cannot be told."""
        result = np.ones(len(hits.triangle), np.float32)
        materials = self.topology.materials[hits.triangle]
        for index in np.unique(materials):
            about = self.surface.materials[index]
            if about["kind"] == "opaque":
                continue
            picked = np.flatnonzero(materials == index)
            if about["kind"] == "unknown":
                result[picked] = np.nan
                continue
            result[picked] = about["alpha"]
            if about["image"]:
                corners = self.topology.corners[hits.triangle[picked]]
                uv = (self.topology.uv[corners] * hits.weights[picked, :, None]).sum(axis=1)
                result[picked] *= _look_up(np.load(self.surface.folder / about["image"]), uv)
        return result

    def coverage(
        self,
        pixels: np.ndarray,
        k: Float64[np.ndarray, "3 3"],
        c2w: Float64[np.ndarray, "4 4"],
        width_px: float,
        count: int,
    ) -> Float32[np.ndarray, " n"]:
        """Measure which share of pixels the surface covers, weighed by the pixel filter.

        Args:
            pixels: (n, 2) rows and columns.
            k: intrinsics, pixels.
            c2w: camera to normalised world, OpenCV axes.
            width_px: radius of the pixel filter.
            count: rays per pixel.

        Returns:
            float32 (n,), NaN where a see-through material stands in the way.
        """
        if len(pixels) == 0:
            return np.zeros(0, np.float32)
        offsets = sample_offsets(count, width_px)
        centres = (pixels[:, None, ::-1] + 0.5).astype(np.float32)
        points = (centres + offsets.astype(np.float32)).reshape(-1, 2)
        origins, directions = camera_rays(points, k, c2w)
        shape = (len(pixels), count)
        if self.surface.opaque:
            return self._meets(origins, directions).reshape(shape).mean(axis=1, dtype=np.float32)
        hits = self._first(origins, directions)
        met = (hits.triangle >= 0).reshape(shape)
        share = met.mean(axis=1, dtype=np.float32)
        clear = np.array([about["kind"] != "opaque" for about in self.surface.materials])
        seen_through = clear[self.topology.materials[hits.triangle]].reshape(shape) & met
        share[seen_through.any(axis=1)] = np.nan
        return share


def camera_rays(
    pixels: np.ndarray, k: Float64[np.ndarray, "3 3"], c2w: Float64[np.ndarray, "4 4"]
) -> tuple[Float32[np.ndarray, "r 3"], Float32[np.ndarray, "r 3"]]:
    """Return origins and directions of rays through image points (x, y), (r, 2).

    Directions have depth 1 along the viewing axis, so distances along them are depths.
    """
    rotation = c2w[:3, :3].astype(np.float32)
    focal = np.array([k[0, 0], k[1, 1]], np.float32)
    local = (pixels.astype(np.float32) - k[:2, 2].astype(np.float32)) / focal
    directions = local @ rotation[:, :2].T + rotation[:, 2]
    origins = np.broadcast_to(c2w[:3, 3].astype(np.float32), directions.shape)
    return origins, directions


def _look_up(alpha: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Read a repeating texture (uint8 rows from the bottom up) at UV points, nearest pixel."""
    height, width = alpha.shape
    column = (np.mod(uv[:, 0], 1.0) * width).astype(int) % width
    row = (np.mod(uv[:, 1], 1.0) * height).astype(int) % height
    return alpha[row, column] / np.float32(255)
