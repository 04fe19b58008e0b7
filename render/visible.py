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


_GOLDEN = (5**0.5 - 1) / 2


def vertex_areas(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Share out the area of triangles among their corners.

    Args:
        points: (n, 3).
        corners: (t, 3) vertices of each triangle.

    Returns:
        (n,) float64 in squared units; 0 where a position is not finite.
    """
    at = np.asarray(points, np.float64)
    with np.errstate(all="ignore"):
        first = at[corners[:, 0]]
        across = np.cross(at[corners[:, 1]] - first, at[corners[:, 2]] - first)
        third = np.sqrt((across * across).sum(axis=1)) / 6
    third = np.where(np.isfinite(third), third, 0.0)
    return np.bincount(corners.reshape(-1), np.repeat(third, 3), minlength=len(at))


@dataclass(frozen=True, slots=True)
class Picks:
    """Which vertices of a large mesh are measured: ascending indices, and out of how many."""

    indices: np.ndarray
    vertices: int


def thinned(areas: np.ndarray, points_max: int) -> np.ndarray:
    """Choose ``points_max`` of n vertices, the likelier the more surface they stand for.

    Weighted sampling without replacement (Efraimidis and Spirakis, 2006), with a sequence of low
    discrepancy in the place of chance: neighbours in the file's order are spread out, and the same
    areas give the same choice.

    Args:
        areas: (n,) of each vertex; see ``vertex_areas``.
        points_max: how many are chosen; all, if there are no more.

    Returns:
        Their indices, ascending.
    """
    if len(areas) <= points_max:
        return np.arange(len(areas))
    weights = areas + (areas.mean() or 1.0) * 1e-6  # what has no area comes last, but may come
    even = (np.arange(len(areas)) + 0.5) * _GOLDEN % 1.0
    waits = -np.log(even) / weights
    return np.sort(np.argpartition(waits, points_max)[:points_max])


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
