"""What a video denoiser is: the conditions it takes, the call it answers, the letters of shapes.

Shape letters, the same in all of ``train``: ``b`` clips, ``t`` frames, ``c`` channels, ``h`` and
``w`` pixels (of images or of latents, as the model works on), ``d`` the width of an embedding,
``n`` tokens, ``k`` conditions.

To add an architecture: a module that answers ``VideoDenoiser``, a config with a ``kind`` of its own
in ``train.config.ModelConfig``, and a line in ``train.models.build``. The laws of
``tests/train/test_models.py`` then hold for it too.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

Condition = Literal["image", "camera", "motion", "text", "static"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the model is told about a batch of clips, and which of it is dropped.

    ``image`` is the reference image and ``static`` the frozen orbit, frame by frame at the cameras
    of the clip, both in the space that the model works in (pixels in [-1, 1] over white, or
    latents); ``camera`` the camera-to-world matrix of every frame (OpenCV axes, world units);
    ``motion`` the scaled motion magnitude m; ``text`` the tokens of a text encoder, which
    ``text_null`` replaces where the text is dropped; ``clip`` CLIP's embedding of the image, which
    is dropped with it. None: no clip has it.

    A False in ``keep`` (order of ``CONDITIONS``) drops a condition of one clip: the model then
    answers as if it had never been given, which classifier-free guidance needs.
    """

    image: Float32[Tensor, "b c h w"]
    camera: Float32[Tensor, "b t 4 4"]
    motion: Float32[Tensor, " b"]
    keep: Bool[Tensor, "b k"]
    text: Float32[Tensor, "b n d"] | None = None
    text_null: Float32[Tensor, "b n d"] | None = None
    static: Float32[Tensor, "b t c h w"] | None = None
    clip: Float32[Tensor, "b e"] | None = None

    def without(self, *names: Condition) -> "Conditions":
        """Drop some conditions of every clip."""
        keep = self.keep.clone()
        keep[:, [CONDITIONS.index(name) for name in names]] = False
        return replace(self, keep=keep)

    def kept(self, name: Condition) -> Float32[Tensor, " b"]:
        """Give 1 where a condition holds and 0 where it is dropped."""
        return self.keep[:, CONDITIONS.index(name)].to(self.motion.dtype)

    def text_or_null(self) -> Float32[Tensor, "b n d"]:
        """Give each clip's text, or what stands in for a dropped one."""
        if self.text is None or self.text_null is None:
            raise ValueError("this model reads text, and was given neither text nor null text")
        kept = self.keep[:, CONDITIONS.index("text")][:, None, None]
        return torch.where(kept, self.text, self.text_null)


def all_conditions(clips: int, device: torch.device | None = None) -> Bool[Tensor, "b k"]:
    """Keep every condition of every clip."""
    return torch.ones(clips, len(CONDITIONS), dtype=torch.bool, device=device)


def joined(parts: list[Conditions]) -> Conditions:
    """Stack batches of conditions, so that several guidance terms take one forward pass."""

    def stack(tensors: list[Tensor | None]) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(there) if len(there) == len(tensors) else None

    return Conditions(
        image=torch.cat([part.image for part in parts]),
        camera=torch.cat([part.camera for part in parts]),
        motion=torch.cat([part.motion for part in parts]),
        keep=torch.cat([part.keep for part in parts]),
        text=stack([part.text for part in parts]),
        text_null=stack([part.text_null for part in parts]),
        static=stack([part.static for part in parts]),
        clip=stack([part.clip for part in parts]),
    )


class VideoDenoiser(Protocol):
    """Predicts the target (by the noise config) of a batch of noisy clips.

    ``noisy`` is what ``Schedule.shown`` makes of them.
    """

    def __call__(
        self, noisy: Float32[Tensor, "b t c h w"], step: Int64[Tensor, " b"], given: Conditions
    ) -> Float32[Tensor, "b t c h w"]:
        """Predict; ``step`` counts diffusion steps, 0 = least noise."""
        ...
