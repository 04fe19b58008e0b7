"""Small parts that networks share: norms, embeddings, zero initialisation."""

import math
from typing import TypeVar

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional

_PLACES = 32.0  # a grid's side in radians at the highest frequency

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def zeroed(module: ModuleT) -> ModuleT:
    """Set all parameters of a module to zero and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def channels_last(module: ModuleT) -> ModuleT:
    """Lay out the weights of convolutions as channels-last images want them; return the module.

    Three-dimensional ones are those over time alone, (o, i, t, 1, 1).
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.contiguous(memory_format=torch.channels_last)
        elif isinstance(part, nn.Conv3d):
            flat = part.weight.squeeze(-1).contiguous(memory_format=torch.channels_last)
            part.weight.data = flat.unsqueeze(-1)  # strides of its gradient, which DDP compares
    return module


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
