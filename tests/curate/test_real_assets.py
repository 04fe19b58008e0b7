"""Every real and every hostile file ends as its manifest says, and nothing escapes."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

from curate import ledger

pytestmark = [pytest.mark.blender, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
Rows = dict[str, list[dict[str, object]]]

# The smallest build that still decides everything: one tiny sequence of each kept clip.
SETTINGS = [
    "render.sequences.names=[front]", "render.sequences.width=16", "render.sequences.height=16",
    "render.engine.samples=1", "curate.clips.per_asset_max=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    run = tmp_path_factory.mktemp("real") / "run"
    argv = [sys.executable, "-m", "orbit4d", "build", str(assets_dir), "--out", str(run)]
    argv += [part for setting in SETTINGS for part in ("--set", setting)]
    before = set(os.listdir(tempfile.gettempdir()))
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stderr[-3000:]
    left = {name for name in os.listdir(tempfile.gettempdir()) if "script_ran" in name} - before
    assert not left, f"a script in a .blend ran and left {left}"
    found: Rows = defaultdict(list)
    for row in ledger.load(run):
        found[row["path"]].append(row)
    return found


def manifest(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_file_and_clip_has_a_row(rows: Rows, assets_dir: Path) -> None:
    assets = manifest(assets_dir / "manifest.csv")
    hostile = manifest(assets_dir / "malformed" / "manifest.csv")
    names = {row["file"] for row in assets} | {f"malformed/{row['file']}" for row in hostile}
    assert set(rows) == names
    for asset in assets:
        clips = int(asset["n_animations"])
        if clips and asset["class"] == "animated":
            indices = [row["clip_index"] for row in rows[asset["file"]]]
            assert sorted(indices) == list(range(clips)), asset["file"]  # type: ignore[type-var]


def test_verdicts_agree_with_the_manifest(rows: Rows, assets_dir: Path) -> None:
    wrong = []
    for asset in manifest(assets_dir / "manifest.csv"):
        found = rows[asset["file"]]
        kept = any(row["verdict"] == "kept" for row in found)
        rules = {row["rule"] for row in found}
        expected = asset["expected"]
        if "leaves the frame" in expected:
            fits = kept or "leaves_frame" in rules
        elif expected.startswith("accept"):
            fits = kept
        elif "low-motion" in expected:
            fits = rules <= {"too_still", ""}
        else:
            wanted = {
                "reject: not animated": {"no_clips"},
                "reject: no mesh": {"no_mesh"},
                "reject: no vertex moves": {"too_still", "too_short", "camera_light_only"},
            }[expected]
            fits = not kept and rules <= wanted
        if not fits:
            wrong.append(f"{asset['file']}: expected {expected!r}, found {sorted(map(str, rules))}")
    assert not wrong, "\n".join(wrong)


def test_hostile_files_end_with_a_named_cause(rows: Rows, assets_dir: Path) -> None:
    for hostile in manifest(assets_dir / "malformed" / "manifest.csv"):
        for row in rows[f"malformed/{hostile['file']}"]:
            if hostile["expected"].startswith("reject") and " or " not in hostile["expected"]:
                assert row["verdict"] in ("failed", "rejected"), hostile["file"]
            if row["verdict"] != "kept":
                assert row["rule"] != "internal_error", row["log_tail"]
                assert len(str(row["error"])) > 15, hostile["file"]


def test_a_texture_that_was_not_read_is_on_record(rows: Rows) -> None:
    for name in ("missing-texture.gltf", "http-uri-texture.gltf"):
        (row,) = rows[f"malformed/{name}"]
        assert json.loads(str(row["warnings"])), name
