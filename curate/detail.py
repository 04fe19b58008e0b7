"""What kind of motion a clip shows: pure functions of vertex positions over time.

The scores of ``curate.motion`` decide by default; these say more, and decide where a limit is set.
Lengths are in asset sizes (``curate.motion.own_size``).
"""

from dataclasses import dataclass

import numpy as np

from curate.motion import Positions, lengths, own_size

_MOVES = 1e-3  # asset sizes: what moves less stands still


@dataclass(frozen=True, slots=True)
class Detail:
    """Further scores of one window.

    Attributes:
        scale_change: largest ratio, at least 1, by which the best similarity fit to the first pose
            grows or shrinks it.
        shape_change: mean displacement left after drift, rotation and scale are taken out.
        moved_p95: 95th percentile, over times and vertices, of the displacement from the first
            pose, drift included.
        moved_max: the furthest such displacement.
        moving_share: share of vertices that get more than a thousandth of the size away.
        activity_per_s: mean path of the vertices per second.
        starts_s, stops_s: first and last time, seconds from the window's start, at which a step
            moves any vertex by more than a thousandth of the size; both 0 where nothing does.
        active_share: what lies between the two, as a share of the window.
        loop_gap: mean distance of the vertices at the clip's end from where they began.
    """

    scale_change: float
    shape_change: float
    moved_p95: float
    moved_max: float
    moving_share: float
    activity_per_s: float
    starts_s: float
    stops_s: float
    active_share: float
    loop_gap: float


def describe(points: Positions, times_s: np.ndarray, ends: Positions) -> Detail:
    """Score a window.

    Args:
        points: vertices at evenly spread times of the window.
        times_s: those times (k,), increasing.
        ends: the same vertices at the start and the end of the clip, (2, n, 3).

    Raises:
        ValueError: if there is no vertex or a position is not finite.
    """
    if points.shape[1] == 0 or not (np.isfinite(points).all() and np.isfinite(ends).all()):
        raise ValueError("positions must be finite and at least one vertex")
    points, ends = points.astype(np.float64), ends.astype(np.float64)
    size = own_size(points)
    if size == 0:
        return Detail(1.0, *[0.0] * 9)
    displacement = lengths(points - points[0]) / size  # (k, n)
    scales, residual = _similarity_fits(points)
    steps = lengths(np.diff(points, axis=0)) / size  # (k - 1, n)
    starts_s, stops_s = _active_span(steps, times_s)
    whole_s = _window_s(times_s)
    return Detail(
        scale_change=float(np.maximum(scales, 1 / np.maximum(scales, 1e-9)).max()),
        shape_change=float(residual.mean() / size),
        moved_p95=float(np.percentile(displacement, 95)),
        moved_max=float(displacement.max()),
        moving_share=float((displacement.max(axis=0) > _MOVES).mean()),
        activity_per_s=float(steps.mean(axis=1).sum() / (times_s[-1] - times_s[0]))
        if len(times_s) > 1 and times_s[-1] > times_s[0]
        else 0.0,
        starts_s=starts_s,
        stops_s=stops_s,
        active_share=min((stops_s - starts_s) / whole_s, 1.0) if whole_s > 0 else 0.0,
        loop_gap=float(lengths(ends[1] - ends[0]).mean() / size),
    )


def activity_curve(points: Positions, times_s: np.ndarray) -> list[float]:
    """Say how fast the vertices are on average within each step between two times.

    Args:
        points: vertices (k, n, 3) at times of the window, at least one vertex.
        times_s: those times (k,), increasing.

    Returns:
        k - 1 mean speeds, asset sizes per second; their mean over evenly spread times is
        ``activity_per_s``. Empty where the asset has no size.
    """
    points = points.astype(np.float64)
    size = own_size(points)
    if size == 0:
        return []
    steps = lengths(np.diff(points, axis=0)).mean(axis=1) / size
    spans = np.diff(times_s)
    return np.divide(steps, spans, out=np.zeros_like(steps), where=spans > 0).tolist()


def _window_s(times_s: np.ndarray) -> float:
    """Length of the stretch that is covered by steps."""
    return float(times_s[-1] - times_s[0])


def _active_span(steps: np.ndarray, times_s: np.ndarray) -> tuple[float, float]:
    busy = np.flatnonzero(steps.max(axis=1, initial=0.0) > _MOVES)
    if not len(busy):
        return 0.0, 0.0
    return float(times_s[busy[0]] - times_s[0]), float(times_s[busy[-1] + 1] - times_s[0])


def _similarity_fits(points: Positions) -> tuple[np.ndarray, np.ndarray]:
    """Fit each pose by a moved, rotated and scaled first pose (Umeyama, 1991).

    Returns:
        Scales (k,), and residual distances (k, n).
    """
    centred = points - (np.einsum("kni->ki", points) / points.shape[1])[:, None]
    first = centred[0]
    spread = float(np.square(first).sum())
    if spread == 0:
        return np.ones(len(points)), lengths(centred)
    u, singular, vt = np.linalg.svd(first.T @ centred)  # (k, 3, 3): one product per pose
    handed = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u[..., -1] *= handed[:, None]
    scales = (singular[:, 0] + singular[:, 1] + handed * singular[:, 2]) / spread
    fitted = scales[:, None, None] * (first @ (u @ vt))
    return scales, lengths(centred - fitted)
