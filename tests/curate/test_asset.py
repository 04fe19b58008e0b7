"""One asset's road through faults of Blender: each costs one clip and is named in its row."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.asset import Job, done_file, process
from curate.config import BuildConfig
from curate.run_folder import versions
from curate.sources import find_sources
from render.runner import BlenderProcess
from render.session import BlenderSession
from tests.render.make_gltf import moving_cube

pytestmark = pytest.mark.blender
SMALL = [
    "render.sequences.width=32", "render.sequences.height=32", "render.sequences.frames=4",
    "render.engine.samples=1",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    moving_cube(inputs / "cube.gltf")
    return inputs


@pytest.fixture
def blender(folder: Path) -> Iterator[BlenderProcess]:
    with BlenderProcess(BuildConfig().limits.worker, [folder]) as process_:
        yield process_


def run(folder: Path, blender: BlenderProcess, *settings: str) -> list[dict[str, Any]]:
    config = BuildConfig.load(None, [*SMALL, *settings])
    (source,) = find_sources([folder])
    staging = folder.parent / "staging"
    job = Job(source, config, versions(), staging, {})
    process(job, BlenderSession(blender, config.limits))
    return json.loads(done_file(staging).read_bytes())["rows"]


def test_a_crash_while_rendering_costs_that_clip_alone(
    folder: Path, blender: BlenderProcess
) -> None:
    def shoot() -> None:
        images = blender.scratch / "images"
        while not list(images.glob("*.png")):
            time.sleep(0.001)
        assert blender._process is not None
        os.kill(blender._process.pid, signal.SIGABRT)

    threading.Thread(target=shoot, daemon=True).start()
    first, second = run(
        folder, blender, "render.engine.samples=4096", "render.sequences.names=[front]"
    )
    assert (first["verdict"], first["rule"], first["stage"]) == (
        "failed", "blender_crashed", "render",
    )  # fmt: skip
    assert "SIGABRT during render" in first["error"]
    assert "Aborted" in first["log_tail"]
    assert first["motion"] is not None  # what was measured before stays on record
    assert (second["verdict"], second["clip_name"]) == ("kept", "lift")


def test_a_time_limit_fails_each_clip_that_breaks_it(folder: Path, blender: BlenderProcess) -> None:
    rows = run(
        folder, blender, "render.engine.samples=4096", "limits.render_timeout_s=0.2",
        "render.sequences.width=1024", "render.sequences.height=1024",
    )  # fmt: skip
    assert [row["rule"] for row in rows] == ["blender_timeout"] * 2
    assert all("render took longer than 0.2 s" in row["error"] for row in rows)


def test_clips_on_record_are_not_done_again(folder: Path, blender: BlenderProcess) -> None:
    before = run(folder, blender)
    staging = folder.parent / "staging"
    done_file(staging).unlink()
    record = staging / "c001.json"
    record.unlink()
    stamp = (staging / "c000.json").stat().st_mtime_ns
    after = run(folder, blender)
    assert (staging / "c000.json").stat().st_mtime_ns == stamp
    names = ("clip_index", "verdict", "fingerprint", "motion_magnitude")
    assert [[row[n] for n in names] for row in after] == [[row[n] for n in names] for row in before]


def test_the_clip_limit_leaves_a_row_for_every_other_clip(
    folder: Path, blender: BlenderProcess
) -> None:
    rows = run(folder, blender, "curate.clips.per_asset_max=1")
    assert [(row["verdict"], row["rule"]) for row in rows] == [
        ("kept", ""),
        ("rejected", "clip_limit"),
    ]
