"""A Ray of this machine: where its files lie, how many they are, and what its workers leave."""

import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import code_package
from curate.clip import Job
from curate.cluster import RayOptions, Worker, run_on_ray
from curate.code_package import code_digest, code_files, pack_code
from curate.config import BuildConfig
from curate.nodes import Needs
from curate.ray_session import connected
from curate.sources import Source
from render.runner import WorkerConfig
from shards.errors import ConfigError, MachineError

CONFIG = BuildConfig.load(None, ["limits.retry.machine_faults_max=1", "limits.retry.pause_s=0.01"])


@pytest.fixture(scope="module")
def short() -> Iterator[Path]:
    """Give a folder with a name that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="o4d") as name:
        yield Path(name)


class Stillborn(Worker):
    """Says something and dies as it starts."""

    def __init__(self, *_: Any) -> None:
        print("cannot open libEGL.so.1", file=sys.stderr, flush=True)
        os._exit(3)


class Broken(Worker):
    """Has a Blender that does not start."""

    def ready(self, needs: Needs | None = None) -> None:
        self._blender.config = WorkerConfig(memory_max_mb=100)
        super().ready(needs)


class Mortal(Worker):
    """Says something and dies over every asset."""

    def do(self, job: Job) -> None:
        print(f"now opening {job.source.uid}", flush=True)
        os._exit(3)


def works_of(kind: type[Worker], folder: Path, options: RayOptions) -> list[Any]:
    job = Job(Source("a", "a.glb", folder / "a", folder), CONFIG, {}, folder / "s" / "a", {})
    return list(run_on_ray([job], CONFIG, [folder], options, kind))


@pytest.mark.ray
@pytest.mark.blender
def test_one_ray_spills_where_it_is_told_says_why_workers_die_and_leaves_nothing(
    short: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "workers.log"
    options = RayOptions(1, temp=short, object_store_mb=80, log=log)
    with connected(options) as ray:
        (folder,) = short.iterdir()
        assert folder.name == f"orbit4d-ray-{os.getpid()}"
        held = [ray.put(np.full(20 * 2**20, n, np.uint8)) for n in range(10)]  # 2.5 times the store
        spilled = sum(
            file.stat().st_size for file in (folder / "spill").rglob("*") if file.is_file()
        )
        assert spilled >= 100 * 2**20
        assert [ray.get(one)[0] for one in held] == list(range(10))
        del held

        with pytest.raises(MachineError) as stillborn:
            works_of(Stillborn, tmp_path, options)
        assert "1 workers in a row did not start; the last was the worker" in str(stillborn.value)
        assert f"on node {os.uname().nodename} (" in str(stillborn.value)
        assert "cannot open libEGL.so.1" in str(stillborn.value)

        with pytest.raises(
            MachineError, match=r"node \S+: Blender does not start: start used"
        ) as broken:
            works_of(Broken, tmp_path, options)
        assert "it said: " in str(broken.value)

        (outcome,) = works_of(Mortal, tmp_path, options)
        assert "1 workers died over this asset, the last was the worker with" in outcome.fault
        assert outcome.log_tail == "now opening a"
    assert list(short.iterdir()) == []
    assert "authentication" not in capfd.readouterr().err
    kept = log.read_text()
    assert kept.count("cannot open libEGL.so.1") == 1
    assert kept.count("now opening a") == 1


def test_what_a_killed_build_left_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate import ray_session

    pid = int(Path("/proc/sys/kernel/pid_max").read_text())  # never given to anyone
    left, alive = tmp_path / f"orbit4d-ray-{pid}", tmp_path / f"orbit4d-ray-{os.getppid()}"
    (left / "spill").mkdir(parents=True)
    alive.mkdir()
    monkeypatch.setattr(ray_session, "_is_short", lambda _: True)
    with ray_session._own_folder(RayOptions(temp=tmp_path)) as mine:
        assert mine.is_dir()
        assert not left.exists()
        assert alive.exists()
    assert not mine.exists()


def test_code_that_is_far_too_large_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_package, "ARCHIVE_MAX_MB", 0.01)
    with pytest.raises(ConfigError, match=r"\.py: the code for the workers has .* --code image"):
        pack_code(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_with_a_long_name_is_refused(tmp_path: Path) -> None:
    long = RayOptions(temp=tmp_path / ("long" * 10))
    with pytest.raises(ConfigError, match=r"expected a path of at most \d+ bytes"), connected(long):
        pass


def test_an_address_where_nobody_answers_ends_with_a_sentence_at_once() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        message = f"--address {address}: expected a running Ray cluster .* Connection refused"
        with pytest.raises(MachineError, match=message), connected(RayOptions(address=address)):
            pass


def test_the_archive_is_small_a_build_s_own_and_has_what_blender_runs(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = pack_code(tmp_path), pack_code(tmp_path / "b")
    assert first.read_bytes() != second.read_bytes()  # Ray knows archives by their bytes
    said = "from curate import code_package as c; print(c.__file__, c.code_digest())"
    run = [sys.executable, "-P", "-c", said]
    with zipfile.ZipFile(first) as archive:
        archive.extractall(tmp_path / "node")
    alone = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "node")}
    there = subprocess.run(run, env=alone, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert there.stdout.split() == [str(tmp_path / "node/curate/code_package.py"), code_digest()]
    assert first.stat().st_size < 2 * 2**20
    names = code_files().keys()
    assert {"render/blender/__main__.py", "shards/camera.py", "curate/cluster.py"} <= names
    assert not any("__pycache__" in name or name.startswith(("train", "tests")) for name in names)
