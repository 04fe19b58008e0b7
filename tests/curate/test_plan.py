"""What ``--plan`` says of each asset, and that a build then does just that."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from curate.build import Options, plan
from curate.config import BuildConfig
from curate.plan import MEANINGS, State
from curate.run_folder import Unsettled
from curate.sources import find_sources
from orbit4d import app
from shards.tombstones import add_tombstones
from tests.curate.staging import SETTINGS, build, make_inputs, open_run, work


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(tmp_path / "in", a="kept kept", b="rejected", c="kept failed", d="kept")


@pytest.fixture
def run(inputs: Path, tmp_path: Path) -> Path:
    build(tmp_path / "run", inputs)
    return tmp_path / "run"


def found(run: Path, inputs: Path, *, retry_failed: bool = False) -> dict[State, list[str]]:
    """Return state -> first letters of the examples; of each state there are up to three."""
    made = plan([inputs], run, SETTINGS, Options(retry_failed=retry_failed))
    assert {state: min(n, 3) for state, n in made.counts.items()} == {
        state: len(paths) for state, paths in made.examples.items()
    }
    return {state: [path[0] for path in paths] for state, paths in made.examples.items()}


def test_a_new_folder_has_everything_to_do(inputs: Path, tmp_path: Path) -> None:
    made = plan([inputs], tmp_path / "none", SETTINGS, Options())
    assert (made.counts, made.missing) == ({"new": 4}, 4)
    assert next(iter(made.lines())) == "4 of 4 assets would be worked on"


def test_a_finished_folder_has_nothing_to_do(run: Path, inputs: Path) -> None:
    assert plan([inputs], run, SETTINGS, Options()).missing == 0


def test_each_reason_is_told_from_the_others(run: Path, inputs: Path) -> None:
    make_inputs(inputs, b="kept", e="kept", f="kept kept")
    (inputs / "d.glb").unlink()
    (inputs / "d.glb").symlink_to("nowhere")
    with contextlib.closing(open_run(run)) as folder:
        new = next(s for s in find_sources([inputs]) if s.path == "f.glb")
        work(folder, new)
        folder.reopen(new)
    assert found(run, inputs) == {
        "finished": ["a", "c"], "files": ["b", "d"], "new": ["e"], "begun": ["f"],
    }  # fmt: skip
    assert found(run, inputs, retry_failed=True)["retry"] == ["c"]


def test_staged_work_is_told_from_work_to_do(run: Path, inputs: Path) -> None:
    make_inputs(inputs, e="kept")
    with contextlib.closing(open_run(run)) as folder:
        work(folder, next(s for s in find_sources([inputs]) if s.path == "e.glb"))
    assert found(run, inputs)["staged"] == ["e"]


def test_settings_make_everything_stale_and_are_named(run: Path, inputs: Path) -> None:
    made = plan([inputs], run, BuildConfig.load(None, ["seed=1"]), Options())
    assert (made.counts, made.changes) == ({"settings": 4}, ["seed: 0, now 1"])
    assert "seed: 0, now 1" in "\n".join(made.lines())


def test_takedown_is_said_and_so_is_its_end(run: Path, inputs: Path) -> None:
    uid = next(s.uid for s in find_sources([inputs]) if s.path == "d.glb")
    add_tombstones(run, {uid: "asked for"})
    assert plan([inputs], run, SETTINGS, Options()).missing == 0  # rows stand, readers skip
    make_inputs(inputs, d="kept kept")
    assert found(run, inputs)["taken_down"] == ["d"]
    (run / "tombstones.json").unlink()
    assert found(run, inputs)["files"] == ["d"]


def test_samples_that_are_gone_are_missed(run: Path, inputs: Path) -> None:
    shutil.rmtree(run / "shards")
    shutil.rmtree(run / "index")
    assert found(run, inputs) == {"finished": ["b"], "samples": ["a", "c", "d"]}


def test_a_copy_is_looked_at_again_when_its_original_goes(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "in", a="kept=x", b="kept=x")
    build(tmp_path / "run", inputs)
    assert found(tmp_path / "run", inputs) == {"finished": ["a", "b"]}
    (inputs / "a.glb").unlink()
    assert found(tmp_path / "run", inputs) == {"original": ["b"]}


def test_the_build_does_what_the_plan_said(run: Path, inputs: Path) -> None:
    make_inputs(inputs, b="kept", e="kept")
    said = found(run, inputs)
    assert {f"{name}.glb" for name in (*said["files"], *said["new"])} == set(build(run, inputs))
    assert plan([inputs], run, SETTINGS, Options()).missing == 0


def test_every_state_has_its_words() -> None:
    more = ("finished", "staged", "begun", "original", "taken_down")
    assert set(MEANINGS) == {*get_args(Unsettled), *more} - {""}


def test_the_command_prints_the_plan_and_needs_no_update_for_it(run: Path, inputs: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    argv = ["build", str(inputs), "--out", str(run), "--plan", "--set", "seed=1"]
    shown = CliRunner().invoke(app, argv)
    assert shown.exit_code == 0, shown.output
    assert "4 of 4 assets would be worked on" in shown.stdout
    assert "seed: 0, now 1" in shown.stdout
    assert "this needs --update, or another --out" in shown.stdout
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
