import pytest
import torch
from torch import Tensor

from tests.train.small import MODEL, all_kept, random_batch
from train.config import NoiseConfig, SampleConfig
from train.guidance import aware_of_3d
from train.models.api import Conditions
from train.models.build import build_model
from train.noise import Schedule
from train.sample import ddim, generate, guided, trailing_steps

V = Schedule.build(NoiseConfig(target="v"))


@pytest.mark.parametrize("wanted", [1, 3, 7, 50, 1000])
def test_steps_start_at_pure_noise_and_fall(wanted: int) -> None:
    steps = trailing_steps(1000, wanted)
    assert steps[0] == 999
    assert len(set(steps)) == wanted
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] >= 0


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
    # all three kept; null keeps the cameras; the base has no motion
    own, null, still = (torch.full_like(batch.orbit, value) for value in (3.0, 1.0, 12.0))
    torch.testing.assert_close(made, aware_of_3d(own, null, still, 7, 0.5))
    assert (model.calls, base.calls) == (1, 1)


def test_guidance_by_a_base_needs_one() -> None:
    with pytest.raises(ValueError, match="needs the frozen base"):
        guided(Constant(0), all_kept(random_batch()), SampleConfig(w2=0.5))
