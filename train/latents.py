"""The space that diffusion works in: pixels, or latents of a diffusers ``AutoencoderKL``."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from shards.errors import ConfigError
from train.config import LatentConfig
from train.noise import LATENTS, PIXELS, Values

Images = Float32[Tensor, "b t c h w"]


class Space(Protocol):
    """Takes images in [-1, 1] to what the model works on, and back, frame by frame."""

    values: Values
    channels: int
    factor: int  # sides of images over sides of what the model works on
    identity: str  # tells autoencoders apart, weights included

    def encode(self, images: Images) -> Float32[Tensor, "b t d i j"]:
        """Enter the space."""
        ...

    def decode(self, inside: Float32[Tensor, "b t d i j"]) -> Images:
        """Leave the space; the result is clamped to [-1, 1]."""
        ...


class PixelSpace:
    """Images as they are."""

    values = PIXELS
    channels = 3
    factor = 1
    identity = "pixels"

    def encode(self, images: Images) -> Images:
        """Return the images."""
        return images

    def decode(self, inside: Images) -> Images:
        """Return the images, clamped."""
        return inside.clamp(-1, 1)


class LatentSpace:
    """Latents of an autoencoder, scaled to about unit spread as its config says.

    The mean of the posterior is taken, not a draw: a clip has one latent.
    """

    values = LATENTS

    def __init__(self, autoencoder: Any, frames_at_once: int) -> None:
        self.model = autoencoder.eval().requires_grad_(False)
        config = autoencoder.config
        self.channels = int(config.latent_channels)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self._scale = float(config.scaling_factor)
        self._shift = float(config.shift_factor or 0.0)
        self._at_once = frames_at_once
        self.identity = identity_of(autoencoder)

    @torch.no_grad()
    def encode(self, images: Images) -> Float32[Tensor, "b t d i j"]:
        """Encode every frame by itself."""
        parts = images.flatten(0, 1).to(self.model.dtype).split(self._at_once)
        means = torch.cat([self.model.encode(part).latent_dist.mode() for part in parts])
        return ((means.float() - self._shift) * self._scale).unflatten(0, images.shape[:2])

    @torch.no_grad()
    def decode(self, inside: Float32[Tensor, "b t d i j"]) -> Images:
        """Decode every frame by itself."""
        latents = (inside / self._scale + self._shift).flatten(0, 1).to(self.model.dtype)
        parts = [self.model.decode(part).sample for part in latents.split(self._at_once)]
        return torch.cat(parts).float().clamp(-1, 1).unflatten(0, inside.shape[:2])


def open_space(config: LatentConfig, device: torch.device) -> Space:
    """Load what a config names.

    Raises:
        ConfigError: if there is no such autoencoder.
    """
    if config.autoencoder is None:
        return PixelSpace()
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    loader = partial(AutoencoderKL.from_pretrained, low_cpu_mem_usage=False)  # needs accelerate
    found = load_pretrained(loader, config.autoencoder, "vae", "latents.autoencoder")
    return LatentSpace(found.to(device), config.frames_at_once)


def load_pretrained(load: Callable[..., Any], name: str, inside: str, setting: str) -> Any:
    """Load a published model from a folder or by name, or from a pipeline's subfolder.

    Args:
        load: a class's ``from_pretrained``.
        name: folder or published name.
        inside: the subfolder where pipelines keep it.
        setting: where the name was given, for messages.

    Raises:
        ConfigError: if neither place has one.
    """
    folder = Path(name)
    if folder.is_dir() and (folder / inside).is_dir():
        return load(str(folder / inside))
    try:
        return load(name)
    except (OSError, ValueError) as first:
        if not folder.exists():
            try:
                return load(name, subfolder=inside)
            except (OSError, ValueError):
                pass
        line = str(first).strip().splitlines()[0] if str(first).strip() else repr(first)
        raise ConfigError(
            f"{setting} {name!r}: none there ({line}); expected a folder that save_pretrained "
            f"wrote, one with {inside!r} in it, or a published name"
        ) from first


def identity_of(model: nn.Module) -> str:
    """Hash a model's weights, names included."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
