import numpy as np
import pytest
import torch

from shards.errors import ConfigError
from train.config import NoiseConfig
from train.noise import Schedule, alpha_bar, levels

SCHEDULES = [
    NoiseConfig(schedule=schedule, zero_terminal_snr=zero, target="v")
    for schedule in ("sqrt_linear", "cosine")
    for zero in (True, False)
]


@pytest.mark.parametrize("config", SCHEDULES)
def test_signal_falls_from_nearly_all_to_nearly_none(config: NoiseConfig) -> None:
    bar = alpha_bar(config)
    assert bar.shape == (config.steps,)
    assert (np.diff(bar) < 0).all()
    assert bar[0] > 0.99
    assert bar[-1] < 0.01


@pytest.mark.parametrize("schedule", ["sqrt_linear", "cosine"])
def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_first_step(schedule: str) -> None:
    plain = alpha_bar(NoiseConfig.build({"schedule": schedule, "zero_terminal_snr": False}))
    rescaled = alpha_bar(NoiseConfig.build({"schedule": schedule, "zero_terminal_snr": True}))
    assert rescaled[-1] == 0
    assert plain[-1] > 0
    np.testing.assert_allclose(rescaled[0], plain[0], rtol=1e-12)


def test_sqrt_linear_is_the_published_schedule() -> None:
    bar = alpha_bar(NoiseConfig(zero_terminal_snr=False))
    # noise over signal, by which an error in eps grows on its way to x0
    growth = np.sqrt((1 - bar) / bar)[[100, 500, 800, 999]]
    np.testing.assert_allclose(growth, [0.34, 1.62, 5.1, 14.6], rtol=0.02)


@pytest.mark.parametrize("schedule_name", ["sqrt_linear", "flow"])
@pytest.mark.parametrize("target", ["eps", "v", "x0", "flow"])
def test_a_perfect_output_gives_back_clip_and_noise(target: str, schedule_name: str) -> None:
    if (target, schedule_name) == ("eps", "flow"):
        pytest.skip("refused: pure noise, about which eps says nothing")
    config = NoiseConfig.build(
        {"target": target, "zero_terminal_snr": False, "schedule": schedule_name}
    )
    schedule = Schedule.build(config)
    x0, eps = torch.randn(2, 3, 2, 3, 4, 4, dtype=torch.float64)
    step = torch.tensor([0, 500, 900])
    noisy = schedule.noisy(x0, eps, step)
    clean = schedule.clean(schedule.goal(x0, eps, step), noisy, step)
    torch.testing.assert_close(clean, x0, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(schedule.residue(x0, noisy, step), eps, atol=1e-4, rtol=1e-4)


def test_flow_goes_evenly_from_clip_to_noise() -> None:
    signal, noise = levels(NoiseConfig(schedule="flow", target="flow"))
    np.testing.assert_allclose(signal + noise, 1)
    np.testing.assert_allclose(np.diff(noise), 1e-3, atol=1e-12)
    assert noise[-1] == 1
    _, shifted = levels(NoiseConfig(schedule="flow", target="flow", flow_shift=3.0))
    assert shifted[-1] == 1
    assert shifted[499] == pytest.approx(0.75)


@pytest.mark.parametrize("target", ["v", "x0", "flow"])
def test_pure_noise_still_determines_the_clip_from_a_perfect_output(target: str) -> None:
    schedule = Schedule.build(NoiseConfig.build({"target": target}))
    x0, eps = torch.randn(2, 2, 2, 3, 4, 4)
    step = torch.full((2,), 999)
    noisy = schedule.noisy(x0, eps, step)
    torch.testing.assert_close(noisy, eps)
    torch.testing.assert_close(schedule.clean(schedule.goal(x0, eps, step), noisy, step), x0)


def test_eps_from_pure_noise_is_refused() -> None:
    with pytest.raises(ConfigError, match="target eps says nothing"):
        NoiseConfig.build({"target": "eps", "zero_terminal_snr": True})


def test_the_estimate_is_the_clip_without_noise_and_empty_in_pure_noise() -> None:
    schedule = Schedule.build(NoiseConfig(target="x0", feed="estimate"))
    x0, eps = torch.randn(2, 2, 2, 3, 4, 4)
    first, last = torch.zeros(2, dtype=torch.int64), torch.full((2,), 999)
    shown = schedule.shown(schedule.noisy(x0, torch.zeros_like(x0), first), first)
    torch.testing.assert_close(shown, schedule.goal(x0, eps, first), atol=0.02, rtol=0.02)
    assert schedule.shown(schedule.noisy(x0, eps, last), last).eq(0).all()


def test_the_estimate_is_the_best_linear_one() -> None:
    schedule = Schedule.build(NoiseConfig(target="x0", feed="estimate"))
    source = torch.Generator().manual_seed(0)
    goal = torch.randn((1, 100_000, 1, 1, 1), generator=source)
    eps, step = torch.randn(goal.shape, generator=source), torch.tensor([500])
    x0 = schedule.clean(goal, goal, step)
    shown = schedule.shown(schedule.noisy(x0, eps, step), step)
    error = (shown - goal).square().mean()
    assert error < ((1.1 * shown) - goal).square().mean()
    assert error < ((0.9 * shown) - goal).square().mean()


def test_an_answer_of_zero_is_an_empty_picture() -> None:
    schedule = Schedule.build(NoiseConfig(target="x0"))
    zero = torch.zeros((2, 1, 3, 4, 4))
    assert schedule.clean(zero, zero, torch.tensor([0, 999])).eq(1).all()
