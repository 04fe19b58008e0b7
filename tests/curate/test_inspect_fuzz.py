"""Whatever the bytes, inspection and posing end with a result or an AssetError of a named rule.

Posing may also hand a file over to Blender. Neither takes long or much memory.
"""

import copy
import json
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.curate.gltf_builder import Tiny, tiny
from tests.curate.gltf_zoo import ZOO, build
from tests.curate.meshopt_files import NAME, compress
from tests.curate.spoil import ODD, attempt, damage, join, places, split, spoil

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


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def _generator(name: str, kind: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{kind} {name}".encode()))


@pytest.mark.parametrize("name", _FILES)
def test_damaged_bytes_end_in_named_errors(assets_dir: Path, tmp_path: Path, name: str) -> None:
    draw = _generator(name, "bytes")
    data = (assets_dir / name).read_bytes()
    path = tmp_path / Path(name).name
    rules = set()
    for _ in range(_ROUNDS):
        path.write_bytes(damage(data, draw))
        rules.add(attempt(path))
    assert rules != {""} or path.suffix == ".usda"  # of text only the paths are looked at


@pytest.mark.parametrize("name", [name for name in _FILES if ".gl" in name])
def test_spoilt_json_ends_in_named_errors(assets_dir: Path, tmp_path: Path, name: str) -> None:
    draw = _generator(name, "json")
    path = tmp_path / Path(name).name
    for companion in (assets_dir / name).parent.glob("*.bin"):
        (tmp_path / companion.name).write_bytes(companion.read_bytes())
    root, blob = split((assets_dir / name).read_bytes())
    rules = set()
    for _ in range(_ROUNDS):
        path.write_bytes(join(path.suffix, spoil(root, draw), blob))
        rules.add(attempt(path))
    assert len(rules) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_spoilt_trouble_ends_in_named_errors(tmp_path: Path, name: str) -> None:
    draw = _generator(name, "zoo")
    whole = build(name, tmp_path)
    assert attempt(whole) == ""
    root, blob = split(whole.read_bytes())
    path = tmp_path / "spoilt.glb"
    for turn in range(_ROUNDS):
        if turn % 2:
            path.write_bytes(join(".glb", root, damage(blob, draw)))
        else:
            path.write_bytes(join(".glb", spoil(root, draw), blob))
        attempt(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skin", "quantised_skin"])
def test_spoilt_compressed_files_end_in_named_errors(tmp_path: Path, name: str) -> None:
    """The decoder is a process of its own: what crashes it costs the file."""
    draw = _generator(name, "meshopt")
    made = Tiny()
    ZOO[name](made, np.random.default_rng(len(name)))
    whole = compress(made).glb(tmp_path / "whole.glb")
    assert attempt(whole) == ""
    root, blob = split(whole.read_bytes())
    path = tmp_path / "spoilt.glb"
    rules = set()
    for turn in range(3 * _ROUNDS):
        if turn % 3 == 0:  # a stream, at its exact length
            spoilt = bytearray(blob)
            spoilt[int(draw.integers(0, len(blob)))] ^= int(draw.integers(1, 256))
            path.write_bytes(join(".glb", root, bytes(spoilt)))
        elif turn % 3 == 1:
            about = copy.deepcopy(root)
            view = about["bufferViews"][int(draw.integers(0, len(about["bufferViews"])))]
            view["extensions"][NAME] = spoil(view["extensions"][NAME], draw)
            path.write_bytes(join(".glb", about, blob))
        else:
            path.write_bytes(join(".glb", spoil(root, draw), blob))
        rules.add(attempt(path))
    assert {"", "bad_meshopt"} <= rules
    assert len(rules) > 4


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
    assert attempt(path) == ""
    rules = set()
    for container, key in places(made.doc):
        kept = container[key]
        for value in (value for value in ODD if draw.random() < share):
            container[key] = value
            path.write_text(json.dumps(made.doc))
            rules.add(attempt(path))
        container[key] = kept
    assert len(rules) > 7
