"""What a video denoiser is: the conditions it takes, the call it answers, the letters of shapes.

Shape letters, the same in all of ``train``: ``b`` clips, ``t`` frames, ``c`` channels, ``h`` and
``w`` pixels, ``d`` the width of an embedding, ``n`` tokens, ``k`` conditions.

To add an architecture: a module that answers ``VideoDenoiser``, a config with a ``kind`` of its own
in ``train.config.ModelConfig``, and a line in ``build_model``. The laws of
``tests/train/test_models.py`` then hold for it too.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

Condition = Literal["image", "camera", "motion"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the model is told about a batch of clips, and which of it is dropped.

    ``image`` is the reference image in [-1, 1] over white; ``camera`` the camera-to-world matrix
    of every frame (OpenCV axes, world units); ``motion`` the scaled motion magnitude m. A False in
    ``keep`` (order of ``CONDITIONS``) drops a condition of one clip: the model then answers as if
    it had never been given, which classifier-free guidance needs.
    """

    image: Float32[Tensor, "b c h w"]
    camera: Float32[Tensor, "b t 4 4"]
    motion: Float32[Tensor, " b"]
    keep: Bool[Tensor, "b k"]

    def without(self, *names: Condition) -> "Conditions":
        """Drop some conditions of every clip."""
        keep = self.keep.clone()
        keep[:, [CONDITIONS.index(name) for name in names]] = False
        return replace(self, keep=keep)

    def kept(self, name: Condition) -> Float32[Tensor, " b"]:
        """Give 1 where a condition holds and 0 where it is dropped."""
        return self.keep[:, CONDITIONS.index(name)].to(self.image.dtype)


def joined(parts: list[Conditions]) -> Conditions:
    """Stack batches of conditions, so that several guidance terms take one forward pass."""
    return Conditions(
        image=torch.cat([part.image for part in parts]),
        camera=torch.cat([part.camera for part in parts]),
        motion=torch.cat([part.motion for part in parts]),
        keep=torch.cat([part.keep for part in parts]),
    )


class VideoDenoiser(Protocol):
    """Predicts the target (eps, v or x0, by the noise config) of a batch of noisy clips.

    ``noisy`` is what ``Schedule.shown`` makes of them.
    """

    def __call__(
        self, noisy: Float32[Tensor, "b t c h w"], step: Int64[Tensor, " b"], given: Conditions
    ) -> Float32[Tensor, "b t c h w"]:
        """Predict; ``step`` counts diffusion steps, 0 = least noise."""
        ...
