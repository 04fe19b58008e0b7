"""A factorised video UNet on pixels, after VideoMV and Diffusion4D (arXiv 2405.16645).

A level is: 2D residual block, temporal convolution, and where the image is small enough spatial
attention (to itself, then to the tokens of the reference image) and temporal attention along the
frames of each pixel. The reference image also enters by channel concatenation with every frame.
Camera and motion magnitude are added to the step embedding by MLPs whose last layer starts at
zero, so that an untrained condition changes nothing.
"""

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from train.config import VideoUNetConfig
from train.models.api import Conditions
from train.models.layers import (
    ResBlock,
    SpatialTransformer,
    StepEmbedding,
    TemporalConv,
    TemporalTransformer,
    group_norm,
    place_code,
    two_layers,
    zeroed,
)

_COLOURS = 3


class ReferenceEncoder(nn.Module):
    """Reference image -> context tokens for cross-attention, and one vector of the whole."""

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__()
        self.patch = config.patch
        width, context = config.channels[0], config.context
        layers: list[nn.Module] = [
            nn.Conv2d(_COLOURS * config.patch**2, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, context, 3, stride=2, padding=1),
        ]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(context)
        self.absent = nn.Parameter(torch.zeros(context))  # stands in for a dropped image

    def forward(
        self, image: Float32[Tensor, "b c h w"], kept: Float32[Tensor, " b"]
    ) -> Float32[Tensor, "b n d"]:
        """Encode; dropped images give the learnt token of absence everywhere."""
        grid = self.layers(functional.pixel_unshuffle(image, self.patch))
        tokens = self.norm(grid.flatten(2).transpose(1, 2))
        tokens = tokens + place_code(grid.shape[2], grid.shape[3], tokens)
        kept = kept[:, None, None]
        return tokens * kept + self.absent * (1 - kept)


class Level(nn.Module):
    """One stage of a block: space, then time, then attention over each."""

    def __init__(
        self, inputs: int, outputs: int, config: VideoUNetConfig, *, attention: bool
    ) -> None:
        super().__init__()
        self.residual = ResBlock(inputs, outputs, config.embedding, config.dropout)
        self.conv_t = TemporalConv(outputs, config.temporal_convs)
        self.space = (
            SpatialTransformer(outputs, config.context, config.head_width) if attention else None
        )
        self.time = TemporalTransformer(outputs, config.head_width) if attention else None

    def forward(
        self,
        x: Float32[Tensor, "f c h w"],
        embedding: Float32[Tensor, "b t d"],
        context: Float32[Tensor, "b n d"],
    ) -> Float32[Tensor, "f c h w"]:
        """Transform the frames of all clips."""
        t = embedding.shape[1]
        x = self.conv_t(self.residual(x, embedding.flatten(0, 1)), t)
        if self.space is not None and self.time is not None:
            x = self.time(self.space(x, context), t)
        return x


class VideoUNet(nn.Module):
    """Answers ``train.models.api.VideoDenoiser``."""

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__()
        self.config = config
        width, embedding = config.channels[0], config.embedding
        self.step = StepEmbedding(width, embedding)
        self.camera = two_layers(16, embedding, zero=True)
        self.motion = two_layers(1, embedding, zero=True)
        self.reference = ReferenceEncoder(config)
        self.gist = two_layers(config.context, embedding)
        self.joint = two_layers(embedding, embedding)
        self.conv_in = nn.Conv2d(2 * _COLOURS * config.patch**2, width, 3, padding=1)
        self.down, skips = _encoder(config)
        self.middle = Level(config.channels[-1], config.channels[-1], config, attention=True)
        self.up = _decoder(config, skips)
        self.norm_out = group_norm(width)
        self.conv_out = zeroed(nn.Conv2d(width, _COLOURS * config.patch**2, 3, padding=1))

    def embed(
        self, step: Int64[Tensor, " b"], given: Conditions, context: Float32[Tensor, "b n d"]
    ) -> Float32[Tensor, "b t d"]:
        """Add up step, camera of each frame, motion and the gist of the reference image."""
        camera = self.camera(given.camera.flatten(2)) * given.kept("camera")[:, None, None]
        motion = self.motion(given.motion[:, None]) * given.kept("motion")[:, None]
        whole = self.gist(context.mean(dim=1))
        total = camera + (self.step(step) + motion + whole)[:, None]
        # A sum alone cannot say "this object from that side"; two layers on it can.
        return total + self.joint(functional.layer_norm(total, total.shape[-1:]))

    def forward(
        self,
        noisy: Float32[Tensor, "b t c h w"],
        step: Int64[Tensor, " b"],
        given: Conditions,
    ) -> Float32[Tensor, "b t c h w"]:
        """Predict the target of a batch of noisy clips."""
        b, t = noisy.shape[:2]
        kept = given.kept("image")
        context = self.reference(given.image, kept)
        embedding = self.embed(step, given, context)
        beside = (given.image * kept[:, None, None, None])[:, None].expand(-1, t, -1, -1, -1)
        x = torch.cat([noisy, beside], dim=2).flatten(0, 1)
        x = self._body(functional.pixel_unshuffle(x, self.config.patch), embedding, context)
        x = self.conv_out(functional.silu(self.norm_out(x)))
        return functional.pixel_shuffle(x, self.config.patch).unflatten(0, (b, t))

    def _body(
        self,
        x: Float32[Tensor, "f c h w"],
        embedding: Float32[Tensor, "b t d"],
        context: Float32[Tensor, "b n d"],
    ) -> Float32[Tensor, "f c h w"]:
        x = self.conv_in(x)
        skips = [x]
        for layer in self.down:
            x = layer(x, embedding, context) if isinstance(layer, Level) else layer(x)
            skips.append(x)
        x = self.middle(x, embedding, context)
        for layer in self.up:
            if isinstance(layer, Level):
                x = layer(torch.cat([x, skips.pop()], dim=1), embedding, context)
            else:
                x = layer(x)
        return x


def _encoder(config: VideoUNetConfig) -> tuple[nn.ModuleList, list[int]]:
    """Build the way down, and say how many channels each of its outputs (the skips) has."""
    layers, skips = nn.ModuleList(), [config.channels[0]]
    for depth, outputs in enumerate(config.channels):
        if depth:
            layers.append(nn.Conv2d(skips[-1], skips[-1], 3, stride=2, padding=1))
            skips.append(skips[-1])
        for _ in range(config.blocks):
            layers.append(Level(skips[-1], outputs, config, attention=config.attention[depth]))
            skips.append(outputs)
    return layers, skips


def _decoder(config: VideoUNetConfig, skips: list[int]) -> nn.ModuleList:
    """Build the way up; every level takes one skip more than the encoder's blocks."""
    layers, inputs, left = nn.ModuleList(), config.channels[-1], list(skips)
    for depth in reversed(range(len(config.channels))):
        outputs = config.channels[depth]
        for _ in range(config.blocks + 1):
            attention = config.attention[depth]
            layers.append(Level(inputs + left.pop(), outputs, config, attention=attention))
            inputs = outputs
        if depth:
            grow = nn.Conv2d(outputs, outputs, 3, padding=1)
            layers.append(nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), grow))
    return layers
