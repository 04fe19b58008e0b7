from itertools import pairwise

import pytest
import torch
from torch import Tensor

from shards.errors import ConfigError
from tests.train.small import MODEL, all_kept, random_batch
from train.config import NoiseConfig, SampleConfig
from train.guidance import aware_of_3d
from train.models.api import Conditions
from train.models.build import build_model
from train.noise import LATENTS, Schedule
from train.sample import Denoise, ddim, dpm, generate, guided, trailing_steps

V = Schedule.build(NoiseConfig(target="v"))


@pytest.mark.parametrize("wanted", [1, 3, 7, 50, 1000])
def test_steps_start_at_pure_noise_and_fall(wanted: int) -> None:
    steps = trailing_steps(1000, wanted)
    assert steps[0] == 999
    assert len(set(steps)) == wanted
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] >= 0


FLOW = NoiseConfig(schedule="flow", target="flow", flow_shift=3.0)


@pytest.mark.parametrize("target", ["v", "x0"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_an_oracle_is_followed_to_its_clip(target: str, eta: float, steps: int) -> None:
    schedule = Schedule.build(NoiseConfig.build({"target": target}))
    x0 = random_batch().orbit

    def oracle(x: Tensor, step: Tensor) -> Tensor:
        if target == "x0":
            return schedule.goal(x0, x0, step)
        signal, noise = schedule.at(step)
        return (signal * x - x0) / noise  # v of the noise that is in x

    source = torch.Generator().manual_seed(0)
    start = torch.randn(x0.shape, generator=source)
    made = ddim(
        oracle,
        start,
        schedule,
        SampleConfig(steps=steps, eta=eta),
        lambda: torch.randn(x0.shape, generator=source),
    )
    torch.testing.assert_close(made, x0, atol=1e-5, rtol=0)


def gaussian_flow(config: NoiseConfig, spread: float) -> tuple[Schedule, Denoise]:
    """Give the perfect network for values drawn from N(0, spread^2)."""
    schedule = Schedule.build(config, values=LATENTS)

    def perfect(x: Tensor, step: Tensor) -> Tensor:
        signal, noise = schedule.at(step)
        clean = signal * spread**2 / (signal**2 * spread**2 + noise**2) * x
        eps = (x - signal * clean) / noise
        return schedule.goal(clean, eps, step)

    return schedule, perfect


@pytest.mark.slow  # imports diffusers
@pytest.mark.parametrize("config", [NoiseConfig(target="v"), NoiseConfig(target="x0"), FLOW])
@pytest.mark.parametrize("steps", [10, 20, 37])
def test_dpm_solver_needs_two_thirds_of_the_steps_of_ddim(config: NoiseConfig, steps: int) -> None:
    schedule, perfect = gaussian_flow(config, 0.5)
    start = torch.randn(random_batch().orbit.shape, generator=torch.Generator().manual_seed(0))
    exact = start * 0.5  # the flow keeps each value's place in its distribution
    settings = SampleConfig(solver="dpm++", steps=steps)
    longer = SampleConfig(steps=3 * steps // 2)
    error = (dpm(perfect, start, schedule, settings) - exact).abs().max()
    ddim_error = (ddim(perfect, start, schedule, longer) - exact).abs().max()
    assert error < 1.1 * ddim_error
    assert error < 4 / steps


@pytest.mark.parametrize("config", [NoiseConfig(target="v"), FLOW])
def test_ddim_converges_to_the_exact_solution(config: NoiseConfig) -> None:
    schedule, perfect = gaussian_flow(config, 0.5)
    start = torch.randn(random_batch().orbit.shape, generator=torch.Generator().manual_seed(0))
    errors = [
        float((ddim(perfect, start, schedule, SampleConfig(steps=n)) - start * 0.5).abs().max())
        for n in (5, 50, 500)
    ]
    assert errors[0] > 5 * errors[1] > 20 * errors[2]
    assert errors[2] < 0.02


def test_on_a_flow_schedule_ddim_is_eulers_method() -> None:
    schedule, perfect = gaussian_flow(FLOW, 0.5)
    x = start = torch.randn(random_batch().orbit.shape)
    steps = [*trailing_steps(1000, 4), None]
    for now, after in pairwise(steps):
        step = torch.full((2,), now)
        left = schedule.noise[now] - (0.0 if after is None else schedule.noise[after])
        x = x - left * perfect(x, step)
    made = ddim(perfect, start, schedule, SampleConfig(steps=4))
    torch.testing.assert_close(made, x, atol=1e-5, rtol=1e-5)


def test_eta_without_a_meaning_is_refused() -> None:
    given = all_kept(random_batch())
    for schedule, solver in ((Schedule.build(FLOW), "ddim"), (V, "dpm++")):
        config = SampleConfig.build({"eta": 0.5, "solver": solver})
        with pytest.raises(ConfigError, match=r"use eta=0"):
            generate(Constant(0), given, schedule, config, [0, 1])


def test_ddim_keeps_the_noise_of_its_start() -> None:
    x0, start = random_batch().orbit, torch.randn(2, 3, 3, 8, 8)
    met: list[Tensor] = []

    def oracle(x: Tensor, step: Tensor) -> Tensor:
        met.append(V.residue(x0, x, step))
        signal, noise = V.at(step)
        return (signal * x - x0) / noise

    ddim(oracle, start, V, SampleConfig(steps=4))
    for eps in met[1:]:
        torch.testing.assert_close(eps, start, atol=1e-3, rtol=0)


def test_a_clip_of_one_seed_ignores_its_neighbours() -> None:
    model = build_model(MODEL, 0).eval()
    torch.nn.init.normal_(model.get_parameter("conv_out.weight"), std=0.1)
    given, config = all_kept(random_batch()), SampleConfig(steps=2, w1=1.0)
    both = generate(model, given, V, config, [5, 6])
    alone = Conditions(given.image[1:], given.camera[1:], given.motion[1:], given.keep[1:])
    torch.testing.assert_close(generate(model, alone, V, config, [6]), both[1:])
    assert not both[0].allclose(both[1])


class Constant:
    """Answers with what it was told: 1 per kept condition, and its own offset."""

    def __init__(self, offset: float) -> None:
        self.offset = offset
        self.calls = 0

    def __call__(self, noisy: Tensor, step: Tensor, given: Conditions) -> Tensor:
        self.calls += 1
        kept = given.keep.float().sum(dim=1) + self.offset
        return kept[:, None, None, None, None].expand_as(noisy)


def test_guided_mixes_the_three_predictions_in_two_calls() -> None:
    model, base = Constant(0), Constant(10)
    batch = random_batch()
    denoise = guided(model, all_kept(batch), SampleConfig(w1=7, w2=0.5), base)
    made = denoise(batch.orbit, torch.zeros(2, dtype=torch.int64))
    # all five kept; null keeps the cameras; the base has neither motion nor the frozen orbit
    own, null, still = (torch.full_like(batch.orbit, value) for value in (5.0, 1.0, 13.0))
    torch.testing.assert_close(made, aware_of_3d(own, null, still, 7, 0.5))
    assert (model.calls, base.calls) == (1, 1)


def test_guidance_by_a_base_needs_one() -> None:
    with pytest.raises(ConfigError, match="needs the frozen base"):
        guided(Constant(0), all_kept(random_batch()), SampleConfig(w2=0.5))
