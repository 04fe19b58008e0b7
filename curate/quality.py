"""How sound an asset's geometry looks at rest: pure functions of triangles.

The description is the same whoever read the file, numpy or Blender: where the corners are, which
three make a triangle, and how much of it can be seen. Nothing rests on names, on the order of
vertices, or on how a file is cut into objects.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_TOUCH = 1e-4  # of the asset's size: vertices nearer than this are one
_SHIFT = 0.381966  # of a cell: whole and half numbers must not lie on the border between two cells
_FLAT = 0.01  # of its longest side: what is thinner is a plane
NO_AREA = 1e-12  # of the size squared
_LARGE_SHARE = 0.95  # of the surface that the large parts hold
_CLEAR = 1 / 255  # what lets more light through than this shows in no 8-bit image


@dataclass(frozen=True, slots=True)
class Still:
    """The visible geometry of an asset at rest.

    Attributes:
        points: (n, 3) float64, z up, asset units.
        triangles: (m, 3) indices of points.
        opacity: (m,) 0 to 1; a texture's alpha is not looked at.
    """

    points: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "m 3"]
    opacity: Float[np.ndarray, " m"]


@dataclass(frozen=True, slots=True)
class Quality:
    """Scores of an asset at rest.

    Attributes:
        parts: pieces of surface that touch no other; vertices nearer than 1/10,000 of the size
            touch.
        far_part_ratio: longest side of the box of all, over that of the large parts, which
            together hold 95 % of the surface. 1: nothing small lies far off.
        backdrop_share: share of the surface in flat parts that are as long as all the rest; 0
            where nothing else is there.
        degenerate_share: share of triangles without an area.
        visible_share: share of the surface that is not wholly transparent.
    """

    parts: int
    far_part_ratio: float
    backdrop_share: float
    degenerate_share: float
    visible_share: float


def survey(still: Still) -> Quality | None:
    """Score an asset; None where it has no triangles, no size, or positions that are not finite."""
    corners = still.points[still.triangles]  # (m, 3, 3)
    if not len(corners) or not np.isfinite(corners).all():
        return None
    low = corners.reshape(-1, 3).min(axis=0)
    size = float((corners.reshape(-1, 3).max(axis=0) - low).max())
    if not 0 < size < np.inf:
        return None
    corners = (corners - low) / size
    area = areas(corners)
    solid = area > NO_AREA
    degenerate = 1 - float(solid.mean())
    if not solid.any():
        return Quality(0, 1.0, 0.0, degenerate, 0.0)
    corners, area = corners[solid], area[solid]
    part, count = parts_of(corners)
    low, high, share = _boxes(corners, area, part, count)
    return Quality(
        parts=count,
        far_part_ratio=_far_part_ratio(low, high, share),
        backdrop_share=_backdrop_share(low, high, share, _thickness(corners, part, count)),
        degenerate_share=degenerate,
        visible_share=float(area[still.opacity[solid] > _CLEAR].sum() / area.sum()),
    )


def areas(corners: Float[np.ndarray, "m 3 3"]) -> Float[np.ndarray, " m"]:
    """Areas of triangles given by their corners."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = np.cross(a, b)
    return np.sqrt(np.einsum("mi,mi->m", cross, cross)) / 2


def parts_of(corners: Float[np.ndarray, "m 3 3"]) -> tuple[Int[np.ndarray, " m"], int]:
    """Number the connected pieces: of each triangle its piece, and how many there are.

    Files split vertices at seams of textures and normals, so places count, not indices.
    """
    cells = np.floor(corners.reshape(-1, 3) / _TOUCH + _SHIFT).astype(np.int64)
    cells -= cells.min(axis=0)
    span = cells.max(axis=0) + 1
    keys = (cells[:, 0] * span[1] + cells[:, 1]) * span[2] + cells[:, 2]
    _, place = np.unique(keys, return_inverse=True)
    place = place.reshape(-1, 3)
    label = _components(place, int(place.max()) + 1)[place[:, 0]]
    names, part = np.unique(label, return_inverse=True)
    return part, len(names)


def _components(triangles: np.ndarray, count: int) -> np.ndarray:
    """Give vertices that triangles connect the same number, (count,).

    Each round hangs the larger of two roots under the smaller, for all edges at once, then lets
    every vertex look up its root (Shiloach and Vishkin, 1982).
    """
    a = np.concatenate([triangles[:, 0], triangles[:, 1]])
    b = np.concatenate([triangles[:, 1], triangles[:, 2]])
    root = np.arange(count)
    while True:
        ra, rb = root[a], root[b]
        apart = ra != rb
        if not apart.any():
            return root
        a, b, ra, rb = a[apart], b[apart], ra[apart], rb[apart]
        np.minimum.at(root, np.maximum(ra, rb), np.minimum(ra, rb))
        while (deeper := root[root]).tobytes() != root.tobytes():
            root = deeper


def _boxes(
    corners: np.ndarray, area: np.ndarray, part: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of the parts, (p, 3) low and high, and their shares of the surface, (p,)."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    order = np.argsort(part, kind="stable")
    starts = np.searchsorted(part[order], np.arange(count))
    low = np.minimum.reduceat(corners[order].min(axis=1), starts)
    high = np.maximum.reduceat(corners[order].max(axis=1), starts)
    surface = np.bincount(part, area, count)
    return low, high, surface / surface.sum()


def _far_part_ratio(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> float:
    order = np.argsort(-share, kind="stable")
    needed = int(np.searchsorted(np.cumsum(share[order]), _LARGE_SHARE)) + 1
    # parts as large as the smallest that is needed count too, so that no order of equals decides
    large = share >= share[order[min(needed, len(order)) - 1]] * (1 - 1e-6)
    core = (high[large].max(axis=0) - low[large].min(axis=0)).max()
    whole = (high.max(axis=0) - low.min(axis=0)).max()
    return float(whole / core)


def _thickness(corners: np.ndarray, part: np.ndarray, count: int) -> np.ndarray:
    """How thick parts are along their flattest direction, over their longest one, (p,).

    Standard deviations of the corners along the principal axes.
    """
    points = corners.reshape(-1, 3)
    owner = np.repeat(part, 3)
    number = np.bincount(owner, minlength=count)
    centre = np.stack([np.bincount(owner, points[:, i], count) for i in range(3)], 1)
    points = points - (centre / number[:, None])[owner]
    spread = np.empty((count, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            spread[:, i, j] = np.bincount(owner, points[:, i] * points[:, j], count)
            spread[:, j, i] = spread[:, i, j]
    along = np.sqrt(np.maximum(np.linalg.eigvalsh(spread), 0))  # (p, 3) ascending
    return along[:, 0] / along[:, 2]


def _backdrop_share(
    low: np.ndarray, high: np.ndarray, share: np.ndarray, thickness: np.ndarray
) -> float:
    flat = thickness < _FLAT
    if flat.all() or not flat.any():
        return 0.0
    rest = (high[~flat].max(axis=0) - low[~flat].min(axis=0)).max()
    long = (high - low).max(axis=1) >= rest * (1 - 1e-6)
    return float(share[flat & long].sum())
