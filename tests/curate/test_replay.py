from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import ledger, whatif, whatif_judge
from curate.cli_ledger import app
from curate.config import CurateConfig
from curate.replay import facts_of, replay
from shards.likeness import Sketch
from tests.curate.test_rules import DETAIL, MOVES

DEFAULT = CurateConfig()


def row(clip: int = 0, verdict: str = "kept", rule: str = "", **more: Any) -> dict[str, Any]:
    scores = {name: v for name, v in (asdict(MOVES) | asdict(DETAIL)).items() if name != "size"}
    blank = dict.fromkeys(ledger.SCHEMA.names)
    about = {"uid": "a", "path": "a.glb", "clip_index": clip, "verdict": verdict, "rule": rule}
    facts = {"duration_s": 1.0, "vertices": 100, "margin_px": 5.0, "sample_key": "a-000"}
    return blank | about | facts | scores | more


def judge(rows: list[dict[str, Any]], *settings: str) -> list[tuple[str, str]]:
    found = replay(rows, CurateConfig.load(None, list(settings)))
    assert sum(found.moves.values()) == len(rows)
    return [(new["verdict"], new["rule"]) for new in found.rows]


def test_the_same_settings_change_nothing() -> None:
    rows = [row(), row(1, "rejected", "too_still", motion=0.001, moved_most=0.0, drift=0.0)]
    assert judge(rows) == [("kept", ""), ("rejected", "too_still")]


def test_a_higher_limit_rejects_with_the_stored_value() -> None:
    (new,) = replay([row()], CurateConfig.load(None, ["motion.loop_gap_max=0.05"])).rows
    assert (new["verdict"], new["rule"]) == ("rejected", "no_loop")
    assert (new["value"], new["limit"], new["unit"]) == (0.1, 0.05, "asset sizes")
    assert new["sample_key"] == ""


def test_a_lower_limit_keeps_what_was_rejected() -> None:
    still = row(0, "rejected", "too_still", motion=0.005, moved_most=0.0, drift=0.0)
    assert judge([still], "motion.min=0.002") == [("kept", "")]


def test_the_clip_limit_follows_the_new_verdicts() -> None:
    rows = [row(0), row(1, "rejected", "clip_limit"), row(2, "rejected", "clip_limit")]
    assert judge(rows) == [("kept", "")] * 3
    limited = judge(rows, "clips.per_asset_max=2")
    assert limited == [("kept", ""), ("kept", ""), ("rejected", "clip_limit")]


def test_a_copy_does_not_use_up_the_clip_limit() -> None:
    """As in a build, which does not render what repeats an earlier clip of the asset."""
    shape = {"geometry": Sketch(12, np.linspace(0.1, 1, 14)).encode()}
    one, other = (
        shape | {"clip_sketch": Sketch(24, np.linspace(0, last, 16)).encode()} for last in (1, 2)
    )
    rows = [row(i) | sketches for i, sketches in enumerate((one, one, other, other, one))]
    copy, limit = ("rejected", "duplicate_geometry_and_clip"), ("rejected", "clip_limit")
    kept = ("kept", "")
    config = CurateConfig.load(None, ["clips.per_asset_max=2"])
    assert judge(rows, "clips.per_asset_max=2") == [kept, copy, kept, limit, limit]
    prepared = whatif.prepare(pa.Table.from_pylist(rows, schema=ledger.SCHEMA), config)
    found = whatif_judge.evaluate(prepared, {})
    assert (found.verdicts == whatif.KEPT).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    "lasting",
    [
        row(-1, "rejected", "no_clips"),
        row(0, "failed", "blender_crashed"),
        row(0, "rejected", "blank_images"),
        row(0, "rejected", "too_short", motion=None),
    ],
)
def test_what_scores_cannot_tell_keeps_its_verdict(lasting: dict[str, Any]) -> None:
    assert judge([lasting], "motion.min=0") == [(lasting["verdict"], lasting["rule"])]


SEEN = {"ssim_quarter": 0.8, "ssim_half": 0.97, "border_frames": 0}
PAPER = "rules=diffusion4d"


def test_scores_of_images_are_judged_anew() -> None:
    kept = row(**SEEN)
    assert judge([kept], PAPER) == [("kept", "")]
    assert judge([kept], PAPER, "pixels.ssim_still=0.7") == [("rejected", "ssim_too_still")]
    assert judge([kept], PAPER, "pixels.ssim_broken=0.9") == [("rejected", "ssim_broken")]
    cut = row(0, "rejected", "alpha_at_border", **SEEN | {"border_frames": 2})
    assert judge([cut], PAPER, "pixels.border_frames_max=2") == [("kept", "")]
    assert judge([cut], "pixels.ssim_still=0.7") == [("kept", "")]  # our rules do not look at it


