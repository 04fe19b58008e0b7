"""What stops a build from outside: Ctrl-C, a second driver, a full disk. It goes on afterwards."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from curate.asset import of_machine
from tests.curate.test_build import ROOT, command, samples, verdicts
from tests.render.make_gltf import moving_cube

pytestmark = pytest.mark.blender


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(8):
        moving_cube(folder / f"cube{number}.gltf")
    return folder


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(inputs, run)
    return run


def finish(inputs: Path, run: Path) -> None:
    subprocess.run(command(inputs, run), cwd=ROOT, check=True, capture_output=True, timeout=100)


def started(inputs: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    """Start a build and wait for its first clip."""
    driver = subprocess.Popen(
        command(inputs, run, *more), cwd=ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    while driver.poll() is None and not list(run.glob("staging/*/c[0-9]*.json")):
        time.sleep(0.01)
    assert driver.poll() is None
    return driver


def test_a_second_driver_is_refused_and_the_first_can_be_interrupted(
    inputs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    driver = started(inputs, run)
    os.kill(driver.pid, signal.SIGSTOP)  # or it may be done before the second one is up
    second = subprocess.run(command(inputs, run), cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 2
    assert f"process {driver.pid} on host {os.uname().nodename}" in second.stderr
    os.kill(driver.pid, signal.SIGINT)
    os.kill(driver.pid, signal.SIGCONT)
    _, said = driver.communicate(timeout=30)
    assert (driver.returncode, said.count("the same command goes on from here")) == (130, 1)
    assert not (run / "index.parquet").exists()
    finish(inputs, run)
    assert samples(run) == samples(undisturbed)
    assert verdicts(run) == verdicts(undisturbed)


@pytest.mark.ray
def test_a_node_that_is_to_go_away_stops_a_build_on_ray(
    inputs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    driver = started(inputs, run, "--workers", "1")
    os.kill(driver.pid, signal.SIGTERM)
    driver.communicate(timeout=100)
    assert driver.returncode == 143
    finish(inputs, run)
    assert samples(run) == samples(undisturbed)


def test_a_full_disk_ends_the_run_with_a_sentence_and_room_lets_it_go_on(
    inputs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    build = " ".join(command(inputs, mount / "run"))
    script = f"""
        mount -t tmpfs -o size=40k disk {mount} || exit 77
        {build} ; echo status $?
        mount -o remount,size=50m {mount}
        {build} > /dev/null ; echo status $?
        cp -r {mount}/run {tmp_path}/copy
    """
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no file systems may be mounted here")
    assert done.stdout.split("\n")[0] == "status 1", done.stderr
    assert done.stdout.split("\n")[1] == "status 0", done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("orbit4d:")]
    assert "No space left on device. Once that is mended, the same command goes on" in sentence
    assert "Traceback" not in done.stderr
    assert samples(tmp_path / "copy") == samples(undisturbed)
    assert verdicts(tmp_path / "copy") == verdicts(undisturbed)


def test_an_output_that_cannot_be_written_is_named_before_anything_starts(
    inputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = subprocess.run(
        command(inputs, tmp_path / "file" / "run"), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "cannot be written: Not a directory" in done.stderr


def test_only_the_output_and_the_machine_stop_a_run(tmp_path: Path) -> None:
    staging = tmp_path / "run" / "staging" / "x"
    assert of_machine(OSError(errno.ENOSPC, "full", "/tmp/x"), staging)
    assert of_machine(OSError(errno.EIO, "broken", str(staging / "c000.json")), staging)
    assert not of_machine(OSError(errno.EIO, "broken", str(tmp_path / "x.glb")), staging)
    assert not of_machine(FileNotFoundError(errno.ENOENT, "gone", "x.glb"), staging)


@pytest.mark.long
@pytest.mark.ray
def test_a_build_whose_own_ray_node_dies_says_so_and_goes_on(
    inputs: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    few = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=few)
    try:
        run = tmp_path / "run"
        assert cluster.head_node is not None
        assert cluster.address is not None
        driver = started(inputs, run, "--workers", "1", "--address", cluster.address)
        # the one node that there is; the process that knows which nodes there are lives on
        raylet = psutil.Process(cluster.head_node.all_processes["raylet"][0].process.pid)
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, said = driver.communicate(timeout=90)
    finally:
        cluster.shutdown()
    assert driver.returncode == 1
    (sentence,) = [line for line in said.splitlines() if line.startswith("orbit4d:")]
    assert "the Ray node that this build is connected to (" in sentence
    assert "the same command goes on from here" in sentence
    assert "Traceback" not in said
    finish(inputs, run)
    assert samples(run) == samples(undisturbed)
    assert verdicts(run) == verdicts(undisturbed)
