"""Assets that crash Blender, and machines that kill it: real Blender, real signals."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.asset import crash_file
from curate.build import Options, build
from curate.clip import Job
from curate.cluster import RayOptions, Worker, run_on_ray
from curate.config import BuildConfig
from curate.sources import Source
from render.runner import BlenderProcess
from shards import index
from tests.render.make_gltf import moving_cube

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "render.sequences.width=32", "render.sequences.height=32", "render.sequences.frames=4",
    "render.engine.samples=1", "curate.duplicates.reject=nothing",
    "limits.threads=1", "limits.retry.pause_s=0.01",
]  # fmt: skip
CONFIG = BuildConfig.load(None, SMALL)
When = Callable[[dict[str, Any], Path], bool]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name in ("good", "poison"):
        moving_cube(folder / f"{name}.gltf")
    return folder


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Send a real signal to the real Blender at chosen requests; returns what was hit."""

    def arm(number: int, when: When, at_most: int = 1000) -> list[str]:
        hits: list[str] = []
        real_call, loaded = BlenderProcess.call, [Path()]

        def call(
            self: BlenderProcess, request: dict[str, Any], *more: Any, **named: Any
        ) -> dict[str, Any]:
            if request["op"] == "load":
                loaded[0] = Path(request["path"])
            if when(request, loaded[0]) and len(hits) < at_most:
                self._ensure_started()
                assert self.pid is not None
                hits.append(request["op"])
                os.kill(self.pid, number)
            return real_call(self, request, *more, **named)

        monkeypatch.setattr(BlenderProcess, "call", call)
        return hits

    return arm


def rows_of(run: Path, path: str) -> list[dict[str, Any]]:
    return [row for row in ledger.load(run) if row["path"] == path]


def samples(run: Path) -> dict[str, str]:
    return {e.key: e.sha256 for part in index.committed(run).values() for e in part}


def test_a_poison_clip_is_quarantined_and_can_be_done_alone(
    inputs: Path, tmp_path: Path, strike: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    build([inputs], tmp_path / "undisturbed", CONFIG, Options())
    run = tmp_path / "run"
    hits = strike(
        signal.SIGSEGV,
        lambda request, path: (
            path.stem == "poison" and request["op"] == "render" and request["clip"] == 1
        ),
    )
    build([inputs], run, CONFIG, Options())
    monkeypatch.undo()  # from here on nothing is poisonous
    assert hits == ["render", "render"]  # the second crash is believed
    first, poison = rows_of(run, "poison.gltf")
    assert [row["verdict"] for row in (first, *rows_of(run, "good.gltf"))] == ["kept"] * 3
    assert (poison["verdict"], poison["stage"], poison["rule"]) == (
        "failed", "render", "blender_crashed",
    )  # fmt: skip
    assert "signal SIGSEGV during render; given up after 2 tries" in poison["error"]
    words = shlex.split(poison["reproduce"])
    out = tmp_path / "alone"
    done = subprocess.run(
        [sys.executable, "-m", *words, "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ((key, sha256),) = samples(out).items()
    assert samples(tmp_path / "undisturbed")[key] == sha256  # the very clip, to the byte
    assert key not in samples(run)
    assert (out / "contact.png").stat().st_size > 0
    build([inputs], run, CONFIG, Options())
    assert rows_of(run, "poison.gltf")[1]["verdict"] == "failed"  # quarantined is settled
    build([inputs], run, CONFIG, Options(retry_failed=True))
    assert samples(run) == samples(tmp_path / "undisturbed")


def test_an_asset_that_crashes_with_clip_after_clip_is_left_alone(
    inputs: Path, tmp_path: Path, strike: Callable[..., list[str]]
) -> None:
    config = BuildConfig.load(None, [*SMALL, "limits.retry.crashed_clips_max=1"])
    hits = strike(
        signal.SIGABRT, lambda request, path: path.stem == "poison" and request["op"] == "render"
    )
    build([inputs], tmp_path / "run", config, Options())
    assert len(hits) == 2  # both of the first clip
    assert [row["rule"] for row in rows_of(tmp_path / "run", "poison.gltf")] == [
        "blender_crashed", "quarantined",
    ]  # fmt: skip


def test_a_blender_that_is_killed_from_outside_costs_nothing(
    inputs: Path, tmp_path: Path, strike: Callable[..., list[str]]
) -> None:
    hits = strike(signal.SIGKILL, lambda request, _: request["op"] == "render", at_most=3)
    build([inputs], tmp_path / "run", CONFIG, Options())
    assert len(hits) == 3
    assert Counter(row["verdict"] for row in ledger.load(tmp_path / "run")) == {"kept": 4}


class Mortal(Worker):
    """Dies over some assets, by signals that their names say."""

    def do(self, job: Job) -> None:
        with (job.staging / "tries").open("a") as stream:
            stream.write("x")
        word, _, times = job.source.uid.partition("_")
        if word.startswith("SIG") and len((job.staging / "tries").read_text()) <= int(times):
            os.kill(os.getpid(), getattr(signal, word))


@pytest.mark.ray
def test_workers_that_die_by_themselves_are_tried_twice_and_killed_ones_more(
    tmp_path: Path,
) -> None:
    names = ("plain", "SIGSEGV_1", "SIGSEGV_9", "SIGKILL_2", "SIGKILL_9")
    jobs = [
        Job(Source(n, f"{n}.glb", tmp_path / n, tmp_path), CONFIG, {}, tmp_path / "s" / n, {})
        for n in names
    ]
    config = BuildConfig.load(None, [*SMALL, "limits.retry.machine_faults_max=3"])
    found = {
        o.job.source.uid: o for o in run_on_ray(jobs, config, [tmp_path], RayOptions(2), Mortal)
    }
    assert found.keys() == set(names)
    assert [n for n in names if found[n].fault] == ["SIGSEGV_9", "SIGKILL_9"]
    tries = {n: len((tmp_path / "s" / n / "tries").read_text()) for n in names}
    assert tries == {"plain": 1, "SIGSEGV_1": 2, "SIGSEGV_9": 2, "SIGKILL_2": 3, "SIGKILL_9": 3}
    assert "test_build_poison.py" in found["SIGSEGV_9"].log_tail  # where it was
    assert found["SIGKILL_9"].log_tail == ""
    assert not crash_file(tmp_path / "s" / "plain").exists()


def test_a_clip_that_is_not_there_and_a_file_that_is_not_there(
    inputs: Path, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "orbit4d", "render", "one", "--out", str(tmp_path / "one")]
    good = str(inputs / "good.gltf")
    none = subprocess.run([*argv, good, "--clip", "7"], cwd=ROOT, capture_output=True, text=True)
    assert none.returncode == 1
    assert "has no clip 7; its 2 clips count from 0" in none.stdout
    gone = subprocess.run([*argv, "gone.glb"], cwd=ROOT, capture_output=True, text=True)
    assert gone.returncode == 2
    assert "gone.glb: no such file or folder" in gone.stderr
    folder = subprocess.run([*argv, str(inputs)], cwd=ROOT, capture_output=True, text=True)
    assert "holds 2 assets, expected one; name it with --uid" in folder.stderr
    counts = json.loads((tmp_path / "one" / "run.json").read_bytes())["counts"]
    assert counts["failed"] == 1
