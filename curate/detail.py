"""What kind of motion a clip shows: pure functions of vertex positions over time.

The scores of ``curate.motion`` decide by default; these say more, and decide where a limit is set.
Lengths are in asset sizes (``curate.motion.own_size``), vertices count by their surface.
"""

from dataclasses import dataclass

import numpy as np

from curate.motion import Positions, Weights, by_axis, norms, own_size, quantile, shares

_MOVES = 1e-3  # asset sizes: what moves less stands still


@dataclass(frozen=True, slots=True)
class Detail:
    """Further scores of one window.

    Attributes:
        scale_change: largest ratio, at least 1, by which the best similarity fit to the first pose
            grows or shrinks it.
        shape_change: mean displacement left after drift, rotation and scale are taken out.
        moved_p95: 95th percentile, over times and surface, of the displacement from the first
            pose, drift included.
        moved_max: the furthest such displacement.
        moving_share: share of the surface that gets more than a thousandth of the size away.
        activity_per_s: mean path of the surface per second.
        starts_s, stops_s: first and last time, seconds from the window's start, at which a step
            moves any vertex by more than a thousandth of the size; both 0 where nothing does.
        active_share: what lies between the two, as a share of the window.
        loop_gap: mean distance of the surface at the clip's end from where they began.
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


def describe(
    points: Positions, times_s: np.ndarray, ends: Positions, weights: Weights | None = None
) -> Detail:
    """Score a window.

    Args:
        points: vertices at evenly spread times of the window.
        times_s: those times (k,), increasing.
        ends: the same vertices at the start and the end of the clip, (2, n, 3).
        weights: how much surface each vertex stands for.

    Raises:
        ValueError: if there is no vertex or a position is not finite.
    """
    if points.shape[1] == 0 or not (np.isfinite(points).all() and np.isfinite(ends).all()):
        raise ValueError("positions must be finite and at least one vertex")
    at, last, share = by_axis(points), by_axis(ends), shares(points, weights)
    size = own_size(at.swapaxes(1, 2))
    if size == 0:
        return Detail(1.0, *[0.0] * 9)
    displacement = norms(at - at[0]) / size  # (k, n)
    scales, residual = _similarity_fits(at, share)
    steps = norms(np.diff(at, axis=0)) / size  # (k - 1, n)
    starts_s, stops_s = _active_span(steps, times_s)
    whole_s = _window_s(times_s)
    return Detail(
        scale_change=float(np.maximum(scales, 1 / np.maximum(scales, 1e-9)).max()),
        shape_change=float((residual @ share).mean() / size),
        moved_p95=quantile(displacement, share, 0.95),
        moved_max=float(displacement.max()),
        moving_share=float(share[displacement.max(axis=0) > _MOVES].sum()),
        activity_per_s=float((steps @ share).sum() / (times_s[-1] - times_s[0]))
        if len(times_s) > 1 and times_s[-1] > times_s[0]
        else 0.0,
        starts_s=starts_s,
        stops_s=stops_s,
        active_share=min((stops_s - starts_s) / whole_s, 1.0) if whole_s > 0 else 0.0,
        loop_gap=float(norms(np.diff(last, axis=0))[0] @ share / size),
    )


def activity_curve(
    points: Positions, times_s: np.ndarray, weights: Weights | None = None
) -> list[float]:
    """Say how fast the surface is on average within each step between two times.

    Args:
        points: vertices (k, n, 3) at times of the window, at least one vertex.
        times_s: those times (k,), increasing.
        weights: how much surface each vertex stands for.

    Returns:
        k - 1 mean speeds, asset sizes per second; their mean over evenly spread times is
        ``activity_per_s``. Empty where the asset has no size.
    """
    at, share = by_axis(points), shares(points, weights)
    size = own_size(at.swapaxes(1, 2))
    if size == 0:
        return []
    steps = norms(np.diff(at, axis=0)) @ share / size
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


def _similarity_fits(at: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit each pose (k, 3, n) by a moved, rotated and scaled first pose (Umeyama, 1991).

    Returns:
        Scales (k,), and residual distances (k, n).
    """
    centred = at - (at @ share)[:, :, None]
    first = centred[0] * share
    spread = float((first * centred[0]).sum())
    if spread == 0:
        return np.ones(len(at)), norms(centred)
    u, singular, vt = np.linalg.svd(first @ centred.swapaxes(1, 2))  # (k, 3, 3)
    handed = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u[..., -1] *= handed[:, None]
    scales = (singular[:, 0] + singular[:, 1] + handed * singular[:, 2]) / spread
    fitted = scales[:, None, None] * ((u @ vt).swapaxes(1, 2) @ centred[0])
    return scales, norms(centred - fitted)
