"""Whatever the bytes, inspection and posing end with a result or an AssetError of a named rule.

Posing may also hand a file over to Blender. Neither takes long or much memory.
"""

import copy
import json
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_pose import GltfScene
from curate.inspect import InspectLimits, inspect_file
from curate.inspect_types import Rule
from shards.errors import AssetError
from tests.curate.gltf_builder import glb_bytes, tiny
from tests.curate.gltf_zoo import ZOO, build

_FILES = (
    "simple-cube.glb",
    "momentum-chain.glb",
    "lever.glb",
    "alien-flyer-draco.glb",
    "rigged-simple.gltf",
    "morph-cube/morph-cube.gltf",
    "box-animated.usdz",
    "cube-departs.usda",
    "shape-weights.fbx",
)
_ROUNDS = 24
_ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3, 255, 2**31, 2**40, 2**53, 2**63, 2**64, 10**400),
    *(0.5, -0.0, 1e308, "", "x", "../x", "data:", "\ud800", "\0", [], {}, [[]], [None], [{}]),
    *({"a": []}, {"extensions": 1}, "POSITION", "weights", 5126, 5121, "MAT4", [0], [1e30]),
)
_LIMITS = InspectLimits(file_bytes_max=1 << 24, values_max=2_000_000)


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def _attempt(path: Path) -> str:
    """Inspect a file and pose it; returns the rule that refused it, or ``""``."""
    started = time.process_time()
    try:
        inspection = inspect_file(path, _LIMITS)
        if inspection.parts is not None:
            _pose(inspection.parts, len(inspection.clips or ()))
        assert time.process_time() - started < 5
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


def _generator(name: str, kind: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{kind} {name}".encode()))


def _damage(data: bytes, draw: np.random.Generator) -> bytes:
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


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List every (container, key) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        found.extend((container, key) for key in keys)
        pending.extend(container[key] for key in keys if isinstance(container[key], dict | list))
    return found


def _spoil(root: dict[str, Any], draw: np.random.Generator) -> dict[str, Any]:
    """Replace, remove or swap a few properties."""
    root = copy.deepcopy(root)
    for _ in range(int(draw.integers(1, 4))):
        places = _places(root)
        container, key = places[int(draw.integers(0, len(places)))]
        kind = draw.integers(0, 4)
        if kind == 0:
            del container[key]
        elif kind == 1:
            other, name = places[int(draw.integers(0, len(places)))]
            container[key] = copy.deepcopy(other[name])
        else:
            container[key] = copy.deepcopy(_ODD[int(draw.integers(0, len(_ODD)))])
    return root


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    if not data.startswith(b"glTF"):
        return json.loads(data), b""
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def _join(suffix: str, root: Any, blob: bytes) -> bytes:
    text = json.dumps(root).encode()
    return glb_bytes(text, blob) if suffix == ".glb" else text


@pytest.mark.parametrize("name", _FILES)
def test_damaged_bytes_end_in_named_errors(assets_dir: Path, tmp_path: Path, name: str) -> None:
    draw = _generator(name, "bytes")
    data = (assets_dir / name).read_bytes()
    path = tmp_path / Path(name).name
    rules = set()
    for _ in range(_ROUNDS):
        path.write_bytes(_damage(data, draw))
        rules.add(_attempt(path))
    assert rules != {""} or path.suffix == ".usda"  # of text only the paths are looked at


@pytest.mark.parametrize("name", [name for name in _FILES if ".gl" in name])
def test_spoilt_json_ends_in_named_errors(assets_dir: Path, tmp_path: Path, name: str) -> None:
    draw = _generator(name, "json")
    path = tmp_path / Path(name).name
    for companion in (assets_dir / name).parent.glob("*.bin"):
        (tmp_path / companion.name).write_bytes(companion.read_bytes())
    root, blob = _split((assets_dir / name).read_bytes())
    rules = set()
    for _ in range(_ROUNDS):
        path.write_bytes(_join(path.suffix, _spoil(root, draw), blob))
        rules.add(_attempt(path))
    assert len(rules) > 3


@pytest.mark.parametrize("name", ZOO)
def test_spoilt_trouble_ends_in_named_errors(tmp_path: Path, name: str) -> None:
    draw = _generator(name, "zoo")
    whole = build(name, tmp_path)
    assert _attempt(whole) == ""
    root, blob = _split(whole.read_bytes())
    path = tmp_path / "spoilt.glb"
    for turn in range(_ROUNDS):
        if turn % 2:
            path.write_bytes(_join(".glb", root, _damage(blob, draw)))
        else:
            path.write_bytes(_join(".glb", _spoil(root, draw), blob))
        _attempt(path)


@pytest.mark.parametrize("share", [0.05, pytest.param(1.0, marks=pytest.mark.slow)])
def test_every_property_survives_odd_values(tmp_path: Path, share: float) -> None:
    draw = np.random.default_rng(0)
    made = tiny()
    made.doc["accessors"][2]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": made.view(b"\x01"), "componentType": 5121, "byteOffset": 0},
        "values": {"bufferView": made.view(struct.pack("<f", 5.0)), "byteOffset": 0},
    }
    made.doc["images"] = [{"bufferView": 0}, {"uri": "a.png"}]
    made.doc["textures"] = [{"source": 0, "sampler": 0}]
    made.doc["samplers"] = [{}]
    made.doc["materials"] = [{"normalTexture": {"index": 0}}]
    made.doc["skins"] = [{"joints": [0], "skeleton": 0}]
    made.doc["nodes"][0] |= {"skin": 0, "translation": [0, 0, 0], "children": [], "extensions": {}}
    made.doc["extensionsRequired"] = ["A"]
    path = made.gltf(tmp_path / "tiny.gltf")
    assert _attempt(path) == ""
    rules = set()
    for container, key in _places(made.doc):
        kept = container[key]
        for value in (value for value in _ODD if draw.random() < share):
            container[key] = value
            path.write_text(json.dumps(made.doc))
            rules.add(_attempt(path))
        container[key] = kept
    assert len(rules) > 7
