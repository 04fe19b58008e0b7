"""What of a file is the object, and which of its vertices bound it: shared by Blender and host.

Plain numbers and names only, so that the process that imports bpy and the one that reads glTF on
its own decide alike.
"""

import re
from collections.abc import Sequence

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


def every_nth(count: int, points_max: int) -> int:
    """Choose the step by which vertices are thinned to at most ``points_max``."""
    return max(-(-count // points_max), 1)


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
