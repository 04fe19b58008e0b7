"""The objective of Diffusion4D: the diffusion loss and the motion reconstruction loss L_mr."""

from jaxtyping import Float32
from torch import Tensor


def diffusion_loss(
    output: Float32[Tensor, "b *n"], goal: Float32[Tensor, "b *n"]
) -> Float32[Tensor, " b"]:
    """Mean squared error per clip, in the space of the target (eps, v or x0)."""
    return (output - goal).square().flatten(1).mean(dim=1)


def motion_of(
    moving: Float32[Tensor, "b t *n"], frozen: Float32[Tensor, "b t *n"]
) -> Float32[Tensor, " b"]:
    """Motion magnitude (Diffusion4D, eq. 1) as a mean per element.

    The paper sums over a frame; the mean keeps the loss below independent of the image size.
    """
    return (moving - frozen).square().flatten(1).mean(dim=1)


def motion_loss(
    guess: Float32[Tensor, "b t *n"],
    truth: Float32[Tensor, "b t *n"],
    frozen: Float32[Tensor, "b t *n"],
    alpha_bar: Float32[Tensor, " b"],
) -> Float32[Tensor, " b"]:
    """L_mr of Diffusion4D, section 3.3: (m(z0) - m(z0_hat))^2 per clip, times alpha-bar.

    Args:
        guess: the clean clip implied by the prediction.
        truth: the clean clip.
        frozen: the orbit with the same cameras and time stopped at its first moment.
        alpha_bar: share of the clip's variance left at the diffusion step. The paper weights all
            steps alike; but z0_hat of an eps- or v-model is a poor guess at high noise and the
            loss is quartic in its error, so we fade it out there. A deviation.
    """
    return alpha_bar * (motion_of(guess, frozen) - motion_of(truth, frozen)).square()
