import numpy as np
import pytest
import torch

from tests.make_shards import FOV_DEG, make_sample
from train.metrics import (
    away_from_front,
    frechet_distance,
    measured_motion,
    psnr_db,
    silhouette_coherence,
    ssim,
)


def noise(seed: int, size: int = 16) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand((2, 3, 3, size, size), generator=source) * 2 - 1


def test_psnr_of_a_known_error() -> None:
    truth = torch.zeros((2, 3, 3, 4, 4))
    guess = truth.clone()
    guess[1] += 0.2  # 0.1 of the range from black to white
    assert psnr_db(guess, truth) == pytest.approx([100, 20], abs=1e-4)


def test_psnr_of_some_frames_ignores_the_others() -> None:
    truth = torch.zeros((1, 3, 3, 4, 4))
    guess = truth.clone()
    guess[:, 0] += 1
    guess[:, 2] += 0.2
    assert psnr_db(guess, truth, torch.tensor([False, True, True])) == pytest.approx(
        [20 + 10 * np.log10(2)], abs=1e-4
    )


def test_sides_and_back_begin_at_45_degrees_from_the_first_view() -> None:
    azimuths = [30.0, 74.0, 75.0, 210.0, 345.0, 346.0]
    assert away_from_front(azimuths).tolist() == [False, False, True, True, True, False]


def test_ssim_is_1_for_equals_and_falls_with_blur() -> None:
    truth = noise(0)
    blurred = torch.nn.functional.avg_pool2d(truth.flatten(0, 1), 3, 1, 1).view_as(truth)
    assert ssim(truth, truth) == pytest.approx([1, 1])
    assert (ssim(blurred, truth) < 0.7).all()
    assert np.isnan(ssim(noise(0, 8), noise(1, 8))).all()


def test_measured_motion_is_the_mean_squared_difference_in_the_models_unit() -> None:
    frozen = noise(0)
    assert measured_motion(frozen, frozen, 50) == pytest.approx([0, 0])
    assert measured_motion(frozen + 0.2, frozen, 50) == pytest.approx([0.5, 0.5])


def test_frechet_distance_of_known_gaussians() -> None:
    one = np.array([[-1.0], [1.0]])
    assert frechet_distance(one, one + 3) == pytest.approx(9)  # means 3 apart
    assert frechet_distance(one, 2 * one) == pytest.approx(2 + 8 - 2 * 4)
    assert np.isnan(frechet_distance(one[:1], one))
    source = np.random.default_rng(0)
    a, b = source.standard_normal((2, 4000, 5)) @ np.diag([1.0, 2, 3, 4, 5])
    assert frechet_distance(a, b) < 0.1
    assert frechet_distance(a, b * 2) == pytest.approx(55, rel=0.1)  # the sum of (1 - 2)^2 var


def orbits(uid: str, sequence: str = "static") -> tuple[torch.Tensor, torch.Tensor]:
    meta, images = make_sample(uid, 0, frames=8, size=32)
    rgba = torch.from_numpy(images[sequence]).float() / 255
    over_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    camera = torch.tensor(meta.sequences[sequence].c2w)
    return over_white.permute(0, 3, 1, 2)[None] * 2 - 1, camera[None]


def test_true_views_agree_about_their_solid_and_others_do_not() -> None:
    clip, camera = orbits("blob00")
    repeated = clip[:, :1].expand_as(clip)
    mixed = clip[:, [3, 0, 6, 1, 7, 4, 2, 5]]
    true, same, other = (silhouette_coherence(c, camera, FOV_DEG) for c in (clip, repeated, mixed))
    assert true > 0.985
    assert same < true - 0.03  # a body of revolution would look alike from all sides
    assert other < true - 0.03
    assert np.isnan(silhouette_coherence(torch.ones_like(clip), camera, FOV_DEG))