def test_no_clip_passes_rules_on_images_that_were_not_rendered() -> None:
    assert judge([row(0, "rejected", "too_short")], PAPER) == [("rejected", "too_short")]
    still = SEEN | {"ssim_quarter": 0.96, "border_frames": None}
    rows = [row(0, "rejected", "ssim_too_still", **still)]
    assert judge(rows, PAPER, "pixels.ssim_still=0.99") == [("rejected", "ssim_too_still")]
    assert judge(rows, "pixels.enabled=true") == [("rejected", "ssim_too_still")]


def test_facts_are_those_that_were_measured() -> None:
    facts = facts_of(row())
    assert (facts.motion, facts.detail, facts.margin_px) == (MOVES, DETAIL, 5.0)
    assert facts_of(row(loop_gap=None)).detail is None


def test_the_verbs_read_a_run_and_leave_it_alone(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    still = {"motion": 0.005, "moved_most": 0.0, "drift": 0.0, "probe_s": 3.5}
    rows = [row(fetch_s=1.5, probe_s=1.0), row(1, "rejected", "too_still", stage="curate", **still)]
    ledger.append(tmp_path, rows, 0)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    run, out = CliRunner(), tmp_path / "out" / "new.parquet"
    done = run.invoke(app, ["replay", str(tmp_path / "ledger"), "--set", "motion.min=0.002"])
    assert done.exit_code == 0, done.output
    assert "1 of 2 verdicts change; 2 clips are kept" in done.output
    shown = run.invoke(app, ["stats", str(tmp_path)])
    (fell,) = [line.split() for line in shown.output.splitlines() if "too_still" in line]
    assert fell == ["rejected", "curate", "too_still", "1", "50.0", "3.5"]
    (kept,) = [line.split() for line in shown.output.splitlines() if line.startswith("kept")]
    assert kept == ["kept", "1", "50.0", "2.5"]
    assert "fetch 1.5  inspect 0.0  load 0.0  probe 4.5" in shown.output
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before
    run.invoke(app, ["replay", str(tmp_path), "--set", "motion.min=0.5", "--out", str(out)])
    assert pq.read_table(out)["verdict"].to_pylist() == ["kept", "rejected"]


def test_copies_are_found_in_stored_rows_and_let_go_by_the_setting() -> None:
    sketches = {
        "geometry": Sketch(12, np.linspace(0.1, 1, 14)).encode(),
        "clip_sketch": Sketch(24, np.linspace(0, 1, 16)).encode(),
    }
    rows = [row() | sketches, row(1) | sketches, row() | sketches | {"uid": "b", "path": "b.glb"}]
    assert [rule for _, rule in judge(rows)] == ["", *["duplicate_geometry_and_clip"] * 2]
    found = replay(rows, DEFAULT).rows
    assert [new["duplicate_of"] for new in found] == [None, "a-000", "a-000"]
    assert [new["family"] for new in found] == ["a"] * 3
    assert judge(found, "duplicates.reject=nothing") == [("kept", "")] * 3
    assert judge(found, "duplicates.reject=geometry")[2] == ("rejected", "duplicate_geometry")


def test_the_papers_rules_keep_copies_unless_told_otherwise() -> None:
    sketches = {
        "geometry": Sketch(12, np.linspace(0.1, 1, 14)).encode(),
        "clip_sketch": Sketch(24, np.linspace(0, 1, 16)).encode(),
    }
    rows = [row(**SEEN) | sketches, row(1, **SEEN) | sketches]
    assert judge(rows, PAPER) == [("kept", "")] * 2
    found = replay(rows, CurateConfig.load(None, [PAPER])).rows
    assert [new["duplicate_of"] for new in found] == [None, "a-000"]
    told = judge(rows, PAPER, "duplicates.reject=clips")
    assert [rule for _, rule in told] == ["", "duplicate_geometry_and_clip"]


def test_rows_of_before_are_judged_by_what_they_hold() -> None:
    later = {"parts", "licence", "geometry", "geometry_tracks", "texture_mb", "content"}
    assert judge([row() | dict.fromkeys(later)], "quality.parts_max=1") == [("kept", "")]
