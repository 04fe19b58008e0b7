"""What of a file is the object, and which of its vertices bound it: shared by Blender and host.

Plain numbers and names only, so that the process that imports bpy and the one that reads glTF on
its own decide alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Hulls that game engines use for physics; an engine never draws them, so neither do we.
_COLLISION = re.compile(
    r"^(UCX|UBX|USP|UCP|MCDCX)_|(^|[_\-. ])(collider|collision|collisions|colmesh|hitbox)"
    r"([_\-. ]?\d*)?($|[_\-. ])",
    re.IGNORECASE,
)


def collision_hulls(names: Sequence[tuple[str, str]]) -> list[bool]:
    """Tell which of the visible meshes are collision hulls, to be left out.

    Args:
        names: of each mesh's object and of its data.

    Returns:
        One flag each; all false where nothing else would stay visible.
    """
    hulls = [any(_COLLISION.search(name) for name in pair) for pair in names]
    return [False] * len(hulls) if all(hulls) else hulls


def vertex_areas(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Share out the area of triangles among their corners.

    Args:
        points: (n, 3).
        corners: (t, 3) vertices of each triangle.

    Returns:
        (n,) float64 in squared units; 0 where a position is not finite.
    """
    x, y, z = np.asarray(points, np.float64).T
    a, b, c = corners.T
    with np.errstate(all="ignore"):
        ux, uy, uz = x[b] - x[a], y[b] - y[a], z[b] - z[a]
        vx, vy, vz = x[c] - x[a], y[c] - y[a], z[c] - z[a]
        across = (uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2
        third = np.sqrt(across) / 6
    third = np.where(np.isfinite(third), third, 0.0)
    return np.bincount(np.concatenate([a, b, c]), np.tile(third, 3), minlength=len(x))


def area_growth(matrix: np.ndarray) -> np.ndarray:
    """Say by how much matrices (3, 3, ...) make areas grow, the mean over directions: (...)."""
    a, b, c = matrix
    with np.errstate(all="ignore"):
        volume = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
        growth = np.abs(volume + a[2] * (b[0] * c[1] - b[1] * c[0])) ** (2 / 3)
    return np.where(np.isfinite(growth), growth, 0.0)


@dataclass(frozen=True, slots=True)
class Picks:
    """Which vertices of a mesh are measured.

    Attributes:
        indices: (n,) ascending.
        chances: (n,) with which each is measured at all, in (0, 1]; what it stands for is divided
            by it (Horvitz and Thompson, 1952).
        vertices: out of how many.
    """

    indices: np.ndarray
    chances: np.ndarray
    vertices: int


_START = (5**0.5 - 1) / 2  # of a systematic sample, where no sum of even shares falls
_BLIND = 0.1  # of those measured are drawn whatever their area, which may grow when a clip plays


def thinned(areas: np.ndarray, points_max: int) -> Picks:
    """Choose ``points_max`` of n vertices, the likelier the more surface they stand for.

    Systematic sampling in the file's order: neighbours are spread out, and the same areas give the
    same choice.

    Args:
        areas: (n,) of each vertex; see ``vertex_areas``.
        points_max: how many are chosen; all, if there are no more.
    """
    count = len(areas)
    if count <= points_max:
        return Picks(np.arange(count), np.ones(count), count)
    total = float(areas.sum()) or 1.0
    share = (1 - _BLIND) * areas / total + _BLIND / count
    chances = np.minimum(share * _growth(share, points_max), 1.0)
    marks = np.floor(np.cumsum(chances) * (points_max / chances.sum()) + _START)
    chosen = np.flatnonzero(np.diff(marks, prepend=0.0) > 0)
    return Picks(chosen, chances[chosen], count)


def _growth(share: np.ndarray, points_max: int) -> float:
    """Find the factor by which shares (n,), none over 1, add up to ``points_max`` chances."""
    large = np.sort(share)[::-1][:points_max]
    left = 1.0 - np.concatenate([[0.0], np.cumsum(large)[:-1]])  # share of all but the i largest
    factors = (points_max - np.arange(len(large))) / left
    return float(factors[np.argmax(large * factors < 1.0)])


def _directions(count: int) -> np.ndarray:
    """Spread unit vectors evenly over the sphere (Fibonacci spiral), plus the six axes."""
    step = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * step / count), np.pi * (1 + 5**0.5) * step
    spiral = np.stack(
        [np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1
    )
    return np.concatenate([spiral, np.eye(3), -np.eye(3)])


_OUTWARD = _directions(250)
_BLOCK = 2048  # vertices looked at together, so that their products stay in the cache


def outermost(points: np.ndarray) -> np.ndarray:
    """Pick the vertices that lie furthest in 256 directions: (256, 3) of (n, 3).

    They bound the projection of the whole mesh from any side to well under a pixel.
    """
    best = np.full(len(_OUTWARD), -np.inf)
    found = np.zeros(len(_OUTWARD), np.int64)
    for start in range(0, len(points), _BLOCK):
        heights = _OUTWARD @ points[start : start + _BLOCK].T
        highest = heights.argmax(axis=1)
        height = heights[np.arange(len(best)), highest]
        better = height > best
        best[better], found[better] = height[better], highest[better] + start
    return points[found]
