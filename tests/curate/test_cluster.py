"""A build on Ray nodes that were started by others, and have neither our code nor our folders."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.curate.ray_nodes import TOKEN, head, worker
from tests.curate.test_build import ROOT, command, shards, verdicts
from tests.render.make_gltf import moving_cube

pytestmark = [pytest.mark.blender, pytest.mark.ray, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(4):
        moving_cube(folder / f"cube{number}.gltf")
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Give a cluster of a head and a node with four CPUs, and two GPUs that nobody has."""
    with head() as address, worker(address, "--num-cpus=4", "--num-gpus=2"):
        yield address


def start(inputs: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    """Start a build as one who is in some folder, and has this checkout on the path alone."""
    argv = command(inputs, run, "--workers", "2", "--set", "limits.threads=1", *more)
    script = Path(sys.executable).parent / "orbit4d"
    environment = {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN": TOKEN["RAY_AUTH_TOKEN"]}
    return subprocess.Popen(
        [sys.executable, str(script), *argv[3:]],
        cwd=run.parent, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def devices_of_blenders(ancestor: str) -> set[str]:
    """Return what running Blenders are told of GPUs, below processes with a word in their names."""
    found: set[str] = set()
    for process in psutil.process_iter():
        try:
            if "render.blender" not in process.cmdline():
                continue
            above = " ".join(" ".join(parent.cmdline()) for parent in process.parents())
            if ancestor in above:
                found.add(process.environ().get("CUDA_VISIBLE_DEVICES", "all"))
        except psutil.Error:
            continue
    return found


def test_nodes_without_code_make_the_same_bytes_and_each_blender_has_its_gpu(
    inputs: Path, address: str, tmp_path: Path
) -> None:
    alone = subprocess.run(command(inputs, tmp_path / "alone"), cwd=ROOT, capture_output=True)
    assert alone.returncode == 0
    build = start(inputs, tmp_path / "run", "--address", address, "--worker-gpus", "1")
    devices: set[str] = set()
    while build.poll() is None:
        devices |= devices_of_blenders(address)
        time.sleep(0.05)
    _, said = build.communicate()
    assert build.returncode == 0, said[-3000:]
    assert devices - {""} == {"0", "1"}  # and none for workers that got none
    assert shards(tmp_path / "run") == shards(tmp_path / "alone")
    assert verdicts(tmp_path / "run") == verdicts(tmp_path / "alone")
    assert not (tmp_path / "run" / "logs" / ".seen").exists()


def test_a_node_without_the_code_is_named_where_none_is_sent(
    inputs: Path, address: str, tmp_path: Path
) -> None:
    build = start(inputs, tmp_path / "run", "--address", address, "--code", "image")
    _, said = build.communicate(timeout=150)
    assert build.returncode == 1
    assert f"orbit4d: node {os.uname().nodename} (" in said
    assert "cannot run orbit4d: " in said
    assert "No module named 'curate'" in said
    assert "Traceback" not in said


def test_a_node_that_does_not_see_a_folder_is_named(
    inputs: Path, address: str, tmp_path: Path
) -> None:
    elsewhere = ("unshare", "-rmu", "sh", "-c")
    if shutil.which("unshare") is None or subprocess.run([*elsewhere, "hostname other"]).returncode:
        pytest.skip("no namespaces here")
    hidden = f'hostname other && mount -t tmpfs none {tmp_path} && exec "$0" "$@"'
    with worker(address, "--num-cpus=1", around=(*elsewhere, hidden)):
        build = start(inputs, tmp_path / "run", "--address", address)
        _, said = build.communicate(timeout=150)
    assert build.returncode == 1
    (sentence,) = [line for line in said.splitlines() if line.startswith("orbit4d:")]
    assert "node other (" in sentence
    assert f"cannot read and write the RUN folder {tmp_path}/run (No such file" in sentence
    assert f"node {os.uname().nodename}" not in sentence  # that one sees it
    assert "--out has to be a folder that all nodes share" in sentence
