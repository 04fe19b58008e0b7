"""Where an object is as a whole, over time: smooth enough for a camera to follow."""

import numpy as np
from jaxtyping import Float64

_BANDWIDTH = 0.12  # of the window: standard deviation of the weights in time
_BANDWIDTH_STEPS = 1.5  # but at least this many sample steps, where there are few
_DECIMALS = 9  # of the object's size: sums may differ in their last bits from run to run


def smooth_centres(
    points: Float64[np.ndarray, "m n 3"], shares: Float64[np.ndarray, " m"], regular: int
) -> Float64[np.ndarray, "m 3"]:
    """Follow the centre of a clip's box, smoothed in time.

    A box centre alone is unsteady: it nods with every swing of a limb, and a camera that took it
    for the object would shake. A line is fitted around each time with weights that fall off as a
    bell (local linear regression). It follows even travel exactly, also at the ends of the window,
    and takes a gait's rhythm out: of what repeats four times in the window 2 % are left, of what
    happens once 77 %.

    Args:
        points: vertices at each time, any unit.
        shares: times as shares of the window.
        regular: how many of the times, from the first on, are evenly spread; the path rests on
            these alone, so that further times do not change it.

    Returns:
        Centres in the unit of the points.
    """
    boxes = (points.min(axis=1) + points.max(axis=1)) / 2
    size = float(np.ptp(points, axis=1).max()) or 1.0
    bandwidth = max(_BANDWIDTH, _BANDWIDTH_STEPS / regular)
    lag = shares[None, :regular] - shares[:, None]  # (m, regular)
    weight = np.exp(-0.5 * np.square(lag / bandwidth))
    zeroth, first, second = ((weight * lag**power).sum(axis=1, keepdims=True) for power in range(3))
    # The line's value at lag 0 is this weighted mean of the boxes.
    share = weight * (second - first * lag) / (zeroth * second - first**2)
    centres = (share[:, :, None] * boxes[None, :regular]).sum(axis=1)
    return np.round(centres / size, _DECIMALS) * size
