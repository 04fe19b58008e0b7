"""How a clip moves: pure functions of vertex positions over time.

Positions are float arrays (k, n, 3), z up, any unit; results are in units of the asset's own size,
so a mouse and a house that move alike score alike. Vertices count by the surface they stand for
(``weights``), so it does not matter how finely a part is cut, or where a file splits its vertices.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Positions = Float[np.ndarray, "k n 3"]
Weights = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Motion:
    """Scores of one window. All lengths are in asset sizes.

    Attributes:
        size: the asset's size in its own unit: see ``own_size``.
        motion: mean over times and surface of the displacement from the first pose, after the
            translation of the whole (its centre) is taken out.
        drift: furthest that the whole is translated from where it stood at the start.
        rotation_deg: largest rotation of the best rigid fit (Kabsch) to the first pose.
        deformation: mean displacement that the best rigid fit leaves over.
        moved_most: the 99th percentile over the surface of its furthest displacement, drift taken
            out: a small part that moves a lot shows here and not in the mean.
        step: largest mean displacement within one step between samples, drift included.
        step_share: share of the whole path that this step holds; 1 means nothing else moves.
        reach: furthest distance of any vertex from the centre of the first pose.
    """

    size: float
    motion: float
    drift: float
    rotation_deg: float
    deformation: float
    moved_most: float
    step: float
    step_share: float
    reach: float


def measure(points: Positions, weights: Weights | None = None) -> Motion:
    """Measure a window from its vertices at each sample time.

    Raises:
        ValueError: if there is no vertex or a position is not finite.
    """
    if points.shape[1] == 0 or not np.isfinite(points).all():
        raise ValueError("positions must be finite and at least one vertex")
    at, share = by_axis(points), shares(points, weights)
    size = own_size(at.swapaxes(1, 2))
    if size == 0:
        return Motion(0.0, *[0.0] * 8)
    centres = at @ share  # (k, 3)
    drift = centres - centres[0]
    local = at - drift[:, :, None]
    displacement = norms(local - local[0])  # (k, n)
    angles, residual = _rigid_fits(at - centres[:, :, None], share)
    steps = norms(np.diff(at, axis=0)) @ share  # (k - 1,)
    return Motion(
        size=size,
        motion=float((displacement @ share).mean() / size),
        drift=float(np.linalg.norm(drift, axis=-1).max() / size),
        rotation_deg=float(angles.max()),
        deformation=float((residual @ share).mean() / size),
        moved_most=quantile(displacement.max(axis=0), share, 0.99) / size,
        step=float(steps.max() / size),
        step_share=float(steps.max() / steps.sum()) if steps.any() else 0.0,
        reach=float(norms(at - centres[0][:, None]).max() / size),
    )


def by_axis(points: Positions) -> np.ndarray:
    """Lay positions out as float64 (k, 3, n), which numpy goes through several times faster."""
    return np.ascontiguousarray(points.swapaxes(1, 2), np.float64)


def shares(points: Positions, weights: Weights | None) -> np.ndarray:
    """Scale the weights of vertices to a sum of 1, (n,); equal ones if none has any."""
    count = points.shape[1]
    if weights is None or not 0 < (total := float(weights.sum())) < np.inf:
        return np.full(count, 1 / count)
    return weights / total


def norms(vectors: np.ndarray) -> np.ndarray:
    """Lengths (k, n) of vectors (k, 3, n)."""
    return np.sqrt(np.einsum("kin,kin->kn", vectors, vectors))


_BINS = 1024


def quantile(values: np.ndarray, share: np.ndarray, level: float) -> float:
    """Find the least of ``values`` (..., n), none negative, that a share ``level`` does not exceed.

    Args:
        values: such lists, taken together.
        share: (n,) of each value in its list; their sum is 1.
        level: 0 to 1.
    """
    share = np.broadcast_to(share, values.shape).reshape(-1)
    values, wanted = values.reshape(-1), level * share.sum() * (1 - 1e-12)
    if not (largest := values.max()):
        return 0.0
    number = (values * (_BINS / largest)).astype(np.int64)  # sorting all of them takes long
    reached = np.cumsum(np.bincount(number, share))
    here = int(np.searchsorted(reached, wanted))
    below = reached[here - 1] if here else 0.0
    some = np.flatnonzero(number == here)
    some = some[np.argsort(values[some])]
    place = int(np.searchsorted(below + np.cumsum(share[some]), wanted))
    return float(values[some[min(place, len(some) - 1)]])


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Lengths of vectors (..., 3); several times faster than ``np.linalg.norm``."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))


def own_size(points: Positions) -> float:
    """Return the asset's size: the longest side of its box, the lower quartile over time.

    The lower quartile, because a part that flies off makes the later boxes larger than the thing
    it left; not the smallest, because an asset may grow from nothing.
    """
    sides = np.ptp(by_axis(points), axis=2).max(axis=-1)  # (k,)
    return float(np.percentile(sides, 25)) or float(sides.max())


def _rigid_fits(centred: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit each pose (k, 3, n) by a rotation of the first (Kabsch, 1976).

    Returns:
        Rotation angles in degrees (k,), and residual distances (k, n).
    """
    first = centred[0]
    u, spread, vt = np.linalg.svd((first * share) @ centred.swapaxes(1, 2))  # (k, 3, 3)
    arc = _angle(np.cross(u[..., 0], vt[:, 0]), (u[..., 0] * vt[:, 0]).sum(axis=-1))
    handed = np.sign(np.linalg.det(u @ vt))
    u[..., -1] *= np.where(handed == 0, 1, handed)[:, None]
    rotation = u @ vt  # row vectors: pose = first @ rotation
    axis = (rotation - rotation.swapaxes(1, 2))[:, [1, 2, 0], [2, 0, 1]] / 2  # times the sine
    angles = _angle(axis, (np.trace(rotation, axis1=1, axis2=2) - 1) / 2)
    angles = np.where(spread[:, 1] <= 1e-9 * spread[:, 0], arc, angles)  # a line shows no roll
    residual = norms(centred - rotation.swapaxes(1, 2) @ first)
    return angles, residual


def _angle(sine_vector: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    return np.rad2deg(np.arctan2(np.linalg.norm(sine_vector, axis=-1), cosine))


def busiest_window(
    points: Positions, times_s: np.ndarray, length_s: float, weights: Weights | None = None
) -> tuple[float, float]:
    """Find the stretch of a long clip with the most motion.

    Args:
        points: vertices at coarse times over the whole clip.
        times_s: those times (k,), increasing, in seconds.
        length_s: length of the window; shorter than the clip.
        weights: how much surface each vertex stands for.

    Returns:
        Start and stop in seconds. Path length is spread evenly within each coarse step; of equal
        windows the earliest wins.
    """
    at, share = by_axis(points), shares(points, weights)
    centres = at @ share
    whole = lengths(np.diff(centres, axis=0))
    steps = norms(np.diff(at - centres[:, :, None], axis=0)) @ share + whole
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    last = max(float(times_s[-1]) - length_s, float(times_s[0]))
    # What a window holds is linear in its start but where one of its ends meets a coarse time.
    starts = np.union1d(times_s, times_s - length_s)
    starts = np.append(starts[(starts >= times_s[0]) & (starts < last)], last)
    gained = np.interp(starts + length_s, times_s, travelled) - np.interp(
        starts, times_s, travelled
    )
    best = int(np.argmax(gained > gained.max() * (1 - 1e-9)))
    return float(starts[best]), float(starts[best] + length_s)
