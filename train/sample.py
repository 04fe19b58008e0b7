"""Generate clips with DDIM (Song et al. 2021)."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from train.config import SampleConfig
from train.guidance import aware_of_3d
from train.models.api import Conditions, VideoDenoiser, joined
from train.noise import Schedule

Clips = Float32[Tensor, "b t c h w"]
Denoise = Callable[[Clips, Int64[Tensor, " b"]], Clips]
Draw = Callable[[], Clips]


def trailing_steps(total: int, wanted: int) -> list[int]:
    """Choose steps from the noisiest down, evenly, always with the last (Lin et al. 2023)."""
    return [round(total - i * total / wanted) - 1 for i in range(wanted)]


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
        Clips, clamped to [-1, 1].
    """
    steps = trailing_steps(len(schedule.signal), config.steps)
    x = start
    for i, now in enumerate(steps):
        step = torch.full((len(x),), now, dtype=torch.int64, device=x.device)
        clean = schedule.clean(denoise(schedule.shown(x, step), step), x, step).clamp(-1, 1)
        if i + 1 == len(steps):
            return clean
        eps = schedule.residue(clean, x, step)
        signal, noise = schedule.signal[steps[i + 1]], schedule.noise[steps[i + 1]]
        x = signal * clean + noise * eps
        if config.eta and draw is not None:  # Song et al. 2021, eq. 12 and 16
            left = (1 - (schedule.signal[now] / signal) ** 2).clamp(min=0).sqrt()
            fresh = config.eta * noise / schedule.noise[now] * left
            x = signal * clean + (noise**2 - fresh**2).clamp(min=0).sqrt() * eps + fresh * draw()
    return x


def guided(
    model: VideoDenoiser,
    given: Conditions,
    config: SampleConfig,
    base: VideoDenoiser | None = None,
) -> Denoise:
    """Bind conditions and guidance (Diffusion4D, eq. 3) to a model.

    The null prediction drops image and motion and keeps the cameras. ``base`` is the frozen 3D
    model; it sees the image and no motion. Terms with weight 0 cost nothing.
    """
    if config.w2 and base is None:
        raise ValueError("sample.w2 > 0 needs the frozen base model")
    null = given.without("image", "motion")

    def denoise(x: Clips, step: Int64[Tensor, " b"]) -> Clips:
        if config.w1:
            both = model(torch.cat([x, x]), torch.cat([step, step]), joined([given, null]))
            own, away = both.chunk(2)
        else:
            own = away = model(x, step, given)
        still = base(x, step, given.without("motion")) if base and config.w2 else own
        return aware_of_3d(own, away, still, config.w1, config.w2)

    return denoise


@torch.no_grad()
def generate(
    model: VideoDenoiser,
    given: Conditions,
    schedule: Schedule,
    config: SampleConfig,
    seeds: Sequence[int],
) -> Clips:
    """Draw one clip per condition: (b, t, c, h, w) in [-1, 1].

    Every clip has a seed of its own, and its noise is drawn on the CPU: neither its neighbours in
    the batch nor the device change what a seed means.
    """
    sources = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (given.camera.shape[1], *given.image.shape[1:])

    def draw() -> Clips:
        return torch.stack([torch.randn(shape, generator=one) for one in sources]).to(given.image)

    return ddim(guided(model, given, config), draw(), schedule, config, draw)
