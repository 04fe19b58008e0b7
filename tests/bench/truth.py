"""Figures about the trained model: ``python -m tests.bench.truth [--only NAME ...]``.

Each figure is a function in ``FIGURES``: to add one, write it and list it there. Figures that are
missing on a machine (no diffusers, say) fail aloud; none is made up.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.harness import arguments, report


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure, and what else was seen on the way: name -> value."""

    value: float
    details: dict[str, object]


def step_speedup_vs_diffusers(given: argparse.Namespace) -> Measured:
    """Time a training step of ``small`` against diffusers' UNet3DConditionModel of equal size.

    Both have the same weights and see the same clip; a step is forward, backward and AdamW (fused),
    float32, dropout off in both. They take turns; the figure is the median of the rounds' ratios.
    """
    import torch
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

    from train.models.api import Conditions, all_conditions
    from train.models.build import build_model
    from train.models.modelscope import diffusers_config, load_weights
    from train.presets import MODELS

    text, device = 768, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = MODELS["small"].model_copy(
        update={
            **{"patch": 1, "space_channels": 4, "text": text, "image": None, "static": False},
            "zero_init": True,
        }
    )
    torch.manual_seed(0)
    peer: Any = UNet3DConditionModel(**diffusers_config(config))  # pyright: ignore
    model = build_model(config, 0)
    load_weights(model, peer.state_dict(), "diffusers")
    # eval() turns off the dropout that is fixed in diffusers' temporal layers; gradients flow on
    peer, model = peer.to(device).eval(), model.to(device).eval()
    noisy = torch.randn(1, given.frames, 4, given.side, given.side, device=device)
    tokens, step = torch.randn(1, 77, text, device=device), torch.tensor([500], device=device)
    conditions = Conditions(
        image=noisy[:, 0],
        camera=torch.randn(1, given.frames, 4, 4, device=device),
        motion=torch.zeros(1, device=device),
        keep=all_conditions(1, device),
        text=tokens,
        text_null=tokens,
    )
    theirs_in = noisy.transpose(1, 2).contiguous()

    def ours() -> torch.Tensor:
        return model(noisy, step, conditions)

    def theirs() -> torch.Tensor:
        return peer(theirs_in, step, tokens, return_dict=False)[0].transpose(1, 2)

    with torch.no_grad():
        difference = float((ours() - theirs()).abs().max())
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-6, fused=True) for m in (model, peer)]

    def seconds(forward: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer) -> float:
        began = time.perf_counter()
        (forward() - noisy).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    rounds = [
        (seconds(ours, optimizers[0]), seconds(theirs, optimizers[1]))
        for _ in range(given.rounds + 1)
    ][1:]  # the first allocates
    return Measured(
        statistics.median(b / a for a, b in rounds),
        {
            "ours_s": statistics.median(a for a, _ in rounds),
            "diffusers_s": statistics.median(b for _, b in rounds),
            "ratios": " ".join(f"{b / a:.2f}" for a, b in rounds),
            "largest difference of outputs": difference,
            "parameters_m": sum(p.numel() for p in peer.parameters()) / 1e6,
            "clip": f"1 x {given.frames} x 4 x {given.side} x {given.side}",
            "threads": torch.get_num_threads(),
        },
    )


FIGURES: dict[str, Callable[[argparse.Namespace], Measured]] = {
    "step_speedup_vs_diffusers": step_speedup_vs_diffusers,
}


def main() -> None:
    """Run from a shell."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=sorted(FIGURES), default=sorted(FIGURES))
    parser.add_argument("--rounds", type=int, default=3, help="of timed steps")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    given = parser.parse_args()
    figures: dict[str, float] = {}
    rows: list[tuple[str, object]] = []
    for name in given.only:
        measured = FIGURES[name](given)
        figures[name] = measured.value
        rows += [(name, measured.value), *((f"  {k}", v) for k, v in measured.details.items())]
    report("the trained model", ("figure", "value"), rows, figures, given.json)


if __name__ == "__main__":
    main()
