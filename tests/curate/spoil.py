"""Files spoilt at random, and what has to become of them: a result, or an error with a name.

Posing may also hand a file over to Blender. Neither takes long.
"""

import copy
import json
import struct
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_pose import GltfScene
from curate.inspect import InspectLimits, inspect_file
from curate.inspect_types import Rule
from shards.errors import AssetError
from tests.curate.gltf_builder import glb_bytes

ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3, 255, 2**31, 2**40, 2**53, 2**63, 2**64, 10**400),
    *(0.5, -0.0, 1e308, "", "x", "../x", "data:", "\ud800", "\0", [], {}, [[]], [None], [{}]),
    *({"a": []}, {"extensions": 1}, "POSITION", "weights", 5126, 5121, "MAT4", [0], [1e30]),
)
_LIMITS = InspectLimits(file_bytes_max=1 << 24, values_max=2_000_000)
_SECONDS_MAX = 5.0  # of the processor, for one file


def attempt(path: Path) -> str:
    """Inspect a file and pose it; returns the rule that refused it, or ``""``."""
    started = time.process_time()
    try:
        inspection = inspect_file(path, _LIMITS)
        if inspection.parts is not None:
            _pose(inspection.parts, len(inspection.clips or ()))
        assert time.process_time() - started < _SECONDS_MAX
    except AssetError as error:
        caught = error
    else:
        return ""
    assert caught.rule in get_args(Rule)
    assert caught.rule != "inspector_fault", caught.detail
    assert caught.stage == "inspect"
    str(caught).encode()
    return caught.rule


def _pose(parts: GltfParts, clips: int) -> None:
    try:
        scene = GltfScene(parts)
        for clip in range(min(clips, 3)):
            if scene.vertices:
                posed = scene.points(clip, np.array([0.0, 0.3, 1.1]), 1000)
                assert len(posed.place) == min(scene.vertices, 1000)
                assert posed.points.shape == (3, len(posed.weights), 3)
    except HandOver as reason:
        str(reason).encode()


def damage(data: bytes, draw: np.random.Generator) -> bytes:
    """Cut, repeat, overwrite or flip a stretch of bytes, near the headers more often than not."""
    out = bytearray(data)
    for _ in range(int(draw.integers(1, 6))):
        reach = len(out) if draw.random() < 0.5 else min(len(out), 256)
        at, size = int(draw.integers(0, max(reach, 1))), int(draw.integers(1, 16))
        kind = draw.integers(0, 5)
        if kind == 0:
            out[at : at + size] = draw.bytes(size)
        elif kind == 1:
            out[at : at + size] = bytes([draw.choice([0, 255, 127, 128])]) * size
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at : at + size]
        else:
            del out[at:]
    return bytes(out)


def places(value: Any) -> list[tuple[Any, Any]]:
    """List every (container, key) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        found.extend((container, key) for key in keys)
        pending.extend(container[key] for key in keys if isinstance(container[key], dict | list))
    return found


def spoil(root: dict[str, Any], draw: np.random.Generator) -> dict[str, Any]:
    """Replace, remove or swap a few properties."""
    root = copy.deepcopy(root)
    for _ in range(int(draw.integers(1, 4))):
        found = places(root)
        container, key = found[int(draw.integers(0, len(found)))]
        kind = draw.integers(0, 4)
        if kind == 0:
            del container[key]
        elif kind == 1:
            other, name = found[int(draw.integers(0, len(found)))]
            container[key] = copy.deepcopy(other[name])
        else:
            container[key] = copy.deepcopy(ODD[int(draw.integers(0, len(ODD)))])
    return root


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a .glb or .gltf apart: its document, and its buffer."""
    if not data.startswith(b"glTF"):
        return json.loads(data), b""
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def join(suffix: str, root: Any, blob: bytes) -> bytes:
    """Put them together again, as a file of that suffix."""
    text = json.dumps(root).encode()
    return glb_bytes(text, blob) if suffix == ".glb" else text
