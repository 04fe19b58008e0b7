"""Train a small autoencoder on the images of a RUN, for latents without a published one.

It is diffusers' ``AutoencoderKL``, so it is used as any other: ``latents.autoencoder=FOLDER``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from shards.config import Config
from shards.errors import RunError
from shards.files import publish, temporary_for
from shards.read import MapStyle, SampleReader, StreamConfig
from shards.seeding import rng_for

_MIXED = 32  # images that wait, so that a batch is of several clips
_MEASURED = 64  # images from which the latents' mean and spread are taken


class AutoencoderConfig(Config):
    """A small AutoencoderKL and how it is trained."""

    size: int = Field(default=64, ge=8, description="side of the images, pixels")
    channels: tuple[int, ...] = Field(default=(32, 64, 64), min_length=1, description="per level")
    latent_channels: int = Field(default=4, ge=1)
    norm_groups: int = Field(default=16, ge=1)
    seed: int = 0
    steps: int = Field(default=2000, ge=1)
    batch: int = Field(default=16, ge=1, description="images per step")
    lr: float = Field(default=1e-3, gt=0)
    kl_weight: float = Field(default=1e-6, ge=0, description="of the KL term, per element")


@dataclass(frozen=True, slots=True)
class AutoencoderStep:
    """What a step measured; ``l1`` is a mean over pixels, colours in [-1, 1]."""

    step: int
    l1: float
    kl: float


def train_autoencoder(run: Path, out: Path, config: AutoencoderConfig) -> Iterator[AutoencoderStep]:
    """Train; the folder ``out`` appears after the last step, whole. Yields after each step.

    Latents are shifted and scaled to mean 0 and spread 1 by what the config then says.

    Raises:
        RunError: if ``out`` exists.
    """
    if out.exists():
        raise RunError(f"{out}: exists already; give another --out, or use it as it is")
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(int(rng_for(config.seed, "autoencoder weights").integers(2**63)))
        model: Any = AutoencoderKL(**_arguments(config))
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    draws = torch.Generator().manual_seed(
        int(rng_for(config.seed, "autoencoder draws").integers(2**63))
    )
    images = _images(run, config)
    batch = next(images).to(device)
    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:  # linear warm-up, then down to zero
            group["lr"] = config.lr * min(step / 50, 1.0, 2 * (1 - (step - 1) / config.steps))
        posterior = model.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=draws).to(device)
        made = model.decode(posterior.mean + posterior.std * noise).sample
        l1 = functional.l1_loss(made, batch)
        kl = posterior.kl().sum() / posterior.mean.numel()
        optimizer.zero_grad(set_to_none=True)
        (l1 + config.kl_weight * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield AutoencoderStep(step, float(l1.detach()), float(kl.detach()))
        batch = next(images).to(device)
    _standardise(model.eval(), images, device)
    temporary = temporary_for(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(temporary))
    publish(temporary, out)


def _arguments(config: AutoencoderConfig) -> dict[str, Any]:
    levels = len(config.channels)
    return {
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": 1,
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.norm_groups,
        "sample_size": config.size,
        "mid_block_add_attention": False,
    }


@torch.no_grad()
def _standardise(
    model: Any, images: Iterator[Float32[Tensor, "n c h w"]], device: torch.device
) -> None:
    """Measure the latents and note mean and spread in the model's config."""
    latents: list[Tensor] = []
    while sum(len(part) for part in latents) < _MEASURED:
        latents.append(model.encode(next(images).to(device)).latent_dist.mode())
    values = torch.cat(latents)
    model.register_to_config(
        shift_factor=float(values.mean()), scaling_factor=1 / max(float(values.std()), 1e-6)
    )


def _images(run: Path, config: AutoencoderConfig) -> Iterator[Float32[Tensor, "n c h w"]]:
    """Give endless batches of single images in [-1, 1], of all clips and both sequences."""
    if not len(SampleReader(run)):
        raise RunError(f"{run}: its index lists no samples; see its ledger for why")
    settings = StreamConfig(
        sequences=("orbit", "static"),
        size=config.size,
        background="white",
        dtype="uint8",
        seed=config.seed,
        remainder="pad",
    )
    samples = MapStyle(run, settings)
    sampler, rng = samples.sampler(), rng_for(config.seed, "autoencoder images")
    waiting: list[np.ndarray] = []
    while True:
        for number in sampler:
            sampler.advance()
            view = samples.view(number)
            frames = np.concatenate([view.sequences[name].images for name in view.sequences])
            # few per clip: neighbouring views teach nearly the same
            waiting += list(frames[rng.permutation(len(frames))[:8]])
            while len(waiting) >= config.batch + _MIXED:
                order = rng.permutation(len(waiting))
                waiting = [waiting[i] for i in order]
                batch, waiting = waiting[: config.batch], waiting[config.batch :]
                yield _colours(batch)


def _colours(images: list[np.ndarray]) -> Float32[Tensor, "n c h w"]:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
