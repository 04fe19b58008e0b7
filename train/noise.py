"""Noise schedules, what the network is shown, and what it is asked for: eps, v, x0 or flow.

A noisy clip is ``x_s = signal[s] * x0 + noise[s] * eps``. Step 0 has the least noise. Diffusion has
signal^2 = alpha-bar and signal^2 + noise^2 = 1, flow matching has signal + noise = 1.

For target x0 and feed "estimate" values count from where they usually lie, in units of their usual
spread. Pixels lie over white: a network that answers 0 draws an empty picture.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from train.config import NoiseConfig

Target = Literal["eps", "v", "x0", "flow"]
Feed = Literal["noisy", "estimate"]

_COSINE_OFFSET = 0.008  # Nichol and Dhariwal 2021, eq. 17
_BETA_MAX = 0.999


def alpha_bar(config: NoiseConfig) -> Float64[np.ndarray, " s"]:
    """Give the share of the clip's variance that is left at every step, falling.

    ``sqrt_linear`` is Stable Diffusion's and VideoMV's (betas linear in their square roots),
    ``cosine`` that of Nichol and Dhariwal 2021. Zero terminal SNR after Lin et al. 2023, alg. 1.
    """
    if config.schedule == "sqrt_linear":
        roots = np.linspace(config.beta_start**0.5, config.beta_stop**0.5, config.steps)
        bar = np.cumprod(1 - roots**2)
    else:
        at = (np.arange(config.steps + 1) / config.steps + _COSINE_OFFSET) / (1 + _COSINE_OFFSET)
        level = np.cos(at * np.pi / 2) ** 2
        bar = np.cumprod(1 - np.minimum(1 - level[1:] / level[:-1], _BETA_MAX))
    return _to_zero(bar) if config.zero_terminal_snr else bar


def _to_zero(bar: Float64[np.ndarray, " s"]) -> Float64[np.ndarray, " s"]:
    root = np.sqrt(bar)
    shifted = (root - root[-1]) * root[0] / (root[0] - root[-1])  # keeps the first, zeroes the last
    return shifted**2


def levels(config: NoiseConfig) -> tuple[Float64[np.ndarray, " s"], Float64[np.ndarray, " s"]]:
    """Give signal and noise at every step.

    ``flow`` is rectified flow (Liu et al. 2022): noise grows evenly to 1, shifted as in Stable
    Diffusion 3 (Esser et al. 2024, eq. 23).
    """
    if config.schedule == "flow":
        even = np.arange(1, config.steps + 1) / config.steps
        noise = config.flow_shift * even / (1 + (config.flow_shift - 1) * even)
        return 1 - noise, noise
    bar = alpha_bar(config)
    return np.sqrt(bar), np.sqrt(1 - bar)


@dataclass(frozen=True, slots=True)
class Values:
    """Where the values of clean clips lie: about ``centre``, root mean square ``spread`` from it.

    ``limit`` is the largest absolute value that a clean clip can have, or none.
    """

    centre: float
    spread: float
    limit: float | None


PIXELS = Values(centre=1.0, spread=0.5, limit=1.0)  # over white, in [-1, 1]
LATENTS = Values(centre=0.0, spread=1.0, limit=None)


@dataclass(frozen=True, slots=True)
class Schedule:
    """``signal`` and ``noise`` per step, float32, and the target of the network."""

    signal: Float32[Tensor, " s"]
    noise: Float32[Tensor, " s"]
    target: Target
    feed: Feed
    values: Values = PIXELS

    @classmethod
    def build(
        cls, config: NoiseConfig, device: torch.device | None = None, values: Values = PIXELS
    ) -> "Schedule":
        """Tabulate a noise config."""
        signal, noise = (
            torch.tensor(part, dtype=torch.float32, device=device) for part in levels(config)
        )
        return cls(signal, noise, config.target, config.feed, values)

    def at(self, step: Int64[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """Give signal and noise of every clip, shaped (b, 1, 1, 1, 1)."""
        return self.signal[step][:, None, None, None, None], self.noise[step][
            :, None, None, None, None
        ]

    def noisy(
        self, x0: Float32[Tensor, "b *n"], eps: Float32[Tensor, "b *n"], step: Int64[Tensor, " b"]
    ) -> Float32[Tensor, "b *n"]:
        """Add noise."""
        signal, noise = self.at(step)
        return signal * x0 + noise * eps

    def shown(
        self, noisy: Float32[Tensor, "b *n"], step: Int64[Tensor, " b"]
    ) -> Float32[Tensor, "b *n"]:
        """Give what the network sees of a noisy clip.

        The estimate is the best linear one under an independent prior per colour, mean white. At
        little noise it is the clip; at pure noise it is empty, where the noisy clip itself would
        fill a small network's channels with numbers that say nothing.
        """
        if self.feed == "noisy":
            return noisy
        signal, noise = self.at(step)
        centre, spread = self.values.centre, self.values.spread
        weight = signal * spread**2 / (signal**2 * spread**2 + noise**2)
        return weight * (noisy - signal * centre) / spread

    def goal(
        self, x0: Float32[Tensor, "b *n"], eps: Float32[Tensor, "b *n"], step: Int64[Tensor, " b"]
    ) -> Float32[Tensor, "b *n"]:
        """Give the network's target.

        v = signal * eps - noise * x0 (Salimans and Ho 2022); flow = eps - x0, the direction from
        clip to noise (ISA4D predicts its negative).
        """
        if self.target == "x0":
            return (x0 - self.values.centre) / self.values.spread
        if self.target == "eps":
            return eps
        if self.target == "flow":
            return eps - x0
        signal, noise = self.at(step)
        return signal * eps - noise * x0

    def clean(
        self,
        output: Float32[Tensor, "b *n"],
        noisy: Float32[Tensor, "b *n"],
        step: Int64[Tensor, " b"],
    ) -> Float32[Tensor, "b *n"]:
        """Give the clean clip that an output of the network implies."""
        if self.target == "x0":
            return self.values.centre + self.values.spread * output
        signal, noise = self.at(step)
        if self.target == "eps":
            return (noisy - noise * output) / signal
        if self.target == "flow":
            return (noisy - noise * output) / (signal + noise)
        return (signal * noisy - noise * output) / (signal**2 + noise**2)

    def alpha_bar(self, step: Int64[Tensor, " b"]) -> Float32[Tensor, " b"]:
        """Give the clip's share of the noisy clip's power."""
        signal, noise = self.signal[step].square(), self.noise[step].square()
        return signal / (signal + noise)

    def residue(
        self, x0: Float32[Tensor, "b *n"], noisy: Float32[Tensor, "b *n"], step: Int64[Tensor, " b"]
    ) -> Float32[Tensor, "b *n"]:
        """Give the noise that, with a clean clip, makes up a noisy one."""
        signal, noise = self.at(step)
        return (noisy - signal * x0) / noise
