"""Metrics by published networks: LPIPS, CLIP similarities, FVD. Weights are given by file or name.

None ships with this program and none is stood in for: without weights there is no figure.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor
from torch.nn import functional

from shards.errors import ConfigError
from train.latents import load_pretrained

# of every CLIP: https://github.com/openai/CLIP, clip/clip.py
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_I3D_PX = 224
_AT_ONCE = 64  # images

Clips = Float32[Tensor, "b t c h w"]


def clip_pixels(images: Float32[Tensor, "n c h w"], side: int) -> Float32[Tensor, "n c s s"]:
    """Turn images in [-1, 1] into what CLIP's image encoders take."""
    images = functional.interpolate(
        images.float(), size=(side, side), mode="bicubic", antialias=True, align_corners=False
    ).clamp(-1, 1)
    mean, std = (torch.tensor(row).view(1, 3, 1, 1).to(images) for row in (CLIP_MEAN, CLIP_STD))
    return ((images + 1) / 2 - mean) / std


class ClipImages:
    """CLIP's image encoder with its projection: any of ``transformers``, by folder or name.

    ``setting`` is where the name was given, for messages.
    """

    def __init__(self, name: str, device: torch.device, setting: str = "--clip") -> None:
        from transformers import CLIPVisionModelWithProjection

        model: Any = load_pretrained(
            CLIPVisionModelWithProjection.from_pretrained, name, "image_encoder", setting
        )
        self._model = model.eval().requires_grad_(False).to(device)
        self._side = int(self._model.config.image_size)
        self.width = int(self._model.config.projection_dim)

    @torch.no_grad()
    def embed(self, images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n d"]:
        """Embed images in [-1, 1], normalised to length 1."""
        parts = [
            self._model(pixel_values=clip_pixels(part, self._side)).image_embeds
            for part in images.split(_AT_ONCE)
        ]
        return functional.normalize(torch.cat(parts).float(), dim=-1)

    def similarity(self, clips: Clips, images: Float32[Tensor, "b c h w"]) -> np.ndarray:
        """Cosine of every frame to the clip's reference image: (b, t)."""
        frames = self.embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return (frames @ self.embed(images)[:, :, None])[..., 0].double().cpu().numpy()


def open_clip(encoder: str | None, width: int | None, device: torch.device) -> ClipImages | None:
    """Load ``image.encoder``, or give none where there is none.

    Raises:
        ConfigError: if it cannot be loaded, or its width is not ``model.clip``.
    """
    if encoder is None:
        return None
    found = ClipImages(encoder, device, "image.encoder")
    if found.width != width:
        raise ConfigError(
            f"image.encoder {encoder!r} gives embeddings of width {found.width}, model.clip is "
            f"{width}; use --set model.clip={found.width}"
        )
    return found


class Lpips:
    """LPIPS with VGG16 (Zhang et al. 2018), from NVIDIA's TorchScript file ``vgg16.pt``.

    The file of StyleGAN2-ADA's and StyleGAN3's metrics: called with images in [0, 255] and
    ``return_lpips=True`` it gives vectors whose squared distance is LPIPS.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self._model = _script(path, device, "--lpips")

    @torch.no_grad()
    def distance(self, guess: Clips, truth: Clips) -> Float64[np.ndarray, " b"]:
        """Give each clip's mean over its frames."""
        one, other = (self._features(clips.flatten(0, 1)) for clips in (guess, truth))
        apart = (one - other).double().square().sum(dim=1)
        return apart.unflatten(0, guess.shape[:2]).mean(dim=1).cpu().numpy()

    def _features(self, images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n d"]:
        parts = [
            self._model((part + 1) * 127.5, resize_images=False, return_lpips=True)
            for part in images.split(_AT_ONCE)
        ]
        return torch.cat(parts)


class VideoFeatures:
    """I3D of Kinetics-400 for FVD (Unterthiner et al. 2018), from ``i3d_torchscript.pt``.

    The file of StyleGAN-V's metrics: called with videos (n, 3, t, 224, 224) in [-1, 1] it gives the
    400 features before the softmax.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self._model = _script(path, device, "--fvd")

    @torch.no_grad()
    def embed(self, clips: Clips) -> Float64[np.ndarray, "b d"]:
        """Give features of clips in [-1, 1]."""
        frames = functional.interpolate(
            clips.flatten(0, 1).float(), size=(_I3D_PX, _I3D_PX), mode="bilinear"
        )
        videos = frames.clamp(-1, 1).unflatten(0, clips.shape[:2]).transpose(1, 2)
        parts = [
            self._model(part, rescale=False, resize=False, return_features=True)
            for part in videos.split(4)
        ]
        return torch.cat(parts).double().cpu().numpy()


def _script(path: Path, device: torch.device, option: str) -> Callable[..., Tensor]:
    if not path.is_file():
        raise ConfigError(f"{option} {path}: no such file; expected the published TorchScript file")
    try:
        with warnings.catch_warnings():  # TorchScript is deprecated; the files are published so
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0]
        raise ConfigError(f"{option} {path}: no TorchScript file ({line})") from error
