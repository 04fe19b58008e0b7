"""A built model to files: the binary glTF and, beside it, the ground truth about its clips."""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from render.blender.samples.blend import Stage, export
from render.blender.samples.model import Clip, Model


def write_asset(model: Model, folder: Path) -> dict[str, Any]:
    """Build a model in Blender, write ``NAME.glb`` and ``NAME.truth.json``; gives the truth."""
    Stage(model).build()
    path = folder / f"{model.name}.glb"
    temporary = folder / f".tmp-{os.getpid()}-{model.name}.glb"
    export(temporary)
    os.replace(temporary, path)
    truth = _truth(model, path)
    write_json(folder / f"{model.name}.truth.json", truth)
    return truth


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name and rename it: readers never see a part."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    temporary.write_text(json.dumps(value, sort_keys=True, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _truth(model: Model, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    document = _document(content)
    animations = document.get("animations", [])
    clips = {clip.name: clip for clip in model.clips}
    if sorted(clips) != sorted(a["name"] for a in animations):
        found = [a["name"] for a in animations]
        raise RuntimeError(f"{path.name}: made the clips {sorted(clips)}, the file has {found}")
    if any(node.parts for node in model.nodes) and animations:
        rows = [
            _clip(clips[a["name"]], index, _duration(document, a))
            for index, a in enumerate(animations)
        ]
    else:
        # such a file is dropped as a whole: one row, no clip
        rule = "no_clips" if not animations else "no_mesh"
        rows = [_clip(Clip("", 0.0, 2).rejected(rule), -1, 0.0)]
    return {
        "name": model.name,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "fps": model.fps,
        "animations": len(animations),
        "note": model.note,
        "clips": rows,
    }


def _clip(clip: Clip, index: int, duration_s: float) -> dict[str, Any]:
    amplitude = clip.amplitude
    return {
        "name": clip.name,
        "index": index,
        "duration_s": duration_s,
        "expected_verdict": clip.verdict,
        "expected_rule": clip.rule,
        "loop": clip.loop,
        "period_s": clip.period_s,
        "amplitude": {
            "node": amplitude.node,
            "kind": amplitude.kind,
            "value": amplitude.value,
            "unit": amplitude.unit,
        },
    }


def _document(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length])


def _duration(document: dict[str, Any], animation: dict[str, Any]) -> float:
    inputs = {sampler["input"] for sampler in animation["samplers"]}
    return max(document["accessors"][k]["max"][0] for k in inputs)
