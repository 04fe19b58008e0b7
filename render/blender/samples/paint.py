"""Colours and patterns. A paint is a function from texels to (h, w, 3) sRGB values in 0..1."""

from collections.abc import Sequence

import numpy as np

from render.blender.samples.surface import Array, Paint, Point, Texels


def colour(code: str) -> Array:
    """Read ``#rrggbb`` as three values in 0..1."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def plain(code: str) -> Paint:
    """Paint one colour all over."""
    return lambda s: fill(s, code)


def fill(s: Texels, code: str) -> Array:
    """Start a picture with one colour."""
    return np.broadcast_to(colour(code), s.p.shape).copy()


def over(below: Array, code: str, mask: Array) -> Array:
    """Lay a colour over a picture where the mask is 1."""
    m = np.clip(np.asarray(mask, float), 0, 1)[..., None]
    return below * (1 - m) + colour(code) * m


def fade(low: str, high: str, share: Array) -> Array:
    """Blend two colours; share 0 is the first."""
    m = np.clip(share, 0, 1)[..., None]
    return colour(low) * (1 - m) + colour(high) * m


def disc(q: Array, towards: Point, degrees: float) -> Array:
    """Mask the directions within an angle of one."""
    unit = np.asarray(towards, float) / np.linalg.norm(towards)
    far = q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-9)
    return far @ unit > np.cos(np.deg2rad(degrees))


def band(x: Array, low: float, high: float) -> Array:
    """Mask where x lies between two values."""
    return (x > low) & (x < high)


def stripes(x: Array, count: float, share: float = 0.5) -> Array:
    """Mask a share of each of ``count`` periods per unit of x."""
    return (x * count) % 1.0 < share


def checks(x: Array, y: Array, count: float) -> Array:
    """Mask every other square of a board."""
    return (np.floor(x * count) + np.floor(y * count)) % 2 < 0.5


def spots(q: Array, rng: np.random.Generator, count: int, degrees: tuple[float, float]) -> Array:
    """Mask round spots strewn evenly over all directions, their radii between two angles."""
    k = np.arange(count) + 0.5
    up, around = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - up**2)
    centres = np.stack([flat * np.cos(around), flat * np.sin(around), up], axis=-1)
    centres += rng.normal(0, 0.12, centres.shape)
    sizes = rng.uniform(*degrees, count)
    mask = np.zeros(q.shape[:-1], bool)
    for centre, size in zip(centres, sizes, strict=True):
        mask |= disc(q, (centre[0], centre[1], centre[2]), float(size))
    return mask


def ripple(p: Array, rng: np.random.Generator, per_metre: float) -> Array:
    """Give smooth noise in about -1..1 that varies over 1 / per_metre."""
    total = np.zeros(p.shape[:-1])
    for _ in range(6):
        wave = rng.normal(0, per_metre, 3)
        total += np.sin(2 * np.pi * (p @ wave) + rng.uniform(0, 2 * np.pi))
    return total / 3


def dimmed(picture: Array, share: Array, low: float = 0.8) -> Array:
    """Darken towards share 0: the soft shade under a figure."""
    return picture * (low + (1 - low) * np.clip(share, 0, 1))[..., None]


def eye(iris: str = "#4a2c17", gaze: Point = (0.0, -1.0, 0.0), white: str = "#ffffff") -> Paint:
    """Paint an eyeball that looks along ``gaze``, with a highlight."""

    def paint(s: Texels) -> Array:
        picture = over(fill(s, white), iris, disc(s.q, gaze, 46))
        picture = over(picture, "#0b0b12", disc(s.q, gaze, 30))
        high = (gaze[0] + 0.28, gaze[1], gaze[2] + 0.36)
        return over(picture, "#ffffff", disc(s.q, high, 12))

    return paint


def segments(s: Texels, codes: Sequence[str], turns: int = 1) -> Array:
    """Paint wedges around the axis, in order."""
    index = np.floor(s.u * len(codes) * turns).astype(int) % len(codes)
    return np.array([colour(code) for code in codes])[index]
