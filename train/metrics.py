"""Metrics of generated orbits that need no trained weights; others are in ``train.perceptual``.

Clips are (b, t, c, h, w) in [-1, 1], over white.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor
from torch.nn import functional

from train.losses import motion_of

_MSE_MIN = 1e-10  # 100 dB: identical clips do not give infinity
_INK = 0.05  # of the range from black to white: what differs more from white is the object
_CUBE = 1.5  # side of the carved cube, world units: the unit cube with room around
_CARVED_PX = 48  # masks are carved at no more than this: hulls cost their third power

Clips = Float32[Tensor, "b t c h w"]


def psnr_db(
    guess: Clips, truth: Clips, frames: Bool[Tensor, " t"] | None = None
) -> Float64[np.ndarray, " b"]:
    """Peak signal to noise ratio of each clip.

    From the mean squared error over all its frames and pixels, the given first one too; or over
    some ``frames`` of it.
    """
    if frames is not None:
        guess, truth = guess[:, frames], truth[:, frames]
    error = ((guess.double() - truth.double()) / 2).square().flatten(1).mean(dim=1)
    return (-10 * torch.log10(error.clamp(min=_MSE_MIN))).cpu().numpy()


def ssim(guess: Clips, truth: Clips) -> Float64[np.ndarray, " b"]:
    """Structural similarity (Wang et al. 2004) of each clip, the mean over its frames.

    scikit-image's with the paper's Gaussian window of 11 px, per colour channel. NaN where frames
    are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(guess.shape[-2:]) < 11:
        return np.full(len(guess), np.nan)
    pairs = [((c.double() + 1) / 2).flatten(0, 1).cpu().numpy() for c in (guess, truth)]
    settings: dict[str, Any] = {
        **{"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5},
        "use_sample_covariance": False,
    }
    each = [structural_similarity(a, b, **settings) for a, b in zip(*pairs, strict=True)]
    return np.array(each, dtype=np.float64).reshape(guess.shape[:2]).mean(axis=1)


def measured_motion(clips: Clips, frozen: Clips, scale: float) -> Float64[np.ndarray, " b"]:
    """Motion magnitude m of clips against frozen orbits, in the unit that models are asked in.

    Whatever differs from the frozen orbit counts, what a model gets wrong of the object too.

    Args:
        clips: generated or true.
        frozen: true frozen orbits at the same cameras.
        scale: ``data.motion_scale``.
    """
    return scale * motion_of(clips.double() / 2, frozen.double() / 2).cpu().numpy()


def away_from_front(azimuth_deg: list[float]) -> Bool[Tensor, " t"]:
    """Say which frames show sides and back: 45 degrees or more from the first one."""
    turn = torch.tensor(azimuth_deg, dtype=torch.float64) - azimuth_deg[0]
    return ((turn + 180) % 360 - 180).abs() >= 45 - 1e-6


def silhouette_coherence(
    clips: Clips, camera: Float32[Tensor, "b t 4 4"], fov_deg: float
) -> Float64[np.ndarray, " b"]:
    """Say how well the views of a frozen orbit agree about one solid: 1 = wholly, 0 = not at all.

    The silhouettes of all views carve a visual hull, which is projected back: the share of each
    silhouette that it covers, the mean over views (Hernandez et al., Silhouette Coherence for
    Camera Calibration under Circular Motion, 2007). True orbits of a frozen object reach 1 up to
    the grid. NaN for empty clips.

    Args:
        clips: orbits of an object that does not move.
        camera: camera-to-world matrices, OpenCV axes, world units.
        fov_deg: across the image.
    """
    ink = (1 - clips.min(dim=2).values) / 2 > _INK  # (b, t, h, w)
    side = min(_CARVED_PX, ink.shape[-1])
    masks = functional.interpolate(ink.float(), size=(side, side), mode="area") >= 0.5
    found = [_coherence(m, c, fov_deg) for m, c in zip(masks, camera.float(), strict=True)]
    return np.array(found, dtype=np.float64)


def _coherence(masks: Bool[Tensor, "t s s"], camera: Float32[Tensor, "t 4 4"], fov: float) -> float:
    side = masks.shape[-1]
    focal = side / 2 / math.tan(math.radians(fov) / 2)
    line = ((torch.arange(2 * side, device=masks.device) + 0.5) / (2 * side) - 0.5) * _CUBE
    hull = torch.cartesian_prod(line, line, line)
    seen: list[Tensor] = []
    for mask, pose in zip(masks, camera, strict=True):
        place, inside = _projected(hull, pose, focal, side)
        kept = inside & mask.flatten()[place]
        hull, seen = hull[kept], [row[kept] for row in (*seen, place)]
    shares = [
        len(places.unique()) / count if (count := int(mask.sum())) else math.nan
        for places, mask in zip(seen, masks, strict=True)
    ]
    return float(np.mean(shares))


def _projected(
    points: Float32[Tensor, "n 3"], pose: Float32[Tensor, "4 4"], focal: float, side: int
) -> tuple[Tensor, Tensor]:
    """Give the number of the pixel that each point falls on, and whether there is one."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixel = (local[:, :2] / local[:, 2:].clamp(min=1e-6) * focal + side / 2).floor().long()
    inside = ((pixel >= 0) & (pixel < side)).all(dim=1) & (local[:, 2] > 0)
    pixel = pixel.clamp(0, side - 1)
    return pixel[:, 1] * side + pixel[:, 0], inside


def frechet_distance(one: Float64[np.ndarray, "n d"], other: Float64[np.ndarray, "m d"]) -> float:
    """Frechet distance of two sets of features taken as Gaussians (Heusel et al. 2017, eq. 6).

    NaN for sets of fewer than two.
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    # trace of the root of a @ b, whose eigenvalues are real and not negative
    roots = np.sqrt(np.linalg.eigvals(a @ b).real.clip(min=0))
    apart = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return float(apart + np.trace(a) + np.trace(b) - 2 * roots.sum())
