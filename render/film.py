"""From linear samples to 8-bit images: the pixel filter, exact coverage, and the view transform.

Blender renders ``supersampling`` times finer than the image, each small pixel an average over its
own area, and the pixel filter is applied here. A sample then counts in all the pixels whose filter
reaches it, not in one, which at equal samples gains 3 to 5 dB over filtering in the renderer. What
noise is left sits on silhouettes, where few samples decide how much of a pixel is covered; there
alpha is replaced by the share of many rays that meet the surface.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import OpenEXR
from jaxtyping import Float32, UInt8

_BLACKMAN_HARRIS = (0.35875, -0.48829, 0.14128, -0.01168)
_FAINT = 1e-3  # alpha under which a pixel's colour is not known well enough to divide by alpha
_APART = 0.4  # no honest average of samples is that far from the share of rays: another surface


def read_exr(path: Path) -> Float32[np.ndarray, "h w 4"]:
    """Read linear RGB times alpha, and alpha."""
    with OpenEXR.File(str(path)) as file:
        return file.channels()["RGBA"].pixels.astype(np.float32)


def filter_weight(offset_px: np.ndarray, width_px: float) -> np.ndarray:
    """Evaluate the Blackman-Harris window as Cycles uses it: zero beyond ``width_px`` (radius)."""
    phase = np.pi * (offset_px / width_px + 1)
    terms = [a * np.cos(i * phase) for i, a in enumerate(_BLACKMAN_HARRIS)]
    return np.where(np.abs(offset_px) < width_px, np.sum(terms, axis=0), 0.0)


@lru_cache(maxsize=8)
def _taps(width_px: float, fine: int) -> tuple[tuple[int, float], ...]:
    """Return (offset in small pixels from a pixel's first one, weight); the weights add up to 1."""
    reach = int(np.ceil(width_px)) * fine
    steps = np.arange(-reach, reach + fine)
    weights = filter_weight((steps + 0.5) / fine - 0.5, width_px)
    weights /= weights.sum()
    return tuple((int(s), float(w)) for s, w in zip(steps, weights, strict=True) if w > 0)


def shrink(
    image: Float32[np.ndarray, "hf wf c"], fine: int, width_px: float
) -> Float32[np.ndarray, "h w c"]:
    """Filter an image that is ``fine`` times too large down to its pixels."""
    for axis in (0, 1):
        size = image.shape[axis] // fine
        taps = _taps(width_px, fine)
        low, high = -min(taps)[0], max(taps)[0] + 1
        margin = [(0, 0)] * 3
        margin[axis] = (low, high)
        padded = np.pad(image, margin, mode="edge")  # what lies beyond the frame is not known
        total = np.zeros((*image.shape[:axis], size, *image.shape[axis + 1 :]), np.float32)
        for step, weight in taps:
            start = low + step
            picked = slice(start, start + (size - 1) * fine + 1, fine)
            total += np.float32(weight) * (padded[picked] if axis == 0 else padded[:, picked])
        image = total
    return image


@lru_cache(maxsize=8)
def sample_offsets(count: int, width_px: float) -> np.ndarray:
    """Place rays around a pixel's centre, as dense as the pixel filter is heavy.

    Returns:
        (count, 2) offsets in pixels: Hammersley's point set through the filter's inverse
        distribution, so that plain counting weighs as the filter does.
    """
    index = np.arange(count)
    bits = max(int(np.ceil(np.log2(count))), 1)
    radical = sum(((index >> bit) & 1) / 2.0 ** (bit + 1) for bit in range(bits))
    uniform = np.stack([(index + 0.5) / count, radical + 0.5 / 2**bits], axis=1)
    grid = np.linspace(-width_px, width_px, 4001)
    density = filter_weight(grid, width_px)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(uniform, cumulative / cumulative[-1], grid)


Coverage = Callable[[np.ndarray], np.ndarray]


def develop(
    linear: Float32[np.ndarray, "hf wf 4"],
    fine: int,
    filter_width_px: float,
    coverage: Coverage | None,
    corner: tuple[int, int] = (0, 0),
) -> UInt8[np.ndarray, "h w 4"]:
    """Turn what Blender rendered into an image: straight alpha, sRGB (view transform Standard).

    Args:
        linear: linear RGB times alpha, and alpha; ``fine`` times the image's size.
        fine: supersampling; 1 means that the renderer has applied the pixel filter.
        filter_width_px: radius of the pixel filter, in pixels of the image.
        coverage: given pixels (n, 2) as (row, column), returns the filtered share of each that
            the object covers, (n,), NaN where it cannot be told; none: alpha stays as rendered.
        corner: row and column of the first pixel, where ``linear`` is a part of the frame.
    """
    rows, columns = np.nonzero(linear[..., 3].any(axis=1))[0], np.nonzero(linear[..., 3].any(0))[0]
    height, width = linear.shape[0] // fine, linear.shape[1] // fine
    image = np.zeros((height, width, 4), np.uint8)
    if len(rows) == 0:
        return image
    reach = int(np.ceil(filter_width_px)) + 1
    top, left = (max(int(found[0]) // fine - reach, 0) for found in (rows, columns))
    bottom, right = int(rows[-1]) // fine + reach + 1, int(columns[-1]) // fine + reach + 1
    part = linear[top * fine : bottom * fine, left * fine : right * fine]
    part = shrink(part, fine, filter_width_px) if fine > 1 else part
    alpha = np.clip(part[..., 3], 0.0, 1.0)
    colour = part[..., :3] / np.maximum(part[..., 3:], _FAINT)
    if coverage is not None:
        alpha = _covered(alpha, coverage, top + corner[0], left + corner[1])
    picture = np.concatenate([_encode_srgb(colour), alpha[..., None]], axis=-1)
    image[top:bottom, left:right] = np.round(picture * 255)
    return image


def _covered(alpha: np.ndarray, coverage: Coverage, top: int, left: int) -> np.ndarray:
    edge = np.argwhere((alpha > _FAINT) & (alpha < 1 - _FAINT))
    share = coverage(edge + np.array([top, left]))
    rendered = alpha[edge[:, 0], edge[:, 1]]
    trusted = np.abs(share - rendered) < _APART  # false for NaN
    alpha = alpha.copy()
    alpha[edge[trusted, 0], edge[trusted, 1]] = share[trusted]
    return alpha


def _encode_srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
