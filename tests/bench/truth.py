"""Figures about the trained model: ``python -m tests.bench.truth [--only NAME ...]``.

Each figure is a function in ``FIGURES``: to add one, write it and list it there. Figures that are
missing on a machine (no diffusers, no real assets) fail aloud; none is made up. Models are trained
in ``--work``; once ``--budget-s`` is spent the command stops, and the same command goes on. More
``--models`` are trained with other seeds and give the spread; ``--seeds`` are those of sampling.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import proofs
from tests.bench.harness import arguments, report
from tests.bench.proofs import Measured
from tests.bench.toys import Unfinished


def step_speedup_vs_diffusers(given: argparse.Namespace, *, bf16: bool = False) -> Measured:
    """Time a training step of ``small`` against diffusers' UNet3DConditionModel of equal size.

    Both have the same weights and see the same clip; a step is forward, backward and AdamW (fused),
    dropout off in both, in float32 or under torch's autocast to bf16. They take turns; the figure
    is the median of the rounds' ratios.
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

    torch.set_num_threads(given.threads)

    def ours() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return model(noisy, step, conditions)

    def theirs() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return peer(theirs_in, step, tokens, return_dict=False)[0].transpose(1, 2)

    with torch.no_grad():
        difference = float((ours() - theirs()).abs().max())
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-6, fused=True) for m in (model, peer)]

    def seconds(
        forward: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer
    ) -> tuple[float, float]:
        began, worked = time.perf_counter(), time.process_time()
        (forward().float() - noisy).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began, time.process_time() - worked

    rounds = [
        (seconds(ours, optimizers[0]), seconds(theirs, optimizers[1]))
        for _ in range(given.rounds + 1)
    ][1:]  # the first allocates
    return Measured(
        statistics.median(b[0] / a[0] for a, b in rounds),
        {
            "ours_s": statistics.median(a[0] for a, _ in rounds),
            "diffusers_s": statistics.median(b[0] for _, b in rounds),
            "ratios": " ".join(f"{b[0] / a[0]:.2f}" for a, b in rounds),
            "ratios of processor seconds": " ".join(f"{b[1] / a[1]:.2f}" for a, b in rounds),
            "largest difference of outputs": difference,
            "parameters_m": sum(p.numel() for p in peer.parameters()) / 1e6,
            "clip": f"1 x {given.frames} x 4 x {given.side} x {given.side}",
            "threads": torch.get_num_threads(),
        },
    )


def step_speedup_bf16(given: argparse.Namespace) -> Measured:
    """Time the same in bf16."""
    return step_speedup_vs_diffusers(given, bf16=True)


FIGURES: dict[str, Callable[[argparse.Namespace], Measured]] = {
    "overfit_psnr_db": proofs.overfit_psnr_db,
    "m_rank_correlation": proofs.m_rank_correlation,
    "m_gain_lmr": proofs.m_gain_lmr,
    "m_gain_w2": proofs.m_gain_w2,
    "psnr_gain_static3d_db": proofs.psnr_gain_static3d_db,
    "psnr_gain_vs_repeat_db": proofs.psnr_gain_vs_repeat_db,
    "psnr_gain_real_db": proofs.psnr_gain_real_db,
    "step_speedup_vs_diffusers": step_speedup_vs_diffusers,
    "step_speedup_vs_diffusers_bf16": step_speedup_bf16,
}


def main() -> None:
    """Run from a shell."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--rounds", type=int, default=3, help="of timed steps")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    parser.add_argument("--work", type=Path, default=Path("truth"), help="takes toys and models")
    parser.add_argument("--budget-s", type=float, default=3600.0, help="for training")
    parser.add_argument("--base-steps", type=int, default=1000, help="of the base model")
    parser.add_argument("--steps", type=int, default=700, help="of the 4D models")
    parser.add_argument("--overfit-steps", type=int, default=1000)
    parser.add_argument("--real-steps", type=int, default=300, help="on real assets, after toys")
    parser.add_argument("--models", type=int, default=1, help="trained with seeds 0, 1, ...")
    parser.add_argument("--seeds", type=int, default=3, help="samples of every clip")
    parser.add_argument("--clips", type=int, default=32, help="of those held out, for m and w2")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.work, given.ends = given.work.resolve(), time.monotonic() + given.budget_s
    figures: dict[str, float] = {}
    rows: list[tuple[str, object]] = []
    unfinished: list[str] = []
    for name in given.only:
        try:
            measured = FIGURES[name](given)
        except Unfinished as stopped:
            unfinished.append(f"{name}: {stopped}")
            continue
        print(f"{name} {measured.value:.3g}", file=sys.stderr, flush=True)
        figures[name] = measured.value
        rows += [(name, measured.value), *((f"  {k}", v) for k, v in measured.details.items())]
    report("the trained model", ("figure", "value"), rows, figures, given.json)
    if unfinished:
        sys.exit("\n".join(unfinished))


if __name__ == "__main__":
    main()
