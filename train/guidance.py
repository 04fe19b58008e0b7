"""Guidance as arithmetic on predictions.

The coefficients of every formula add up to 1, so each holds in eps-, v- and x0-space alike.
"""

from jaxtyping import Float32
from torch import Tensor

Clips = Float32[Tensor, "b t c h w"]


def classifier_free(given: Clips, null: Clips, scale: float) -> Clips:
    """Move from the unconditional prediction through the conditional one; scale 1 stays on it."""
    return null + scale * (given - null)


def aware_of_3d(given: Clips, null: Clips, base: Clips, w1: float, w2: float) -> Clips:
    """Diffusion4D, eq. 3: away from no condition (w1) and from the same object not moving (w2).

    Args:
        given: the 4D model under all conditions.
        null: the 4D model with the conditions dropped.
        base: the frozen 3D model, which knows the object and no motion.
        w1: the paper uses 7.0; ordinary classifier-free guidance of scale 1 + w1 where w2 = 0.
        w2: the paper uses 0.5.
    """
    return given + w1 * (given - null) + w2 * (given - base)
