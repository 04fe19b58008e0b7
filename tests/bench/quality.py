"""Scores of assets at rest, by numpy and by Blender, of the same glTF files.

Run ``python -m tests.bench.quality [--assets DIR] [--json]``. Each sound glTF is read both ways
and scored by ``curate.quality``; what differs by more than a thousandth, or a count at all, is
printed, and the exit status is 1. What only Blender poses is skipped, and counted.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from curate.gltf_parts import HandOver
from curate.gltf_plain import importable
from curate.gltf_pose import GltfScene
from curate.inspect import inspect_file
from curate.quality import Still, survey
from curate.sketch import geometry_sketch
from render.config import LimitConfig
from render.runner import BlenderProcess
from render.session import BlenderSession
from shards.errors import AssetError
from tests.bench.harness import arguments, report

_APART = 1e-3


def main() -> None:
    """Compare, and report what differs."""
    options = arguments(__doc__ or "").parse_args()
    files = [p for p in sorted(options.assets.rglob("*")) if p.suffix in (".glb", ".gltf")]
    files = [path for path in files if "malformed" not in path.parts]
    rows: list[tuple[object, ...]] = []
    compared = skipped = 0
    with BlenderProcess(LimitConfig().worker, [options.assets]) as process:
        session = BlenderSession(process, LimitConfig())
        for path in files:
            found = _scores(path, session)
            if found is None:
                skipped += 1
                continue
            compared += 1
            ours, theirs = found
            for name in sorted(ours.keys() | theirs.keys()):
                mine, other = ours.get(name, np.nan), theirs.get(name, np.nan)
                if not abs(mine - other) <= _APART * max(1.0, abs(other)):
                    rows.append((path.name, name, float(mine), float(other)))
    figures = {
        "quality_files_compared": float(compared),
        "quality_files_skipped": float(skipped),
        "quality_disagreements": float(len(rows)),
    }
    report("Scores that differ", ("file", "score", "numpy", "Blender"), rows, figures, options.json)
    sys.exit(1 if rows else 0)


def _scores(
    path: Path, session: BlenderSession
) -> tuple[dict[str, float], dict[str, float]] | None:
    try:
        inspection = inspect_file(path)
        if inspection.parts is None:
            return None
        scene = GltfScene(inspection.parts)
    except (AssetError, HandOver):
        return None
    file = importable(path, inspection, session.process.scratch)
    session.open(*file, [clip.duration_s for clip in inspection.clips or ()])
    read = session.still()
    theirs = Still(read.points, read.triangles.astype(np.int64), read.opacity)
    return _scored(scene.still()), _scored(theirs)


def _scored(still: Still) -> dict[str, float]:
    scores, sketch = survey(still), geometry_sketch(still)
    found = {} if scores is None else asdict(scores)
    if sketch is not None:
        found |= {f"geometry[{i}]": value for i, value in enumerate(sketch.values.tolist())}
        found["solid triangles"] = float(sketch.kind)
    return found


if __name__ == "__main__":
    main()
