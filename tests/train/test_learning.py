"""The model learns: it beats repeating the input on clips it has not seen."""

from pathlib import Path

import pytest

from tests.make_shards import make_run
from train.generate import generate_held_out
from train.loop import fit
from train.presets import preset
from train.run import plan_fit


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sampled_orbits_of_unseen_clips_beat_repeating_the_input(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=4, clips=3, frames=12, size=32)
    config = preset("tiny", ["steps=120", "data.frames=12", "device=cpu"])
    fit(plan_fit(config, run, tmp_path / "fit"), run, tmp_path / "fit")
    result = generate_held_out(tmp_path / "fit", run, tmp_path / "orbits", seeds=2)
    assert result.figures.clips == 2
    assert result.figures.gain_db > 0.5, result.figures
