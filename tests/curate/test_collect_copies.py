"""Copies are dropped in input order, whoever finished first and whatever was killed."""

import itertools
import json
import os
from pathlib import Path

import pytest

from curate import ledger
from curate.config import BuildConfig
from tests.curate.staging import build, killed_at, make_inputs, outcome

pytestmark = pytest.mark.slow  # together

WORDS = {"a": "kept", "b": "kept=x kept", "c": "kept=x rejected", "d": "kept=x kept", "e": "kept"}
KEPT = [("a.glb", 0), ("b.glb", 0), ("b.glb", 1), ("d.glb", 1), ("e.glb", 0)]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(tmp_path / "in", **WORDS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Give the outcome of a build that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    build(folder / "run", make_inputs(folder / "in", **WORDS))
    return outcome(folder / "run")


def kept(run: Path) -> list[tuple[str, int]]:
    rows = ledger.load(run)
    return [(row["path"], row["clip_index"]) for row in rows if row["verdict"] == "kept"]


def copies(run: Path) -> dict[str, str]:
    return {row["path"]: row["duplicate_of"] for row in ledger.load(run) if row["duplicate_of"]}


def test_the_first_in_input_order_is_kept_whoever_is_done_first(
    inputs: Path, tmp_path: Path
) -> None:
    build(tmp_path / "in order", inputs)
    expected = outcome(tmp_path / "in order")
    assert kept(tmp_path / "in order") == KEPT
    first = next(r for r in ledger.load(tmp_path / "in order") if r["path"] == "b.glb")
    name = f"{first['uid']}-000"
    assert copies(tmp_path / "in order") == {"c.glb": name, "d.glb": name}
    for number, order in enumerate(itertools.islice(itertools.permutations(range(5)), 0, 120, 29)):
        run = tmp_path / str(number)
        build(run, inputs, shuffle=lambda missing, order=order: [missing[i] for i in order])
        assert outcome(run) == expected


def test_a_second_build_does_nothing(inputs: Path, tmp_path: Path) -> None:
    build(tmp_path / "run", inputs)
    before = outcome(tmp_path / "run")
    assert build(tmp_path / "run", inputs) == []
    assert outcome(tmp_path / "run") == before


@pytest.mark.parametrize(
    "step",  # plain pytest takes every third of them, for its time
    [pytest.param(step, marks=[pytest.mark.slow] * (step % 12 != 3)) for step in range(3, 90, 4)],
)
def test_killed_anywhere_the_next_build_ends_the_same(
    step: int, inputs: Path, tmp_path: Path, undisturbed: object
) -> None:
    with killed_at(step):
        build(tmp_path / "run", inputs)
    build(tmp_path / "run", inputs)
    assert outcome(tmp_path / "run") == undisturbed


def test_a_copy_that_comes_before_takes_the_place(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    make_inputs(inputs, a0="kept=x")
    assert build(run, inputs) == ["a0.glb"]
    assert kept(run) == [("a.glb", 0), ("a0.glb", 0), ("b.glb", 1), ("d.glb", 1), ("e.glb", 0)]
    assert set(copies(run)) == {"b.glb", "c.glb", "d.glb"}
    outcome(run)
    assert build(run, inputs) == []


def test_a_copy_is_made_once_its_original_is_gone_or_changed(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    (inputs / "b.glb").write_text("kept=y kept kept")
    done = build(run, inputs)
    assert done[0] == "b.glb"
    assert ("c.glb", 0) in kept(run)
    assert set(copies(run)) == {"d.glb"}
    outcome(run)


def test_counts_are_those_of_the_ledger(inputs: Path, tmp_path: Path) -> None:
    build(tmp_path / "run", inputs)
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["counts"]
    assert (counts["kept"], counts["rejected"]) == (5, 3)
    assert counts["rules"] == {"a_rule": 1, "duplicate_bytes": 2}


def test_nothing_is_dropped_where_the_setting_says_so(inputs: Path, tmp_path: Path) -> None:
    settings = ["shards.target_mb=0.012", "curate.duplicates.reject=nothing"]
    build(tmp_path / "run", inputs, BuildConfig.load(None, settings))
    assert len(kept(tmp_path / "run")) == 7
    assert set(copies(tmp_path / "run")) == {"c.glb", "d.glb"}
