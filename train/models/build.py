"""From a model's config to the model."""

from collections.abc import Callable

import torch
from torch import nn

from train.config import ModelConfig
from train.models.video_unet import VideoUNet

_ARCHITECTURES: dict[str, Callable[[ModelConfig], nn.Module]] = {"video_unet": VideoUNet}


def build_model(config: ModelConfig, generator_seed: int) -> nn.Module:
    """Build a model with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        return _ARCHITECTURES[config.kind](config)
