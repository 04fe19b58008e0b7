"""Short vectors by which copies of a shape, and of a motion, are known again.

Pure functions. All values are sums over triangles or vertices, so no order matters, and they are
smooth: rounding moves them by as little as it moves the vertices. ``shards.likeness`` compares.
"""

import numpy as np

from curate.motion import Positions, Weights, by_axis, lengths, norms, shares
from curate.quality import NO_AREA, Still, areas
from shards.likeness import Sketch
from shards.seeding import rng_for

CLIP_DIMS = 16
_MOMENTS = (1.0, 3.0, 4.0, 6.0)
_MIRRORED = 50.0  # how much more the side counts than other moments: most shapes hardly have one


def geometry_sketch(still: Still) -> Sketch | None:
    """Describe a shape so that moving, turning and scaling it as a whole change nothing.

    Lengths are in units of the surface's root mean square distance from its centre. A mirrored
    copy differs where the shape is clearly lopsided.

    Returns:
        How many triangles have an area, and 14 moments of the surface and of their corners; None
        where there is no surface.
    """
    corners = still.points[still.triangles]
    if not len(corners) or not np.isfinite(corners).all():
        return None
    size = float(np.ptp(corners.reshape(-1, 3), axis=0).max())
    if not 0 < size < np.inf:
        return None
    corners = (corners - corners[0, 0]) / size
    area = areas(corners)
    solid = area > NO_AREA
    if not solid.any():
        return None
    corners, area = corners[solid], area[solid]
    share = area / area.sum()
    middle = corners.mean(axis=1)  # (m, 3) centres of the triangles
    centre = share @ middle
    corners, middle = corners - centre, middle - centre
    covariance = _covariance(corners, middle, share)
    radius = float(np.sqrt(np.trace(covariance)))
    corners, middle, covariance = corners / radius, middle / radius, covariance / radius**2
    away = lengths(middle)
    spread = np.linalg.eigvalsh(covariance)
    uneven = (share * away**2) @ middle  # which way the surface reaches further
    reach = lengths(corners)  # (m, 3): of each corner, however large its triangle
    surface = [float(share @ away**power) ** (1 / power) for power in _MOMENTS]
    mesh = [float((reach**power).mean()) ** (1 / power) for power in _MOMENTS]
    edges = lengths(corners - np.roll(corners, 1, axis=1)).sum(axis=1)
    fine = [float(share @ edges), float(edges.mean())]
    values = [*surface[:2], *mesh[:2], *fine, *surface[2:], *mesh[2:], *spread[:2].tolist()]
    values += [float(np.linalg.norm(uneven)), _MIRRORED * _handedness(uneven, covariance)]
    return Sketch(len(area), np.array(values))


def clip_sketch(points: Positions, weights: Weights | None = None) -> Sketch | None:
    """Describe a motion of a shape: how it is displaced at each time, up to its first moments.

    Units and place of the asset change nothing; its direction does, as it does in a render. So
    does time: a clip that plays backwards differs, and a step to the left from one to the right.

    Args:
        points: vertices (k, n, 3) at evenly spread times of the window.
        weights: how much surface each stands for.

    Returns:
        How many times, and 16 fixed random projections of all the moments; None where nothing has
        a size.
    """
    at, share = by_axis(points), shares(points, weights)
    first = at[0] - (at[0] @ share)[:, None]
    radius = float(np.sqrt(((first * first) @ share).sum()))
    if not 0 < radius < np.inf:
        return None
    first, moved = first / radius, (at - at[0]) / radius
    far = norms(moved)
    weighed = first * share
    moments = np.concatenate(
        [
            moved @ share,
            far @ weighed.T,
            (weighed @ moved.swapaxes(1, 2)).reshape(len(points), 9),
            moved @ (np.einsum("in,in->n", first, first) * share),
            (far @ share)[:, None],
        ],
        axis=1,
    )  # (k, 19)
    return Sketch(len(points), moments.reshape(-1) @ _projection(moments.size))


def _covariance(corners: np.ndarray, middle: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Second moments of a surface about the origin, exact for flat triangles, (3, 3)."""
    at_corners = np.einsum("m,mci,mcj->ij", share, corners, corners)
    at_middle = np.einsum("m,mi,mj->ij", share, middle, middle)
    return (at_corners + 9 * at_middle) / 12


def _handedness(uneven: np.ndarray, covariance: np.ndarray) -> float:
    """Return a length whose sign a mirror turns; 0 for what is its own mirror image.

    The volume between three directions that a shape has, divided by their lengths so far that it
    changes by no more than its vertices do.
    """
    long = covariance - np.eye(3) * np.trace(covariance) / 3  # else the three hardly differ
    axes = np.stack([uneven, long @ uneven, long @ long @ uneven])
    product = float(np.prod(lengths(axes)))
    return float(np.linalg.det(axes)) / product ** (2 / 3) if product > 0 else 0.0


def _projection(count: int) -> np.ndarray:
    if count not in _PROJECTIONS:
        draw = rng_for(0, "clip sketch", count)
        # of signs, since NumPy keeps integers the same across its versions
        signs = draw.integers(0, 2, (count, CLIP_DIMS)) * 2.0 - 1.0
        _PROJECTIONS[count] = signs / np.sqrt(CLIP_DIMS)
    return _PROJECTIONS[count]


_PROJECTIONS: dict[int, np.ndarray] = {}
