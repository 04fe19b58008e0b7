"""How far numpy's poses of a glTF are from Blender's: vertex by vertex, in the same order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.gltf_plain import importable
from curate.gltf_pose import GltfScene
from curate.inspect import inspect_file
from curate.motion import own_size
from render.session import BlenderSession, Probe

TIMES = 24
ALL = 10_000_000  # vertices: none is left out


@dataclass(frozen=True, slots=True)
class Compared:
    """One clip: the furthest that any vertex is apart at any of 24 times, in asset sizes."""

    path: Path
    clip: int
    vertices: int
    error: float


def compare(path: Path, session: BlenderSession, clips_max: int = 1 << 30) -> list[Compared]:
    """Pose every clip of a file both ways. Files without visible vertices give none."""
    inspection = inspect_file(path)
    assert inspection.parts is not None
    assert inspection.clips is not None
    scene = GltfScene(inspection.parts)
    durations = [clip.duration_s for clip in inspection.clips]
    file = importable(path, inspection, session.process.scratch)
    opened = session.open(*file, durations)
    assert opened.vertices == scene.vertices, f"{path.name}: vertices differ in number"
    found = []
    for index, duration_s in enumerate(durations[:clips_max] if scene.vertices else []):
        times_s = np.linspace(0.0, duration_s, TIMES)
        posed = scene.points(index, times_s, ALL)
        ours = posed.points[:, posed.place]
        theirs = session.probe(index, times_s, ALL, ALL)
        assert isinstance(theirs, Probe)
        size = own_size(theirs.points) or 1.0
        found.append(
            Compared(path, index, scene.vertices, float(np.abs(ours - theirs.points).max() / size))
        )
    return found
