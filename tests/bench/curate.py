"""Judging without Blender: headers, the gate, and glTF poses by numpy beside Blender's own.

Run ``python -m tests.bench.curate [--assets DIR] [--json]``. The folder's sound glTF files are
glanced at (header only) and inspected (the whole gate) for files per second. Then every clip of
each is posed at the default settings' 24 times by numpy and by Blender in turn: Blender imports the
file once and reads the vertices of each pose, numpy reads the file's nodes and meshes once. Finding
the outermost vertices, which is the same work on both sides and done for clips that pass the rules,
counts on neither. How far the two are apart is measured vertex by vertex in the same order, none
left out, in sizes of the asset. Both run on one core; seconds are those of the processor, so that
other work hardly counts.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported; Ray's workers have it too

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from curate.config import GeometryConfig
from curate.glance import glance
from curate.gltf_plain import importable
from curate.gltf_pose import GltfScene
from curate.inspect import inspect_file
from curate.motion import measure, own_size
from render.config import LimitConfig
from render.paths import sample_times
from render.runner import BlenderProcess
from render.session import BlenderSession, Probe
from render.visible import Picks
from shards.errors import AssetError
from tests.bench.harness import arguments, peak_mb, report

_ALL = 10_000_000
_FRAMES = 24
_GATE_S = 5.0
_GEOMETRY = GeometryConfig()


@dataclass(slots=True)
class _Tally:
    """What was spent on one file or all, seconds, and how well the two agree."""

    clips: int = 0
    vertices: int = 0
    numpy_s: float = 0.0
    motion_s: float = 0.0
    blender_s: float = 0.0
    errors: list[float] = field(default_factory=list)

    def add(self, other: "_Tally") -> None:
        self.clips += other.clips
        self.vertices = max(self.vertices, other.vertices)
        self.numpy_s += other.numpy_s
        self.motion_s += other.motion_s
        self.blender_s += other.blender_s
        self.errors += other.errors

    def row(self, name: str) -> tuple[object, ...]:
        error = max(self.errors, default=0.0)
        ratio = self.blender_s / self.numpy_s if self.numpy_s else 0.0
        return (
            name, self.clips, self.vertices, self.numpy_s, self.motion_s, self.blender_s, ratio,
            error,
        )  # fmt: skip


def main() -> None:
    """Measure, and print the files that took Blender longest."""
    options = arguments(__doc__ or "").parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    files = [path for path in sorted(options.assets.rglob("*")) if _is_sound_gltf(path)]
    figures = {
        "prefilter_files_per_s": _files_per_s(files, glance),
        "inspection_files_per_s": _files_per_s(files, inspect_file),
    }
    before_mb = peak_mb()
    total, rows = _Tally(), []
    with BlenderProcess(LimitConfig().worker, [options.assets]) as process:
        session = BlenderSession(process, LimitConfig())
        session.open(files[0], files[0].suffix[1:], [])  # its start does not count
        for path in files:
            tally = _compare(path, session)
            total.add(tally)
            rows.append((tally.blender_s, tally.row(path.name)))
    rows.sort(reverse=True)
    figures |= {
        "gltf_clips_compared": float(total.clips),
        "gltf_max_error": max(total.errors, default=0.0),
        "gltf_speedup_vs_blender": total.blender_s / total.numpy_s,
        "gltf_clips_per_s": total.clips / total.numpy_s,
        "peak_mb": peak_mb(),
        "inspection_peak_mb": before_mb,
    }
    header = ("file", "clips", "vertices", "numpy s", "motion s", "Blender s", "ratio", "error")
    table = [row for _, row in rows[:12]] + [total.row(f"all {len(files)} files")]
    report("glTF clips at 24 times", header, table, figures, options.json)


def _is_sound_gltf(path: Path) -> bool:
    if path.suffix not in (".glb", ".gltf"):
        return False
    try:
        inspect_file(path)
    except AssetError:
        return False
    return "malformed" not in path.parts


def _files_per_s(files: list[Path], look: Callable[[Path], object]) -> float:
    """Files looked at per second of one core."""
    done, started = 0, time.process_time()
    while time.process_time() - started < _GATE_S:
        for path in files:
            look(path)
        done += len(files)
    return done / (time.process_time() - started)


def _compare(path: Path, session: BlenderSession) -> _Tally:
    tally = _Tally()
    inspection = inspect_file(path)
    clips = inspection.clips or ()
    assert inspection.parts is not None
    if not clips:
        return tally
    before_s, started = _helpers_cpu_s(session), time.process_time()
    scene = GltfScene(inspection.parts)
    tally.numpy_s = time.process_time() - started + _helpers_cpu_s(session) - before_s
    if not scene.vertices:
        return _Tally()
    tally.vertices = scene.vertices
    started = _blender_cpu_s(session)
    file = importable(path, inspection, session.process.scratch)
    session.open(*file, [clip.duration_s for clip in clips])
    tally.blender_s = _blender_cpu_s(session) - started
    points_max = _GEOMETRY.probe_points_max
    whole = GltfScene(inspection.parts)  # a scene prepares its vertices for one number of them
    times = [sample_times(0.0, clip.duration_s, _FRAMES) for clip in clips]
    for clip, times_s in zip(clips, times, strict=True):  # one after the other, as a build does
        started = time.process_time()
        posed = scene.points(clip.index, times_s, points_max)
        tally.numpy_s += time.process_time() - started
        started = time.process_time()
        measure(posed.points, posed.weights)
        tally.motion_s += time.process_time() - started
    for clip, times_s in zip(clips, times, strict=True):
        started = _blender_cpu_s(session)
        _pose_in_blender(session, clip.index, times_s, scene.picks(points_max))
        tally.blender_s += _blender_cpu_s(session) - started
        theirs = session.probe(clip.index, times_s, _ALL, _ALL)
        assert isinstance(theirs, Probe)
        posed = whole.points(clip.index, times_s, _ALL)
        ours = posed.points[:, posed.place]
        apart = np.abs(ours - theirs.points).max() / (own_size(theirs.points) or 1.0)
        tally.errors.append(float(apart))
        tally.clips += 1
    return tally


def _blender_cpu_s(session: BlenderSession) -> float:
    """Processor seconds of Blender so far."""
    return _cpu_s(psutil.Process(session.process.pid))


def _helpers_cpu_s(session: BlenderSession) -> float:
    """Processor seconds so far of the process that decodes Draco streams, if it runs."""
    children = psutil.Process().children()
    return sum(_cpu_s(child) for child in children if child.pid != session.process.pid)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _pose_in_blender(session: BlenderSession, clip: int, times_s: np.ndarray, picks: Picks) -> None:
    out = session.process.scratch / "bench.npz"
    request = {
        "op": "probe", "clip": clip, "times_s": times_s.tolist(), "out": str(out),
        "vertices_max": _ALL, "points_max": _GEOMETRY.probe_points_max, "outline": False,
        "picks": picks.indices.tolist(), "picked_chances": picks.chances.tolist(),
        "picked_of": picks.vertices,
    }  # fmt: skip
    session.process.call(request, LimitConfig().probe_timeout_s)
    with np.load(out) as arrays:
        arrays["points"].astype(np.float64)


if __name__ == "__main__":
    main()
