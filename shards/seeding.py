"""Randomness with an address: the same words give the same draw, on any machine, in any order."""

import hashlib
from typing import NamedTuple

import numpy as np


def rng_for(seed: int, *address: str | int) -> np.random.Generator:
    """Return the generator that belongs to an address such as ``(run seed, "lights", uid, clip)``.

    Args:
        seed: the run's seed; 0 is a seed.
        address: what the draw is for. Parts are kept apart, so ("a", "bc") and ("ab", "c") differ,
            and so do 1 and "1".

    Returns:
        A PCG64 generator. NumPy keeps its bit stream stable across versions; the methods that are
        used on it (``random``, ``integers``, ``permutation``) are pinned by a test.
    """
    # plain str and int: NumPy's own scalars print differently between versions
    parts = [str(part) if isinstance(part, str) else int(part) for part in address]
    digest = hashlib.sha256(repr((int(seed), *parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


class ClipAddress(NamedTuple):
    """Where the random draws of a clip come from."""

    seed: int  # of the run
    uid: str
    clip_index: int
