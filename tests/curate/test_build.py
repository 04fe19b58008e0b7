"""The whole data half with real Blender, real Ray and real kills."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from shards import index
from shards.files import sha256_of
from tests.render.make_gltf import Gltf, moving_cube

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "render.sequences.width=32", "render.sequences.height=32", "render.sequences.frames=4",
    "render.engine.samples=1", "shards.target_mb=0.03",
    "curate.duplicates.reject=nothing",  # the cubes are copies
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six assets with two kept clips each, and four that end otherwise."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(6):
        moving_cube(folder / f"cube{number}.gltf")
    still = Gltf()
    node = still.node("cube", still.cube())
    still.animate("still", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0)])})
    still.save(folder / "still.gltf")
    frozen = Gltf()
    frozen.node("cube", frozen.cube())
    frozen.save(folder / "frozen.gltf")
    far = Gltf()
    node = far.node("cube", far.cube())
    far.animate("far", {node: ([0.0, 1.0], [(0, 0, 0), (90, 0, 0)])})
    far.save(folder / "far.gltf")
    (folder / "text.glb").write_text("no model at all")
    return folder


def command(inputs: Path, out: Path, *more: str) -> list[str]:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    return [
        sys.executable, "-m", "orbit4d", "build", str(inputs), "--out", str(out), *settings, *more,
    ]  # fmt: skip


def build(inputs: Path, out: Path, *more: str) -> str:
    done = subprocess.run(
        command(inputs, out, *more), cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def samples(run: Path) -> dict[str, str]:
    """Return key -> sha256 over all committed shards; a key that stands twice fails."""
    entries = [entry for part in index.committed(run).values() for entry in part]
    assert len({entry.key for entry in entries}) == len(entries)
    return {entry.key: entry.sha256 for entry in entries}


def shards(run: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted((run / "shards").iterdir())}


def verdicts(run: Path) -> list[tuple[Any, ...]]:
    rows = ledger.load(run)
    names = ("path", "clip_index", "clip_name", "verdict", "rule", "sample_key", "fingerprint")
    return [tuple(row[name] for name in names) for row in rows]


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    build(inputs, run)
    return run


def test_every_clip_has_one_row_and_the_counts_add_up(undisturbed: Path, inputs: Path) -> None:
    rows = ledger.load(undisturbed)
    assert len({(row["uid"], row["clip_index"]) for row in rows}) == len(rows) == 16
    assert {row["path"] for row in rows} == {path.name for path in inputs.iterdir()}
    found = Counter((row["verdict"], row["rule"]) for row in rows)
    assert found == {
        ("kept", ""): 12,
        ("rejected", "too_still"): 1,
        ("rejected", "no_clips"): 1,
        ("rejected", "leaves_frame"): 1,
        ("failed", "wrong_type"): 1,
    }
    counts = json.loads((undisturbed / "run.json").read_text())["counts"]
    assert (counts["kept"], counts["rejected"], counts["failed"]) == (12, 3, 1)
    assert not (undisturbed / "staging").exists()


def test_a_rejection_says_what_was_measured_and_what_the_limit_was(undisturbed: Path) -> None:
    (row,) = [row for row in ledger.load(undisturbed) if row["rule"] == "leaves_frame"]
    assert row["value"] > row["limit"] == 4.0
    assert row["unit"] == "asset sizes"
    assert row["drift"] > 60


def test_every_row_has_a_command_that_does_it_again(undisturbed: Path, tmp_path: Path) -> None:
    rows = {row["rule"]: row for row in reversed(ledger.load(undisturbed))}
    for rule, row in rows.items():
        words = shlex.split(row["reproduce"])
        done = subprocess.run(
            [sys.executable, "-m", *words, "--out", str(tmp_path / f"of {rule}")],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == (1 if row["verdict"] == "failed" else 0), done.stderr
        assert done.stdout.startswith(row["verdict"])
        assert rule in done.stdout
    kept = rows[""]["sample_key"]
    assert samples(tmp_path / "of ") == {kept: samples(undisturbed)[kept]}  # to the byte


def test_samples_name_clip_window_and_the_times_of_their_images(undisturbed: Path) -> None:
    from shards.read import SampleReader

    reader = SampleReader(undisturbed)
    meta, _ = reader.read(1)
    assert (meta.clip.name, meta.clip.index) == ("lift", 1)
    assert (meta.clip.window_start_s, meta.clip.window_stop_s) == (0.0, 0.5)
    assert meta.sequences["orbit"].times_s == (0.0, 0.125, 0.25, 0.375)
    assert meta.sequences["static"].times_s == (0.0,) * 4
    assert meta.motion_magnitude is not None
    assert meta.motion_magnitude.pixel_sum > 0


def test_a_second_run_does_nothing_and_changes_nothing(undisturbed: Path, inputs: Path) -> None:
    before = shards(undisturbed), verdicts(undisturbed)
    started = time.monotonic()
    build(inputs, undisturbed)
    assert time.monotonic() - started < 30
    assert (shards(undisturbed), verdicts(undisturbed)) == before
    log = (undisturbed / "logs" / "build.jsonl").read_text().splitlines()
    assert json.loads(log[-2])["missing"] == 0


def test_killed_again_and_again_the_run_ends_the_same(
    inputs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kills = 0
    for wanted in (2, 5, 9):  # clip records and samples on disk before the driver is shot
        driver = subprocess.Popen(
            command(inputs, run), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while driver.poll() is None and _progress(run) < wanted:
            time.sleep(0.005)
        if driver.poll() is None:
            os.kill(driver.pid, signal.SIGKILL)
            kills += 1
        driver.wait()
    assert kills == 3
    assert not (run / "index.parquet").exists()  # it was never allowed to end
    build(inputs, run)
    assert samples(run) == samples(undisturbed)
    assert verdicts(run) == verdicts(undisturbed)
    assert not (run / "staging").exists()


def _progress(run: Path) -> int:
    staged: set[str] = set()
    with contextlib.suppress(FileNotFoundError):  # the driver clears its staging meanwhile
        staged = {path.stem for path in run.glob("staging/*/c[0-9]*.json")}
    return len(staged) + 4 * len(list(run.glob("shards/*.tar")))


def test_a_changed_file_is_done_again_and_only_that(
    inputs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder, run = tmp_path / "inputs", tmp_path / "run"
    folder.mkdir()
    for number in range(3):
        moving_cube(folder / f"cube{number}.gltf")
    build(folder, run)
    before = samples(run)
    changed = Gltf()
    node = changed.node("cube", changed.cube())
    changed.animate("down", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, -1)])})
    changed.save(folder / "cube1.gltf")
    build(folder, run)
    after = samples(run)
    others = {key: sha for key, sha in before.items() if not key.startswith("cube1")}
    assert {key: sha for key, sha in after.items() if not key.startswith("cube1")} == others
    assert [key[-3:] for key in after if key.startswith("cube1")] == ["000"]
    assert [row["clip_name"] for row in ledger.load(run) if row["path"] == "cube1.gltf"] == ["down"]


def test_other_settings_are_refused_then_taken_with_update(inputs: Path, tmp_path: Path) -> None:
    one = inputs / "cube0.gltf"
    build(one, tmp_path / "run")
    argv = command(one, tmp_path / "run", "--set", "curate.motion.min=0.5")
    refused = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "curate.motion.min: 0.01, now 0.5" in refused.stderr
    before = samples(tmp_path / "run")
    build(one, tmp_path / "run", "--set", "curate.motion.min=0.5", "--update")
    assert samples(tmp_path / "run") == before  # still kept, by their drift: not rendered again


@pytest.mark.ray
@pytest.mark.parametrize(
    "crew", [("--workers", "2"), ("--workers", "1", "--curate-workers", "1")], ids=["all", "roles"]
)
def test_ray_workers_give_the_same_bytes(
    inputs: Path, undisturbed: Path, tmp_path: Path, crew: tuple[str, ...]
) -> None:
    build(inputs, tmp_path / "run", *crew, "--set", "limits.threads=1")
    assert shards(tmp_path / "run") == shards(undisturbed)
    assert verdicts(tmp_path / "run") == verdicts(undisturbed)
