"""A few kills over a cluster inside this machine; ``make chaos N=200`` for more."""

import subprocess
from pathlib import Path

import pytest

from tests.chaos.chaos import ROOT, Outcome, bad_store, command, make_inputs, outcome, storm

pytestmark = [pytest.mark.blender, pytest.mark.ray, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("storm") / "inputs", 3)


@pytest.fixture(scope="module")
def expected(inputs: Path) -> Outcome:
    """Give what an undisturbed build leaves."""
    calm = inputs.parent / "calm"
    subprocess.run(command(inputs, calm), cwd=ROOT, check=True, capture_output=True)
    samples, rows = outcome(calm)
    assert set(samples.values()) == {1}
    assert len({row[:2] for row in rows}) == len(rows) == 7
    return samples, rows


def test_after_ten_kills_there_is_what_an_undisturbed_build_leaves(
    inputs: Path, expected: Outcome, tmp_path: Path
) -> None:
    killed, ends = storm(inputs, tmp_path, kills=10, seed=9)
    assert killed.total() == 10
    assert len(killed) >= 3  # of four kinds
    for end in ends:
        assert end == expected


@pytest.mark.filterwarnings("ignore")  # of botocore and moto
def test_after_kills_a_store_that_fails_now_and_then_holds_the_same(
    inputs: Path, expected: Outcome
) -> None:
    pytest.importorskip("moto.server")
    with bad_store(seed=1) as (url, proxy):
        killed, ends = storm(inputs, url, kills=4, seed=1)
    assert killed.total() == 4
    assert len(killed) >= 2  # of five kinds
    assert proxy.done.total() > proxy.done["stall"]
    for end in ends:
        assert end == expected
