"""Each malformed file by itself: a named end within 20 s and 2 GB, Blender included."""

import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate import ledger

pytestmark = [pytest.mark.blender, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
_SECONDS, _BYTES = 20.0, 2 << 30
_UNNAMED = {"", None, "internal_error", "inspector_fault", "blender_error"}
_SETTINGS = [
    "render.sequences.names=[front]", "render.sequences.width=16", "render.sequences.height=16",
    "render.sequences.frames=4", "render.engine.samples=1",
]  # fmt: skip


def _manifest() -> dict[str, str]:
    """Read what is expected of each file; see ``assets_dir`` in conftest.py."""
    folder = Path(os.environ.get("ORBIT4D_ASSETS", ROOT.parent / "shared" / "assets"))
    path = folder / "malformed" / "manifest.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as stream:
        return {row["file"]: row["expected"] for row in csv.DictReader(stream)}


EXPECTED = _manifest()


def _build(file: Path, run: Path) -> tuple[int, float, int, str]:
    """Build one file in a child; returns its exit status, seconds, peak resident bytes, words."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))  # Blender inherits it

    argv = [sys.executable, "-m", "orbit4d", "build", str(file), "--out", str(run)]
    argv += ["--workers", "0"]
    argv += [part for setting in _SETTINGS for part in ("--set", setting)]
    log = run.with_suffix(".log")
    started = time.monotonic()
    with log.open("wb") as stream:
        child = subprocess.Popen(
            argv, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, preexec_fn=bounded
        )
        _, status, spent = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    return child.returncode, seconds, spent.ru_maxrss * 1024, log.read_text(errors="replace")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_malformed_file_ends_by_a_name(assets_dir: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    status, seconds, peak, words = _build(assets_dir / "malformed" / name, run)
    assert status == 0, words[-2000:]
    assert "Traceback" not in words
    assert seconds < _SECONDS
    assert peak < _BYTES
    rows = ledger.load(run)
    assert rows
    must_go = EXPECTED[name].startswith("reject") and " or " not in EXPECTED[name]
    for row in rows:
        if row["verdict"] == "kept":
            assert not must_go
            continue
        assert row["rule"] not in _UNNAMED, row["log_tail"]
        assert len(row["error"]) > 15
        assert "Traceback" not in row["log_tail"]
