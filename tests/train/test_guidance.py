import pytest
import torch

from train.config import NoiseConfig
from train.guidance import aware_of_3d, classifier_free
from train.noise import Schedule

GIVEN, NULL, BASE, NOISY = torch.randn(
    (4, 2, 3, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64
)


def test_without_weights_only_the_conditional_counts() -> None:
    torch.testing.assert_close(aware_of_3d(GIVEN, NULL, BASE, 0, 0), GIVEN)
    torch.testing.assert_close(classifier_free(GIVEN, NULL, 1), GIVEN)


def test_w1_alone_is_classifier_free_guidance_of_scale_one_more() -> None:
    torch.testing.assert_close(
        aware_of_3d(GIVEN, NULL, BASE, 7.0, 0), classifier_free(GIVEN, NULL, 8.0)
    )


def test_the_3d_term_vanishes_where_the_base_agrees() -> None:
    torch.testing.assert_close(
        aware_of_3d(GIVEN, NULL, GIVEN, 7.0, 0.5), aware_of_3d(GIVEN, NULL, BASE, 7.0, 0)
    )


@pytest.mark.parametrize("target", ["eps", "v", "x0", "flow"])
def test_guidance_means_the_same_in_every_space(target: str) -> None:
    schedule = Schedule.build(NoiseConfig.build({"target": target, "zero_terminal_snr": False}))
    step = torch.tensor([300, 700])
    in_its_space = schedule.clean(aware_of_3d(GIVEN, NULL, BASE, 7.0, 0.5), NOISY, step)
    given, null, base = (schedule.clean(part, NOISY, step) for part in (GIVEN, NULL, BASE))
    torch.testing.assert_close(in_its_space, aware_of_3d(given, null, base, 7.0, 0.5))
