"""Curves over the phase of a clip (0..1) from which motion is composed."""

import numpy as np

from render.blender.samples.surface import Array


def wave(t: Array, cycles: float = 1.0, shift: float = 0.0) -> Array:
    """Swing -1..1; ``shift`` is a share of a cycle."""
    return np.sin(2 * np.pi * (cycles * t + shift))


def swell(t: Array, cycles: float = 1.0, shift: float = 0.0) -> Array:
    """Swing 0..1..0, starting at 0."""
    return (1 - np.cos(2 * np.pi * (cycles * t + shift))) / 2


def ease(t: Array, start: float, stop: float) -> Array:
    """Rise from 0 to 1 between two phases, smoothly."""
    x = np.clip((t - start) / (stop - start), 0, 1)
    return x * x * (3 - 2 * x)


def held(t: Array, start: float, stop: float, edge: float = 0.12) -> Array:
    """Rise at ``start``, stay at 1, fall back to 0 at ``stop``."""
    return ease(t, start, start + edge) * (1 - ease(t, stop - edge, stop))


def flight(t: Array, start: float, stop: float) -> Array:
    """Follow a thrown body: a parabola with its top of 1 between two phases."""
    x = np.clip((t - start) / (stop - start), 0, 1)
    return 4 * x * (1 - x)
