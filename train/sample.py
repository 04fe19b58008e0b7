"""Generate clips: DDIM (Song et al. 2021) or DPM-Solver++ (Lu et al. 2022), and guidance.

Solvers work on the clean clip that a prediction implies, so they are the same for every target.
DPM-Solver++ is diffusers'. DDIM is ours: diffusers' goes ``total // steps`` back from each step,
which is not its own next step where the division leaves a rest, and knows no flow matching. On a
flow schedule DDIM with eta 0 is Euler's method for the flow.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from shards.errors import ConfigError
from train.config import SampleConfig
from train.guidance import aware_of_3d
from train.models.api import Conditions, VideoDenoiser, joined
from train.noise import Schedule

Clips = Float32[Tensor, "b t c h w"]
Denoise = Callable[[Clips, Int64[Tensor, " b"]], Clips]
Draw = Callable[[], Clips]

_LEAST_SIGNAL = 2.0**-12  # stands in for none, as diffusers has it: the solver takes logarithms


def trailing_steps(total: int, wanted: int) -> list[int]:
    """Choose steps from the noisiest down, evenly, always with the last (Lin et al. 2023)."""
    return [round(total - i * total / wanted) - 1 for i in range(wanted)]


def clean_clip(denoise: Denoise, x: Clips, schedule: Schedule, now: int) -> Clips:
    """Give the clean clip that the network sees in a noisy one, within what clips can hold."""
    step = torch.full((len(x),), now, dtype=torch.int64, device=x.device)
    clean = schedule.clean(denoise(schedule.shown(x, step), step), x, step)
    limit = schedule.values.limit
    return clean if limit is None else clean.clamp(-limit, limit)


def ddim(
    denoise: Denoise,
    start: Clips,
    schedule: Schedule,
    config: SampleConfig,
    draw: Draw | None = None,
) -> Clips:
    """Walk from noise to clips.

    Args:
        denoise: gives the network's output at (what it is shown, step), guidance included.
        start: Gaussian noise, the whole randomness of the result where eta is 0.
        schedule: the one the network was trained with.
        config: number of steps and eta.
        draw: gives fresh noise like ``start``; needed for eta > 0.

    Returns:
        Clips, or latents.
    """
    steps = trailing_steps(len(schedule.signal), config.steps)
    x = start
    for i, now in enumerate(steps):
        clean = clean_clip(denoise, x, schedule, now)
        if i + 1 == len(steps):
            return clean
        step = torch.full((len(x),), now, dtype=torch.int64, device=x.device)
        eps = schedule.residue(clean, x, step)
        signal, noise = schedule.signal[steps[i + 1]], schedule.noise[steps[i + 1]]
        x = signal * clean + noise * eps
        if config.eta and draw is not None:  # Song et al. 2021, eq. 12 and 16
            left = (1 - (schedule.signal[now] / signal) ** 2).clamp(min=0).sqrt()
            fresh = config.eta * noise / schedule.noise[now] * left
            x = signal * clean + (noise**2 - fresh**2).clamp(min=0).sqrt() * eps + fresh * draw()
    return x


def dpm(denoise: Denoise, start: Clips, schedule: Schedule, config: SampleConfig) -> Clips:
    """Walk from noise to clips with DPM-Solver++ 2M, which needs fewer steps than DDIM.

    Any schedule becomes one of diffusion by dividing by the root of signal^2 + noise^2, which the
    solver's variables do not feel.
    """
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    power = (schedule.signal.double().square() + schedule.noise.double().square()).sqrt()
    signal = (schedule.signal.double() / power).clamp(min=_LEAST_SIGNAL).cpu().numpy()
    bar = np.concatenate([[1.0], signal**2])
    solver: Any = DPMSolverMultistepScheduler(
        num_train_timesteps=len(schedule.signal),
        trained_betas=1 - bar[1:] / bar[:-1],
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )
    solver.set_timesteps(config.steps, device=start.device)
    x = start / float(power[-1])
    for now in solver.timesteps:
        clean = clean_clip(denoise, x * float(power[int(now)]), schedule, int(now))
        x = solver.step(clean, now, x, return_dict=False)[0]
    return x


def guided(
    model: VideoDenoiser,
    given: Conditions,
    config: SampleConfig,
    base: VideoDenoiser | None = None,
) -> Denoise:
    """Bind conditions and guidance (Diffusion4D, eq. 3) to a model.

    The null prediction drops everything but the cameras. ``base`` is the frozen 3D model, which
    was trained on image and text: it sees neither m nor the frozen orbit. Terms with weight 0 cost
    nothing.
    """
    if config.w2 and base is None:
        raise ConfigError(
            "w2 > 0 needs the frozen base model: train with --base FIT, or sample with w2=0"
        )
    null = given.without("image", "motion", "text", "static")

    def denoise(x: Clips, step: Int64[Tensor, " b"]) -> Clips:
        if config.w1:
            both = model(torch.cat([x, x]), torch.cat([step, step]), joined([given, null]))
            own, away = both.chunk(2)
        else:
            own = away = model(x, step, given)
        still = base(x, step, given.without("motion", "static")) if base and config.w2 else own
        return aware_of_3d(own, away, still, config.w1, config.w2)

    return denoise


@torch.no_grad()
def generate(
    model: VideoDenoiser,
    given: Conditions,
    schedule: Schedule,
    config: SampleConfig,
    seeds: Sequence[int],
    base: VideoDenoiser | None = None,
) -> Clips:
    """Draw one clip per condition: (b, t, c, h, w), pixels in [-1, 1] or latents.

    Every clip has a seed of its own, and its noise is drawn on the CPU: neither its neighbours in
    the batch nor the device change what a seed means.
    """
    sources = [torch.Generator().manual_seed(seed) for seed in seeds]
    if config.eta and (config.solver != "ddim" or not _keeps_power(schedule)):
        raise ConfigError(
            f"eta {config.eta} is for the solver ddim on a diffusion schedule, not for "
            f"{config.solver} or flow; use eta=0"
        )
    shape = (given.camera.shape[1], *given.image.shape[1:])

    def draw() -> Clips:
        return torch.stack([torch.randn(shape, generator=one) for one in sources]).to(given.image)

    denoise = guided(model, given, config, base)
    if config.solver == "dpm++":
        return dpm(denoise, draw(), schedule, config)
    return ddim(denoise, draw(), schedule, config, draw)


def _keeps_power(schedule: Schedule) -> bool:
    power = schedule.signal.square() + schedule.noise.square()
    return bool((power - 1).abs().max() < 1e-4)
