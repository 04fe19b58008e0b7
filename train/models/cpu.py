"""Layers whose usual form is slow on CPUs: the same functions, with other kernels.

What is slow was found with torch's profiler (torch 2.13, AVX-512 and AMX; ``tests/bench``): the
gradient of group norm of bf16 images in channels-last memory, fused attention's gradient for short
bf16 sequences, and the gated feed-forward, whose activation is kept and whose gradients are copied
together. On other devices, and where torch compiles, nothing here does anything of its own. In
float32 all of it gives torch's bits.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_SHORT = 256  # tokens
_BLOCK = 2**17  # elements that stay in a core's cache
_WORTH_IT = 2**18  # elements


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class GroupNorm(nn.GroupNorm):
    """As torch's; channels-last bf16 images have a gradient of their own."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise every group of channels of every image."""
        ours = (
            _on_cpu(input)
            and torch.is_grad_enabled()
            and input.dtype == torch.bfloat16
            and self.weight.dtype == torch.float32  # then the statistics are float32 too
            and input.numel() > _WORTH_IT
            and input.permute(0, 2, 3, 1).is_contiguous()
        )
        if not ours:
            return super().forward(input)
        return _GroupNorm.apply(input, self.weight, self.bias, self.num_groups, self.eps)


class _GroupNorm(torch.autograd.Function):
    """Group norm of channels-last bf16; sums and products are float32, as in torch's kernel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        b, c, h, w = x.shape
        y, mean, rstd = torch.native_group_norm(x, weight, bias, b, c, h * w, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        b, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(b, -1, c)
        slopes = grads[0].contiguous(memory_format=torch.channels_last)
        slopes = slopes.permute(0, 2, 3, 1).reshape(b, -1, c)
        step = max(1, _BLOCK // c)
        parts = [(i, slice(j, j + step)) for i in range(b) for j in range(0, h * w, step)]
        of_product, of_slope = torch.zeros(b, c), torch.zeros(b, c)
        for i, part in parts:
            slope = slopes[i, part].float()
            of_slope[i] += slope.sum(dim=0)
            of_product[i] += slope.mul_(rows[i, part]).sum(dim=0)
        grouped = (b, mean.shape[-1], -1)
        of_product, of_slope = of_product.view(grouped), of_slope.view(grouped)
        weights = weight.view(grouped[1:])
        count = h * w * weights.shape[-1]
        along_x = (of_slope * weights).sum(dim=-1) * mean - (of_product * weights).sum(dim=-1)
        along_x = along_x * rstd**3 / count
        rest = -along_x * mean - (of_slope * weights).sum(dim=-1) * rstd / count
        to_slope = (rstd[..., None] * weights).view(b, c)
        along_x, rest = (v[..., None].expand(of_slope.shape).reshape(b, c) for v in (along_x, rest))
        made = torch.empty_like(rows)
        for i, part in parts:
            one = torch.addcmul(rest[i], rows[i, part].float(), along_x[i])
            made[i, part] = one.addcmul_(slopes[i, part].float(), to_slope[i])
        to_weight = ((of_product - of_slope * mean[..., None]) * rstd[..., None]).sum(dim=0)
        made = made.view(b, h, w, c).permute(0, 3, 1, 2)
        return made, to_weight.flatten(), of_slope.sum(dim=0).flatten(), None, None


def attend(
    q: Float[Tensor, "s k n e"], k: Float[Tensor, "s k m e"], v: Float[Tensor, "s k m e"]
) -> Float[Tensor, "s k n e"]:
    """Mix values by the softmax of scaled products of queries and keys."""
    short = q.shape[-2] <= _SHORT and k.shape[-2] <= _SHORT
    if not (short and q.dtype == torch.bfloat16 and _on_cpu(q)):
        return functional.scaled_dot_product_attention(q, k, v)
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1) @ v


def gated(both: Float[Tensor, "s n d"]) -> Float[Tensor, "s n e"]:
    """Give ``value * gelu(gate)`` of (value, gate), side by side in the last dimension."""
    if _on_cpu(both):
        return _Gated.apply(both)
    value, gate = both.chunk(2, dim=-1)
    return value * functional.gelu(gate)


class _Gated(torch.autograd.Function):
    """Keeps its input alone, and writes both halves of the gradient in place."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        value, gate = both.chunk(2, dim=-1)
        return functional.gelu(gate).mul_(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (both,), (grad,) = ctx.saved_tensors, grads
        value, gate = both.chunk(2, dim=-1)
        made = torch.empty_like(both)
        to_value, to_gate = made.chunk(2, dim=-1)
        scratch = functional.gelu(gate)
        torch.mul(grad, scratch, out=to_value)
        torch.mul(grad, value, out=scratch)
        torch.ops.aten.gelu_backward.grad_input(scratch, gate, grad_input=to_gate)
        return made
