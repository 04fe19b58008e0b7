"""The built-in samples end as their ground truth says, clip by clip."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from curate import ledger

pytestmark = [pytest.mark.blender, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    "render.sequences.names=[front]", "render.sequences.width=16", "render.sequences.height=16",
    "render.engine.samples=1",
]  # fmt: skip


def test_every_clip_gets_the_verdict_and_rule_of_its_truth(
    samples_dir: Path, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "orbit4d", "build", str(samples_dir), "--out"]
    argv += [str(tmp_path / "run")]
    argv += [part for setting in SETTINGS for part in ("--set", setting)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "clips inspected" in done.stderr
    assert "ETA" in done.stderr
    found = {
        (row["path"].removesuffix(".glb"), row["clip_index"]): (row["verdict"], row["rule"])
        for row in ledger.load(tmp_path / "run")
    }
    samples = json.loads((samples_dir / "samples.json").read_text())["samples"]
    truth = {
        (sample["name"], clip["index"]): (clip["expected_verdict"], clip["expected_rule"])
        for sample in samples
        for clip in sample["clips"]
    }
    assert found == truth
