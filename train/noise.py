"""Noise schedules, what the network is shown, and what it is asked for: eps, v or x0.

A noisy clip is ``x_s = signal[s] * x0 + noise[s] * eps`` with signal^2 = alpha-bar and
signal^2 + noise^2 = 1. Step 0 has the least noise.

Clips lie over white, so for target x0 and feed "estimate" colours count from white, in units of
their usual spread: a network that answers 0 draws an empty picture.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from train.config import NoiseConfig

_WHITE = 1.0
_SPREAD = 0.5  # root mean square distance of a clip's colours from white, about

Target = Literal["eps", "v", "x0"]
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


@dataclass(frozen=True, slots=True)
class Schedule:
    """``signal`` and ``noise`` per step, float32, and the target of the network."""

    signal: Float32[Tensor, " s"]
    noise: Float32[Tensor, " s"]
    target: Target
    feed: Feed

    @classmethod
    def build(cls, config: NoiseConfig, device: torch.device | None = None) -> "Schedule":
        """Tabulate a noise config."""
        bar = alpha_bar(config)
        signal, noise = (
            torch.tensor(np.sqrt(part), dtype=torch.float32, device=device)
            for part in (bar, 1 - bar)
        )
        return cls(signal, noise, config.target, config.feed)

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
        weight = signal * _SPREAD**2 / (signal**2 * _SPREAD**2 + noise**2)
        return weight * (noisy - signal * _WHITE) / _SPREAD

    def goal(
        self, x0: Float32[Tensor, "b *n"], eps: Float32[Tensor, "b *n"], step: Int64[Tensor, " b"]
    ) -> Float32[Tensor, "b *n"]:
        """Give the network's target; v = signal * eps - noise * x0 (Salimans and Ho 2022)."""
        if self.target == "x0":
            return (x0 - _WHITE) / _SPREAD
        if self.target == "eps":
            return eps
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
            return _WHITE + _SPREAD * output
        signal, noise = self.at(step)
        if self.target == "eps":
            return (noisy - noise * output) / signal
        return signal * noisy - noise * output

    def residue(
        self, x0: Float32[Tensor, "b *n"], noisy: Float32[Tensor, "b *n"], step: Int64[Tensor, " b"]
    ) -> Float32[Tensor, "b *n"]:
        """Give the noise that, with a clean clip, makes up a noisy one."""
        signal, noise = self.at(step)
        return (noisy - signal * x0) / noise
