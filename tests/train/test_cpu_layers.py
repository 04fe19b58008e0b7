"""What is computed in other ways on CPUs is the same function as torch's, forward and backward."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.cpu import GroupNorm, attend, gated


def theirs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v)


def off(x: Tensor, truth: Tensor) -> float:
    return float((x.detach().double() - truth.detach()).norm() / truth.detach().norm())


@pytest.mark.parametrize(("b", "h", "w"), [(6, 32, 32), (1, 24, 300)])
def test_gradients_of_bf16_norms_are_as_exact_as_torchs(b: int, h: int, w: int) -> None:
    torch.manual_seed(0)
    x, slope = (torch.randn(b, h, w, 64).permute(0, 3, 1, 2).bfloat16() for _ in range(2))
    x = (x * 2 + 1).requires_grad_()
    ours, theirs = GroupNorm(8, 64), nn.GroupNorm(8, 64)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.copy_(torch.rand(64) + 0.5))
        theirs.bias.copy_(ours.bias.copy_(torch.randn(64)))
    exact = nn.GroupNorm(8, 64).double()
    exact.load_state_dict(theirs.state_dict())
    made: dict[nn.Module, list[Tensor]] = {}
    for norm in (ours, theirs, exact):
        given = x.double() if norm is exact else x
        y = norm(given)
        inputs = (given, norm.weight, norm.bias)
        made[norm] = [y, *torch.autograd.grad(y, inputs, slope.to(y.dtype))]
    assert made[ours][0].equal(made[theirs][0])
    assert "_GroupNorm" in str(ours(x).grad_fn)
    for one, other, truth in zip(made[ours], made[theirs], made[exact], strict=True):
        assert one.dtype == other.dtype
        assert off(one, truth) < 1.2 * off(other, truth) + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gate_gives_the_bits_of_autograd(dtype: torch.dtype) -> None:
    both = torch.randn(3, 5, 32, dtype=dtype, requires_grad=True)
    slope = torch.randn(3, 5, 16, dtype=dtype)
    value, gate = both.chunk(2, dim=-1)
    plain, ours = value * functional.gelu(gate), gated(both)
    assert ours.equal(plain)
    assert torch.autograd.grad(ours, both, slope)[0].equal(
        torch.autograd.grad(plain, both, slope)[0]
    )


@pytest.mark.parametrize("tokens", [24, 300])
def test_short_bf16_attention_is_as_exact_as_torchs(tokens: int) -> None:
    q, k, v = torch.randn(3, 10, 2, tokens, 16).requires_grad_()
    slope = torch.randn(10, 2, tokens, 16)
    low = [x.bfloat16().detach().requires_grad_() for x in (q, k, v)]
    exact = [x.double().detach().requires_grad_() for x in low]
    truth = theirs(*exact)
    truths = torch.autograd.grad(truth, exact, slope.double())
    errors: list[list[float]] = []
    for form in (attend, theirs):
        y = form(*low)
        grads = torch.autograd.grad(y, low, slope.bfloat16())
        errors.append([off(a, b) for a, b in zip((y, *grads), (truth, *truths), strict=True)])
    assert all(one < 2 * other for one, other in zip(*errors, strict=True)), errors
    assert max(errors[0]) < 0.01
