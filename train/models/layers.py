"""Blocks of the factorised video networks: space and time are treated one after the other.

Images travel as ``(b*t, c, h, w)``, clip by clip; a block that looks along time is told ``t``.
Where the source has it, a block's last layer starts at zero, so that the block starts as the
identity and a video model begins as the image model inside it.
"""

import math
from typing import TypeVar

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

_MAX_GROUPS = 32  # GroupNorm of the ModelScope and Stable Diffusion networks
_PLACES = 32.0  # a grid's side in radians at the highest frequency
_GROUP_WIDTH = 8  # narrow networks: no group of fewer channels

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def zeroed(module: ModuleT) -> ModuleT:
    """Set all parameters of a module to zero and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalise over groups: 32 as published, fewer where the network is narrow."""
    groups = math.gcd(channels, min(_MAX_GROUPS, max(1, channels // _GROUP_WIDTH)))
    return nn.GroupNorm(groups, channels)


def sinusoid(value: Float32[Tensor, " b"], width: int) -> Float32[Tensor, "b d"]:
    """Encode a step number as cosines and sines of falling frequency (period 2 pi to 2 pi 1e4)."""
    half = width // 2
    power = torch.arange(half, device=value.device, dtype=torch.float32) / half
    angle = value.float()[:, None] * torch.exp(-math.log(10_000.0) * power)
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)


def two_layers(inputs: int, width: int, *, zero: bool = False) -> nn.Sequential:
    """Build the usual embedding MLP; with ``zero`` its output starts at 0 (papers' cameras, m)."""
    last = nn.Linear(width, width)
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), zeroed(last) if zero else last)


def place_code(h: int, w: int, like: Tensor) -> Float32[Tensor, "n c"]:
    """Encode the places of an h x w grid, row by row, relative to its sides.

    Attention has no other idea of where its tokens are, and a turning object moves across them.

    Args:
        h: rows.
        w: columns.
        like: a tensor (..., c) whose width and device are taken; half of c for each axis.
    """
    half = like.shape[-1] // 2
    across, down = like.shape[-1] - half, half
    y = (torch.arange(h, device=like.device) + 0.5) / h * _PLACES
    x = (torch.arange(w, device=like.device) + 0.5) / w * _PLACES
    code_y = _padded(sinusoid(y, down), down)[:, None].expand(h, w, down)
    code_x = _padded(sinusoid(x, across), across)[None].expand(h, w, across)
    return torch.cat([code_y, code_x], dim=-1).flatten(0, 1)


def _padded(code: Tensor, width: int) -> Tensor:
    return functional.pad(code, (0, width - code.shape[-1]))  # sinusoids come in pairs


class StepEmbedding(nn.Module):
    """Diffusion step -> sinusoid -> two layers."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = two_layers(channels, width)

    def forward(self, step: Int64[Tensor, " b"]) -> Float32[Tensor, "b d"]:
        """Embed steps."""
        return self.layers(sinusoid(step.float(), self.channels))


class ResBlock(nn.Module):
    """Two 3x3 convolutions; the embedding of each frame scales and shifts in between."""

    def __init__(self, inputs: int, outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = group_norm(inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embed = nn.Linear(width, 2 * outputs)
        self.norm_out = group_norm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(
        self, x: Float32[Tensor, "f c h w"], embedding: Float32[Tensor, "f d"]
    ) -> Float32[Tensor, "f e h w"]:
        """Transform every frame by itself."""
        scale, shift = self.embed(functional.silu(embedding))[..., None, None].chunk(2, dim=1)
        y = self.conv_in(functional.silu(self.norm_in(x)))
        y = self.norm_out(y) * (1 + scale) + shift
        return self.skip(x) + self.conv_out(self.dropout(functional.silu(y)))


class TemporalConv(nn.Module):
    """A stack of (norm, SiLU, convolution over 3 frames per pixel); starts as the identity."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(group_norm(channels) for _ in range(depth))
        # (3, 1) over (t, h*w) is the published Conv3d (3, 1, 1), and faster on CPUs.
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)) for _ in range(depth)
        )
        if depth:
            zeroed(self.convs[-1])

    def forward(self, x: Float32[Tensor, "f c h w"], t: int) -> Float32[Tensor, "f c h w"]:
        """Mix neighbouring frames of a clip."""
        f, c, h, w = x.shape
        y = x.reshape(f // t, t, c, h * w).transpose(1, 2)  # (b, c, t, hw)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(functional.silu(norm(y)))
        return x + y.transpose(1, 2).reshape(f, c, h, w) if len(self.convs) else x


class Attention(nn.Module):
    """Multi-head attention of tokens to a context (or to themselves), with a residual."""

    def __init__(self, channels: int, context: int, head_width: int) -> None:
        super().__init__()
        self.heads = max(1, channels // head_width)
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(context, channels, bias=False)
        self.value = nn.Linear(context, channels, bias=False)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(
        self,
        x: Float32[Tensor, "s n c"],
        context: Float32[Tensor, "s m d"] | None = None,
        place: Float32[Tensor, "n c"] | None = None,
    ) -> Float32[Tensor, "s n c"]:
        """Attend; without a context, to the normalised tokens themselves.

        ``place`` is added to the normalised tokens; a context brings its own.
        """
        y = self.norm(x) if place is None else self.norm(x) + place
        source = y if context is None else context
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(y), self.key(source), self.value(source))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers per token with a residual; starts as the identity."""

    def __init__(self, channels: int, factor: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.inner = nn.Linear(channels, factor * channels)
        self.out = zeroed(nn.Linear(factor * channels, channels))

    def forward(self, x: Float32[Tensor, "s n c"]) -> Float32[Tensor, "s n c"]:
        """Transform every token."""
        return x + self.out(functional.gelu(self.inner(self.norm(x))))


class SpatialTransformer(nn.Module):
    """Per frame: tokens attend to each other, then to the context tokens of their clip."""

    def __init__(self, channels: int, context: int, head_width: int) -> None:
        super().__init__()
        self.among = Attention(channels, channels, head_width)
        self.across = Attention(channels, context, head_width)
        self.feed = FeedForward(channels)

    def forward(
        self, x: Float32[Tensor, "f c h w"], context: Float32[Tensor, "b n d"]
    ) -> Float32[Tensor, "f c h w"]:
        """Attend within each frame and to the context."""
        f, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.among(tokens, place=place_code(h, w, tokens))
        place = place_code(h, w, tokens).repeat(f // len(context), 1)
        by_clip = tokens.reshape(len(context), -1, c)  # the frames of a clip share its context
        tokens = self.across(by_clip, context, place).reshape(f, h * w, c)
        return self.feed(tokens).transpose(1, 2).reshape(f, c, h, w)


class TemporalTransformer(nn.Module):
    """Per pixel: the frames of a clip attend to each other."""

    def __init__(self, channels: int, head_width: int) -> None:
        super().__init__()
        self.among = Attention(channels, channels, head_width)
        self.feed = FeedForward(channels)

    def forward(self, x: Float32[Tensor, "f c h w"], t: int) -> Float32[Tensor, "f c h w"]:
        """Attend along time."""
        f, c, h, w = x.shape
        tokens = x.reshape(f // t, t, c, h * w).permute(0, 3, 1, 2).reshape(-1, t, c)
        tokens = self.feed(self.among(tokens))
        return tokens.reshape(f // t, h * w, t, c).permute(0, 2, 3, 1).reshape(f, c, h, w)
