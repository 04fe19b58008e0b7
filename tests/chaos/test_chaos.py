"""Ten kills over a cluster inside this machine; ``make chaos N=200`` for more."""

import subprocess
from pathlib import Path

import pytest

from tests.chaos.chaos import ROOT, command, make_inputs, outcome, storm

pytestmark = [pytest.mark.blender, pytest.mark.ray, pytest.mark.timeout(240)]


def test_after_ten_kills_there_is_what_an_undisturbed_build_leaves(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "inputs", 3)
    calm = tmp_path / "calm"
    subprocess.run(command(inputs, calm), cwd=ROOT, check=True, capture_output=True)
    expected = outcome(calm)
    samples, rows = expected
    assert set(samples.values()) == {1}
    assert len({row[:2] for row in rows}) == len(rows) == 7
    killed, ends = storm(inputs, tmp_path, kills=10, seed=6)
    assert killed.total() == 10
    assert len(killed) >= 3  # of four kinds
    for end in ends:
        assert end == expected
