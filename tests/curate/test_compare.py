"""A comparison of two runs names every clip that changed, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.compare import EXAMPLES_MAX, compare
from shards.errors import RunError

pytestmark = pytest.mark.slow  # together


def row(uid: str, verdict: str = "kept", rule: str = "", **more: Any) -> dict[str, Any]:
    return {"uid": uid, "path": uid, "clip_index": 0, "verdict": verdict, "rule": rule} | more


def run(folder: Path, *rows: dict[str, Any]) -> Path:
    ledger.recover(folder)
    ledger.append(folder, list(rows), 0)
    return folder


def test_equal_runs_have_no_difference(tmp_path: Path) -> None:
    one = run(tmp_path / "a", row("x", motion=0.1), row("y", "failed", "crashed"))
    found = compare(one, one)
    assert found.totals == [("kept", 1, 1), ("rejected", 0, 0), ("failed", 1, 1)]
    assert (found.both, found.only_a, found.only_b) == (2, 0, 0)
    assert [found.moves, found.changed, found.drifts, found.failures] == [[], [], [], []]


def test_changes_are_counted_and_named(tmp_path: Path) -> None:
    a = run(
        tmp_path / "a",
        row("x", motion=0.1, drift=1.0), row("y", motion=0.2), row("z", "rejected", "too_still"),
        row("old"), row("w", "failed", "crashed"), row("r", "rejected", "too_still"),
    )  # fmt: skip
    b = run(
        tmp_path / "b",
        row("x", motion=0.1 + 1e-9, drift=3.0), row("y", "failed", "timeout", motion=0.5),
        row("z"), row("new", "failed"), row("w", "failed", "crashed"),
        row("r", "rejected", "teleport"),
    )  # fmt: skip
    found = compare(a, b)
    assert (found.both, found.only_a, found.only_b) == (5, 1, 1)
    assert [line["uid"] for line in found.changed] == ["y", "z"]
    assert [line["uid"] for line in found.failures] == ["y"]  # `new` was not there before
    moves = {(m["verdict_a"], m["rule_a"], m["verdict_b"], m["rule_b"]) for m in found.moves}
    assert moves == {
        ("kept", "", "failed", "timeout"),
        ("rejected", "too_still", "kept", ""),
        ("rejected", "too_still", "rejected", "teleport"),
    }
    drifts = {line["score"]: line for line in found.drifts}
    assert drifts.keys() == {"motion", "drift"}
    assert (drifts["motion"]["clips"], drifts["motion"]["path"]) == (1, "y")
    assert drifts["drift"]["median_change"] == pytest.approx(2.0)
    assert (drifts["drift"]["from_value"], drifts["drift"]["to_value"]) == (1.0, 3.0)


def test_long_lists_are_cut_but_counted(tmp_path: Path) -> None:
    names = [f"u{number:04d}" for number in range(EXAMPLES_MAX + 7)]
    a = run(tmp_path / "a", *map(row, names))
    b = run(tmp_path / "b", *(row(name, "failed", "crashed") for name in names))
    found = compare(a, b)
    assert (len(found.changed), found.changed_count) == (EXAMPLES_MAX, EXAMPLES_MAX + 7)
    assert (len(found.failures), found.failure_count) == (EXAMPLES_MAX, EXAMPLES_MAX + 7)


def test_folders_without_a_ledger_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no ledger"):
        compare(run(tmp_path / "a", row("x")), tmp_path)
