"""A trained model with everything it needs to be sampled from."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float32
from safetensors.torch import load_file
from torch import Tensor, nn

from train.checkpoint import load_checkpoint
from train.config import SampleConfig, TrainConfig
from train.data import ClipBatch
from train.evaluate import sample_clips
from train.latents import Space, open_space
from train.models.build import build_model
from train.noise import Schedule
from train.perceptual import ClipImages, open_clip
from train.ranks import device_for
from train.run import FitFolder
from train.text import TextEncoder, open_text

Clips = Float32[Tensor, "b t c h w"]


@dataclass(frozen=True, slots=True)
class Trained:
    """The averaged weights of a FIT folder's last checkpoint, and what belongs to them.

    ``base`` is the frozen base model that training started from, or none.
    """

    config: TrainConfig
    step: int
    model: nn.Module
    base: nn.Module | None
    space: Space
    text: TextEncoder | None
    clip: ClipImages | None
    schedule: Schedule
    device: torch.device

    @classmethod
    def load(cls, fit: Path) -> "Trained":
        """Read a FIT folder.

        Raises:
            RunError: if nothing was trained there.
        """
        folder = FitFolder(fit)
        config, _ = folder.read()
        checkpoint = load_checkpoint(folder.checkpoints)
        device = device_for(config.device)
        space = open_space(config.latents, device)
        model = _frozen(config, checkpoint.ema, device)
        base = _frozen(config, load_file(folder.base), device) if folder.base.exists() else None
        return cls(
            config=config,
            step=checkpoint.step,
            model=model,
            base=base,
            space=space,
            text=open_text(config.text, config.model.text, device),
            clip=open_clip(config.image.encoder, config.model.clip, device),
            schedule=Schedule.build(config.noise, device, space.values),
            device=device,
        )

    def sample(self, batch: ClipBatch, config: SampleConfig, seed: int) -> Clips:
        """Generate one orbit per clip under the clip's own conditions: images in [-1, 1]."""
        seen = batch.to(self.device).seen_by(self.clip, self.space)
        inside = seen.inside(self.space).read_by(self.text)
        made = sample_clips(self.model, inside, self.schedule, config, seed, self.base)
        return self.space.decode(made)

    def shown(self, batch: ClipBatch) -> ClipBatch:
        """Give clips as images, where they are latents."""
        batch = batch.to(self.device)
        if not batch.encoded:
            return batch
        orbit, static = self.space.decode(batch.orbit), self.space.decode(batch.static)
        return replace(batch, image=orbit[:, 0], orbit=orbit, static=static, encoded=False)


def _frozen(config: TrainConfig, weights: dict[str, Tensor], device: torch.device) -> nn.Module:
    model = build_model(config.model, config.seed)
    model.load_state_dict(weights)
    return model.to(device).eval().requires_grad_(False)
