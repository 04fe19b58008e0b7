import math

import numpy as np
import pytest
import torch

from tests.train.small import MODEL, random_batch
from train.config import NoiseConfig, SampleConfig
from train.evaluate import figures, repeat_input, sample_clips
from train.models.build import build_model
from train.noise import Schedule


def test_the_baseline_repeats_the_first_image() -> None:
    repeated = repeat_input(random_batch())
    assert repeated.shape == random_batch().orbit.shape
    assert all(repeated[:, i].equal(random_batch().orbit[:, 0]) for i in range(3))


def test_figures_are_means_and_spreads_of_single_samples() -> None:
    f = figures(np.array([[20.0, 24.0], [22.0, 26.0]]), np.array([15.0, 26.0]))
    assert (f.clips, f.seeds, f.wins) == (2, 2, 1)
    assert (f.model_psnr_db, f.repeat_psnr_db, f.gain_db) == (23.0, 20.5, 2.5)
    assert f.model_over_clips_db == pytest.approx(math.sqrt(8))
    assert f.model_over_seeds_db == pytest.approx(math.sqrt(2))
    assert f.gain_over_clips_db == pytest.approx(math.sqrt(2 * 3.5**2))


def test_a_spread_of_one_is_unknown() -> None:
    f = figures(np.array([[20.0]]), np.array([15.0]))
    assert f.as_dict()["model_over_seeds_db"] is None
    assert f.as_dict()["gain_over_clips_db"] is None


def test_samples_depend_on_seed_and_key() -> None:
    model, schedule = build_model(MODEL, 0), Schedule.build(NoiseConfig())
    torch.nn.init.normal_(model.get_parameter("conv_out.weight"), std=0.1)
    one, same, other = (
        sample_clips(model, random_batch(), schedule, SampleConfig(steps=1), seed)
        for seed in (0, 0, 1)
    )
    assert one.equal(same)
    assert not one.equal(other)
