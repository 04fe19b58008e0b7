"""The supervisor copes with real faults of a real Blender: dead, stuck, swollen, refusing."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from render import runner
from render.config import EngineConfig, LimitConfig, RenderConfig
from render.paths import SequenceConfig, fit
from render.runner import BlenderFault, BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe
from shards.seeding import ClipAddress
from tests.render.make_gltf import moving_cube

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving_cube(tmp_path_factory.mktemp("cube") / "cube.gltf")


@pytest.fixture
def blender(cube: Path) -> Iterator[BlenderProcess]:
    with BlenderProcess(WorkerConfig(), [cube.parent]) as process:
        yield process


def load(path: Path) -> dict[str, object]:
    return {"op": "load", "path": str(path), "format": "gltf", "clip_durations_s": [1.0, 0.5]}


def pid_of(blender: BlenderProcess) -> int:
    assert blender._process is not None
    return blender._process.pid


def test_a_process_killed_at_work_is_a_crash_and_the_next_request_starts_anew(
    blender: BlenderProcess, cube: Path
) -> None:
    blender.call(load(cube), 60)
    threading.Timer(0.3, os.kill, (pid_of(blender), signal.SIGSEGV)).start()
    request = {
        "op": "probe", "clip": 0, "times_s": [0.5] * 200_000, "out": "x.npz",
        "vertices_max": 100, "points_max": 100,
    }  # fmt: skip
    with pytest.raises(BlenderFault, match="ended by signal SIGSEGV during probe") as caught:
        blender.call(request, 60)
    assert caught.value.kind == "crash"
    assert "Segmentation fault" in caught.value.log_tail
    assert blender.call(load(cube), 60)["ok"]
    assert blender.started == 2


def test_a_stuck_process_is_killed_at_the_time_limit(blender: BlenderProcess, cube: Path) -> None:
    blender.call(load(cube), 60)
    stuck = pid_of(blender)
    os.kill(stuck, signal.SIGSTOP)  # no signal but SIGKILL ends it now, like a hang in C
    with pytest.raises(BlenderFault, match=r"load took longer than 0\.5 s; killed") as caught:
        blender.call(load(cube), 0.5)
    assert caught.value.kind == "timeout"
    assert not psutil.pid_exists(stuck)


def test_a_process_that_swells_is_killed(cube: Path) -> None:
    with BlenderProcess(WorkerConfig(memory_max_mb=100), [cube.parent]) as blender:
        with pytest.raises(BlenderFault, match=r"used \d+ MB, limit 100 MB; killed") as caught:
            blender.call(load(cube), 60)
        assert caught.value.kind == "memory"
        assert not blender.is_running()


def test_a_file_that_grows_when_it_is_opened_costs_the_process_only(cube: Path) -> None:
    path = cube.parent / "bomb.blend"  # 40 million vertices from eight
    making = (
        "import bpy\n"
        "bpy.ops.mesh.primitive_cube_add()\n"
        "for count in (5000, 1000):\n"
        "    modifier = bpy.context.object.modifiers.new('many', 'ARRAY')\n"
        "    modifier.show_viewport, modifier.count = False, count\n"
        f"bpy.ops.wm.save_as_mainfile(filepath={str(path)!r})\n"
    )
    subprocess.run([sys.executable, "-c", making], check=True, capture_output=True)
    with BlenderProcess(WorkerConfig(memory_max_mb=600), [cube.parent]) as blender:
        blender.call(load(cube), 60)
        with pytest.raises(BlenderFault) as caught:
            blender.call(load(path) | {"format": "blend", "clip_durations_s": None}, 60)
        assert caught.value.kind in ("memory", "crash")
        assert blender.call(load(cube), 60)["ok"]


def test_more_than_any_asset_may_have_is_refused_at_once(
    blender: BlenderProcess, cube: Path
) -> None:
    """The watch looks a few times a second; beyond twice its limit and 4 GB the kernel refuses."""
    blender.call(load(cube), 60)
    limits = Path(f"/proc/{blender.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max data size"))
    limit_mb = 2 * blender.config.memory_max_mb + 4096
    assert line.split()[3] == str(limit_mb * 2**20)
    code = (
        "from render.blender import sandbox\n"
        f"sandbox.limit_memory({limit_mb})\n"
        "import numpy as np\n"
        "np.zeros(2**30, 'u1')\n"
        f"np.zeros({limit_mb} << 20, 'u1')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "MemoryError" in done.stderr.splitlines()[-1]
    assert "line 5" in done.stderr


def test_a_refused_file_and_a_python_error_leave_the_process_alive(
    blender: BlenderProcess, cube: Path, tmp_path: Path
) -> None:
    blender.call(load(cube), 60)
    bad = cube.parent / "bad.gltf"
    bad.write_text("{ not json")
    with pytest.raises(BlenderFault, match="Bad glTF") as refused:
        blender.call(load(bad), 60)
    with pytest.raises(BlenderFault, match="AssertionError") as broken:
        blender.call({"op": "render"}, 60)  # no asset is open
    assert (refused.value.kind, broken.value.kind) == ("load", "error")
    assert refused.value.process_lives
    assert blender.started == 1


def test_recycling_by_errors_and_memory(cube: Path) -> None:
    with BlenderProcess(WorkerConfig(recycle_after_errors=2), [cube.parent]) as blender:
        for errors in (1, 2):
            with pytest.raises(BlenderFault, match="AssertionError"):
                blender.call({"op": "render"}, 60)  # no asset is open
            blender.recycle_if_due()
            assert blender.is_running() == (errors < 2)
        assert blender.started == 1
    with BlenderProcess(WorkerConfig(recycle_above_mb=300), [cube.parent]) as blender:
        blender.call(load(cube), 60)
        small = blender.config.model_copy(update={"recycle_above_mb": 1})
        blender.recycle_if_due()
        assert blender.is_running()
        blender.config = small
        blender.recycle_if_due()
        assert not blender.is_running()


def test_recycling_by_age(cube: Path) -> None:
    with BlenderProcess(WorkerConfig(recycle_after_requests=1), [cube.parent]) as blender:
        blender.call(load(cube), 60)
        blender.recycle_if_due()
        assert not blender.is_running()
        blender.call(load(cube), 60)
        assert blender.started == 2


def test_scratch_is_gone_afterwards(cube: Path) -> None:
    with BlenderProcess(WorkerConfig(), [cube.parent]) as blender:
        blender.call(load(cube), 60)
        scratch, pid = blender.scratch, pid_of(blender)
        assert scratch.is_dir()
    assert not scratch.exists()
    assert not psutil.pid_exists(pid)


def test_blender_dies_with_its_host(
    cube: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # others tidy up after the dead, too
    code = (
        "import sys, time; from pathlib import Path\n"
        "from render.runner import BlenderProcess, WorkerConfig\n"
        f"b = BlenderProcess(WorkerConfig(), [Path({str(cube.parent)!r})])\n"
        f"b.call({load(cube)!r}, 60)\n"
        "print(b._process.pid, b.scratch, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    host = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    assert host.stdout is not None
    with host.stdout:
        pid_text, scratch = host.stdout.readline().split()
    host.kill()
    host.wait()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(pid_text)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(pid_text))
    assert Path(scratch.decode()).exists()
    with BlenderProcess(WorkerConfig(), [cube.parent]):
        assert not Path(scratch.decode()).exists()  # the next one tidies up after the dead


def test_nothing_outside_the_input_folder_can_be_read(tmp_path: Path) -> None:
    """A USD layer follows a reference in C, where no check of ours stands; the kernel refuses."""
    secret = tmp_path / "secret.usda"
    secret.write_text(
        '#usda 1.0\n(\n defaultPrim = "S"\n)\ndef Xform "S"\n{\n def Mesh "M"\n {\n'
        " int[] faceVertexCounts = [3]\n int[] faceVertexIndices = [0, 1, 2]\n"
        " point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]\n }\n}\n"
    )
    inner = tmp_path / "inputs"
    inner.mkdir()
    thief = inner / "thief.usda"
    thief.write_text(
        '#usda 1.0\n(\n defaultPrim = "A"\n)\n'
        'def Xform "A" (\n prepend references = @../secret.usda@\n)\n{\n}\n'
    )
    found = {}
    for name, readable in {"all": tmp_path, "inputs": inner}.items():
        with BlenderProcess(WorkerConfig(), [readable]) as blender:
            request = {"op": "load", "path": str(thief), "format": "usda"}
            answer = blender.call(request | {"clip_durations_s": None}, 60)
            if "no sandbox" in (blender.scratch / "blender.log").read_text():
                pytest.skip("this kernel has no Landlock")
            found[name] = answer["vertices"]
            # A thread that ran before the sandbox closed would be free to read for the others.
            threads = Path(f"/proc/{blender.pid}/task").glob("*/status")
            free = [t.parent.name for t in threads if "NoNewPrivs:\t1" not in t.read_text()]
            assert not free, f"threads outside the sandbox: {free}"
    assert found == {"all": 3, "inputs": 0}


def test_a_process_that_has_started_needs_no_more_of_the_code(
    tmp_path: Path, cube: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster may lay the code down anew while it runs."""
    code = tmp_path / "code"
    for package in ("render", "shards"):
        shutil.copytree(ROOT / package, code / package)
    monkeypatch.setattr(runner, "_ROOT", code)
    with BlenderProcess(WorkerConfig(), [cube.parent]) as process:
        process.start()
        shutil.rmtree(code)
        session = BlenderSession(process, LimitConfig())
        session.open(cube, "gltf", [1.0, 0.5])
        session.still()
        found = session.probe(0, np.array([0.0, 0.5]), 1000, 1000)
        assert isinstance(found, Probe)
        sequences = SequenceConfig(frames=2, width=16, height=16)
        config = RenderConfig(sequences=sequences, engine=EngineConfig(samples=1))
        frame = fit(found.extremes.astype(float), sequences)
        made = session.render(ClipAddress(0, "uid", 0), (0.0, 0.5), frame, config)
    assert all(images[..., 3].any() for images in made.images.values())
