"""One clip alone keeps out of what builds made."""

from pathlib import Path

import pytest

from curate.one import One, render_one
from shards.errors import ConfigError
from tests.curate.staging import SETTINGS, build, make_inputs, outcome


def test_a_run_of_a_build_is_not_written_over(tmp_path: Path) -> None:
    inputs, run = make_inputs(tmp_path / "in", a="kept kept"), tmp_path / "run"
    build(run, inputs)
    before = outcome(run), (run / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=r"run: is the RUN of a build, .* as --out"):
        render_one(One(str(inputs / "a.glb"), 0), run, SETTINGS)
    assert (outcome(run), (run / "run.json").read_bytes()) == before
