"""Each rule about glTF containers, references, accessors and outside files, on a tiny file."""

import base64
import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.inspect import InspectLimits, inspect_file
from tests.curate.gltf_builder import Tiny, glb_bytes, refused, tiny

Change = Callable[[Tiny], Any]


def _write(made: Tiny, folder: Path, form: str) -> Path:
    return made.glb(folder / "tiny.glb") if form == "glb" else made.gltf(folder / "tiny.gltf")


@pytest.mark.parametrize("form", ["glb", "gltf"])
def test_sound_file_is_described(tmp_path: Path, form: str) -> None:
    made = tiny()
    made.doc["asset"] |= {"generator": "by hand", "extras": {"license": "CC0", "author": "A. B."}}
    found = inspect_file(_write(made, tmp_path, form))
    assert (found.format, found.vertices, found.triangles) == (form, 3, 1)
    assert [(clip.index, clip.name, clip.duration_s) for clip in found.clips or ()] == [
        (0, "Up", 2.0)
    ]
    assert (found.licence, found.attribution, found.generator) == ("CC0", "A. B.", "by hand")
    assert (found.companions, found.warnings) == ((), ())


def test_copyright_is_the_attribution_when_no_author_is_given(tmp_path: Path) -> None:
    made = tiny()
    made.doc["asset"]["copyright"] = "(c) C. D. \ud800"  # half a surrogate pair: not encodable
    found = inspect_file(made.gltf(tmp_path / "tiny.gltf"))
    assert (found.licence, found.attribution) == ("", "(c) C. D. ?")


def _poke(path: str, value: Any) -> Change:
    """Set a property by its path in the JSON, numbers being list positions; None removes it."""

    def change(made: Tiny) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        place: Any = made.doc
        for key in way:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


_JSON_CASES = [
    ("asset/version", "1.0", "gltf_version"),
    ("asset", [], "bad_schema"),
    ("extensionsRequired", [1], "bad_schema"),
    ("extensionsRequired", "KHR_texture_transform", "bad_schema"),
    ("nodes", {}, "bad_schema"),
    ("nodes/0", 7, "bad_schema"),
    ("nodes/0/children", 0, "bad_schema"),
    ("nodes/0/extensions", [], "bad_schema"),
    ("nodes/0/mesh", 1, "bad_reference"),
    ("nodes/0/mesh", -1, "bad_reference"),
    ("nodes/0/mesh", True, "bad_reference"),
    ("nodes/0/mesh", 0.0, "bad_reference"),
    ("nodes/0/mesh", "0", "bad_reference"),
    ("nodes/0/mesh", [0], "bad_reference"),
    ("nodes/0/skin", 0, "bad_reference"),
    ("nodes/0/camera", 0, "bad_reference"),
    ("nodes/0/children", [5], "bad_reference"),
    ("nodes/0/children", ["x"], "bad_reference"),
    ("nodes/0/extensions", {"KHR_lights_punctual": {"light": 0}}, "bad_reference"),
    ("scene", 1, "bad_reference"),
    ("scenes/0/nodes", [1], "bad_reference"),
    ("meshes/0/primitives/0/attributes/POSITION", 99, "bad_reference"),
    ("meshes/0/primitives/0/indices", 99, "bad_reference"),
    ("meshes/0/primitives/0/material", 0, "bad_reference"),
    ("meshes/0/primitives/0/targets", [{"POSITION": None}], "bad_reference"),
    ("accessors/0/bufferView", 99, "bad_reference"),
    ("bufferViews/0/buffer", 1, "bad_reference"),
    ("bufferViews/0/buffer", None, "bad_reference"),
    ("animations/0/samplers/0/input", 99, "bad_reference"),
    ("animations/0/samplers/0/output", None, "bad_reference"),
    ("animations/0/channels/0/sampler", 1, "bad_reference"),
    ("animations/0/channels/0/target/node", 1, "bad_reference"),
    ("skins", [{"joints": [0], "skeleton": 4}], "bad_reference"),
    ("skins", [{"joints": [9]}], "bad_reference"),
    ("skins", [{"joints": [0], "inverseBindMatrices": 99}], "bad_reference"),
    ("textures", [{"source": 0}], "bad_reference"),
    ("textures", [{"sampler": 0}], "bad_reference"),
    ("textures", [{"extensions": {"EXT_texture_webp": {"source": 0}}}], "bad_reference"),
    ("images", [{"bufferView": 99}], "bad_reference"),
    ("images", [{"uri": 5}], "bad_schema"),
    ("materials", [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}], "bad_reference"),
    ("materials", [{"extensions": {"E": {"sheenColorTexture": {}}}}], "bad_reference"),
    ("meshes/0/primitives/0/attributes", None, "bad_schema"),
    ("meshes/0/primitives/0/mode", 7, "bad_schema"),
    ("animations/0/channels/0/target/path", None, "bad_schema"),
    ("accessors/0/count", None, "accessor_range"),
    ("accessors/0/count", -1, "accessor_range"),
    ("accessors/0/count", 1e9, "accessor_range"),
    ("accessors/0/count", 2**70, "accessor_range"),
    ("accessors/0/count", 4, "accessor_range"),
    ("accessors/0/byteOffset", 1, "accessor_range"),
    ("accessors/0/type", "VEC5", "bad_accessor"),
    ("accessors/0/type", [], "bad_accessor"),
    ("accessors/0/componentType", 5124, "bad_accessor"),
    ("accessors/0/type", "SCALAR", "bad_accessor"),
    ("accessors/2/componentType", 5125, "bad_accessor"),
    ("bufferViews/0/byteStride", 13, "accessor_range"),
    ("bufferViews/0/byteStride", 70_000, "buffer_view_range"),
    ("bufferViews/0/byteLength", 10**6, "buffer_view_range"),
    ("bufferViews/0/byteOffset", 10**6, "buffer_view_range"),
    ("bufferViews/0/byteLength", None, "buffer_view_range"),
    ("buffers/0/byteLength", 10**6, "truncated_buffer"),
    ("buffers/0/byteLength", "12", "bad_schema"),
    ("buffers/0/uri", 5, "bad_schema"),
    ("buffers/0/uri", "data:;base64,AAA", "bad_data_uri"),
    ("buffers/0/uri", "data:text/plain," + "A" * 204, "bad_data_uri"),
    ("buffers/0/uri", "data:;base64,\u00e9", "bad_data_uri"),
    ("buffers/0/uri", "nothing.bin", "missing_buffer"),
    ("buffers/0/uri", "a\0b", "bad_uri"),
    ("buffers/0/uri", "\ud800", "bad_uri"),
    ("buffers/0/uri", "a/" * 5000, "bad_uri"),
]


@pytest.mark.parametrize(("path", "value", "rule"), _JSON_CASES)
def test_broken_property_isrefused(tmp_path: Path, path: str, value: Any, rule: str) -> None:
    made = tiny()
    _poke(path, value)(made)
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b'{"asset": {"version": "2.0"}', "bad_json"),
        (b'{"asset": {"version": "2.0"}, "a": NaN}', "bad_json"),
        (b'{"asset": {"version": "2.0"}, "a": "\xff"}', "bad_json"),
        (b'\xef\xbb\xbf{"asset": {"version": "2.0"}}', "bad_json"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "bad_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "bad_json"),
        (b"{}", "bad_schema"),
    ],
)
def test_bad_json_isrefused(tmp_path: Path, text: bytes, rule: str) -> None:
    path = tmp_path / "tiny.gltf"
    path.write_bytes(text)
    assert refused(path) == rule


def test_json_that_would_grow_when_parsed_is_refused_unparsed(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gltf"
    path.write_bytes(b'{"asset": {"version": "2.0"}, "a": [' + b"[]," * 1000 + b"[]]}")
    assert inspect_file(path, InspectLimits(json_values_max=2100)).vertices == 0
    assert refused(path, InspectLimits(json_values_max=1000)) == "json_too_large"
    assert refused(path, InspectLimits(json_bytes_max=1000)) == "json_too_large"


def _header(offset: int, layout: str, value: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        out = bytearray(data)
        struct.pack_into(layout, out, offset, value)
        return bytes(out)

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda data: data[:-1], "truncated_file"),
        (lambda data: data[:15], "truncated_file"),
        (lambda data: data[:8], "truncated_file"),
        (lambda data: _header(data.rindex(b"BIN\0") - 4, "<I", 10**6)(data), "bad_glb"),
        (lambda data: data + b"\0", "bad_glb"),
        (_header(4, "<I", 1), "gltf_version"),
        (_header(12, "<I", 2**31), "bad_glb"),
        (_header(12, "<I", 2**32 - 1), "bad_glb"),
        (_header(16, "<I", 0), "bad_glb"),
        (lambda data: _header(8, "<I", len(data) + 3)(data + b"\0\0\0"), ""),  # a stray third chunk
    ],
)
def test_glb_frame_is_checked(tmp_path: Path, change: Callable[[bytes], bytes], rule: str) -> None:
    path = tiny().glb(tmp_path / "tiny.glb")
    path.write_bytes(change(path.read_bytes()))
    if rule:
        assert refused(path) == rule
    else:
        assert inspect_file(path).vertices == 3


def test_glb_chunk_header_cut_by_the_end_isrefused(tmp_path: Path) -> None:
    data = glb_bytes(json.dumps({"asset": {"version": "2.0"}}).encode(), b"")[:-4]
    path = tmp_path / "tiny.glb"
    path.write_bytes(_header(8, "<I", len(data))(data))
    assert refused(path) == "bad_glb"


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("../secret.bin", "path_traversal"),
        ("a/../../secret.bin", "path_traversal"),
        ("%2e%2e/secret.bin", "path_traversal"),
        ("%2E%2E%2Fsecret.bin", "path_traversal"),
        ("%252e%252e/secret.bin", "path_traversal"),
        ("..\\secret.bin", "path_traversal"),
        ("..%5Csecret.bin", "path_traversal"),
        ("/etc/hostname", "path_traversal"),
        ("%2Fetc/hostname", "path_traversal"),
        ("\\\\server\\share\\secret.bin", "path_traversal"),
        ("//server/secret.bin", "path_traversal"),
        ("C:\\secret.bin", "path_traversal"),
        ("c:/secret.bin", "path_traversal"),
        ("http://host/../../../secret.bin", "path_traversal"),
        ("link/secret.bin", "path_traversal"),
        ("secret-link.bin", "path_traversal"),
        ("http://host/a.bin", "remote_uri"),
        ("HTTPS://host/a.bin", "remote_uri"),
        ("ftp://host/a.bin", "remote_uri"),
        ("file:///a.bin", "remote_uri"),
        ("http%3A//host/a.bin", "remote_uri"),
        ("pipe.bin", "missing_buffer"),
        ("folder", "missing_buffer"),
        (".", "missing_buffer"),
    ],
)
@pytest.mark.parametrize("kind", ["buffers", "images"])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, uri: str, rule: str, kind: str) -> None:
    made = tiny()
    folder = tmp_path / "asset"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(made.blob))
    (folder / "link").symlink_to(tmp_path)
    (folder / "secret-link.bin").symlink_to(tmp_path / "secret.bin")
    os.mkfifo(folder / "pipe.bin")  # opening it would wait for ever
    if kind == "buffers":
        made.doc["buffers"][0]["uri"] = uri
    else:
        made.doc["images"] = [{"uri": uri}]
    path = made.gltf(folder / "tiny.gltf")
    if kind == "images" and rule != "path_traversal":  # a picture may be missing, with a warning
        found = inspect_file(path)
        assert found.companions == ()
        assert len(found.warnings) == 1
        assert found.warnings[0].startswith("image 0")
    else:
        assert refused(path) == rule


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("tri.bin", "tri.bin"),
        ("./parts/../parts/tri%201.bin", "parts/tri 1.bin"),
        ("parts\\tri%201.bin", "parts/tri 1.bin"),
        ("inner-link.bin", "inner-link.bin"),
        ("ab:c.bin", "ab:c.bin"),
    ],
)
def test_companions_inside_the_folder_are_hashed(tmp_path: Path, uri: str, name: str) -> None:
    made = tiny()
    (tmp_path / "parts").mkdir()
    for target in ("tri.bin", "parts/tri 1.bin", "ab:c.bin"):
        (tmp_path / target).write_bytes(bytes(made.blob))
    (tmp_path / "inner-link.bin").symlink_to("tri.bin")
    made.doc["buffers"][0]["uri"] = uri
    found = inspect_file(made.gltf(tmp_path / "tiny.gltf"))
    assert found.companions == ((name, hashlib.sha256(made.blob).hexdigest()),)
    assert found.vertices == 3


def test_companions_count_against_the_size_limit(tmp_path: Path) -> None:
    made = tiny()
    (tmp_path / "tri.bin").write_bytes(bytes(made.blob))
    made.doc["buffers"][0]["uri"] = "tri.bin"
    path = made.gltf(tmp_path / "tiny.gltf")
    size = path.stat().st_size
    inspect_file(path, InspectLimits(file_bytes_max=size + len(made.blob)))
    assert refused(path, InspectLimits(file_bytes_max=size + len(made.blob) - 1)) == (
        "file_too_large"
    )
    assert refused(path, InspectLimits(file_bytes_max=size - 1)) == "file_too_large"


def test_buffer_without_source_is_refused_unless_an_extension_supplies_it(tmp_path: Path) -> None:
    made = tiny()
    made.doc["buffers"].append({"byteLength": 1 << 39})
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == "missing_buffer"
    made.doc["buffers"][1]["extensions"] = {"EXT_meshopt_compression": {"fallback": True}}
    made.doc["bufferViews"].append({"buffer": 1, "byteLength": 1 << 39})
    view = len(made.doc["bufferViews"]) - 1
    made.doc["accessors"].append(
        {"bufferView": view, "componentType": 5126, "count": 1000, "type": "VEC3"}
    )
    made.doc["meshes"][0]["primitives"][0]["attributes"] = {
        "POSITION": len(made.doc["accessors"]) - 1
    }
    assert inspect_file(made.gltf(tmp_path / "tiny.gltf")).vertices == 1000


def test_claims_without_data_are_bounded(tmp_path: Path) -> None:
    made = tiny()
    made.doc["accessors"].append({"componentType": 5126, "count": 4000, "type": "VEC3"})
    path = made.gltf(tmp_path / "tiny.gltf")
    few = InspectLimits(vertices_max=3000, triangles_max=1000)
    assert refused(path, few) == "too_many_values"
    assert inspect_file(path, InspectLimits(vertices_max=4000, triangles_max=1)).vertices == 3
    assert refused(path, InspectLimits(values_max=12_000)) == "too_many_values"


@pytest.mark.parametrize("limit", ["nodes_max", "vertices_max", "triangles_max", "clips_max"])
def test_scene_limits_are_inclusive(tmp_path: Path, limit: str) -> None:
    sizes = {"nodes_max": 3, "vertices_max": 6, "triangles_max": 2, "clips_max": 2}
    made = tiny()
    made.doc["nodes"] += [{"mesh": 0}, {}]
    made.doc["scenes"][0]["nodes"].append(1)
    made.doc["animations"] *= 2
    path = made.gltf(tmp_path / "tiny.gltf")
    inspect_file(path, InspectLimits(**{limit: sizes[limit]}))
    what = limit.removesuffix("_max")
    assert refused(path, InspectLimits(**{limit: sizes[limit] - 1})) == f"too_many_{what}"


def test_number_of_images_is_bounded(tmp_path: Path) -> None:
    made = tiny()
    made.doc["images"] = [{"uri": "a.png"}] * 3
    path = made.gltf(tmp_path / "tiny.gltf")
    assert len(inspect_file(path, InspectLimits(files_max=3, warnings_max=2)).warnings) == 3
    assert refused(path, InspectLimits(files_max=2)) == "too_many_files"


def test_strided_and_sparse_data_are_read_in_place(tmp_path: Path) -> None:
    made = tiny()
    rows = np.zeros((3, 4), "<f4")
    rows[:, 3] = np.nan  # between the positions: nobody reads it
    made.doc["bufferViews"].append(
        {"buffer": 0, "byteOffset": len(made.blob), "byteLength": 48, "byteStride": 16}
    )
    made.blob.extend(rows.tobytes())
    made.doc["accessors"][0]["bufferView"] = len(made.doc["bufferViews"]) - 1
    made.doc["accessors"][2]["sparse"] = {  # the clip's last time becomes 5 s
        "count": 1,
        "indices": {"bufferView": made.view(b"\x01"), "componentType": 5121},
        "values": {"bufferView": made.view(struct.pack("<f", 5.0))},
    }
    found = inspect_file(made.gltf(tmp_path / "tiny.gltf"))
    assert [clip.duration_s for clip in found.clips or ()] == [5.0]
    assert found.vertices == 3


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("count", 9, "accessor_range"),
        ("count", 2, "accessor_range"),
        ("indices/componentType", 5126, "bad_accessor"),
        ("indices/bufferView", 99, "bad_reference"),
        ("values/byteOffset", 1, "accessor_range"),
        ("values", None, "bad_schema"),
    ],
)
def test_sparse_parts_are_checked(tmp_path: Path, path: str, value: Any, rule: str) -> None:
    made = tiny()
    made.doc["accessors"][2]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": made.view(b"\x01"), "componentType": 5121},
        "values": {"bufferView": made.view(struct.pack("<f", 5.0))},
    }
    _poke("accessors/2/sparse/" + path, value)(made)
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == rule


@pytest.mark.parametrize(("index", "value", "rule"), [(7, 5.0, "accessor_range"), (1, np.nan, "")])
def test_sparse_values_are_checked(tmp_path: Path, index: int, value: float, rule: str) -> None:
    made = tiny()
    made.doc["accessors"][2]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": made.view(bytes([index])), "componentType": 5121},
        "values": {"bufferView": made.view(struct.pack("<f", value))},
    }
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == (rule or "non_finite_keyframes")


def test_data_uri_of_any_media_type_is_read(tmp_path: Path) -> None:
    made = tiny()
    text = base64.b64encode(made.blob).decode()
    made.doc["buffers"][0]["uri"] = f"data:application/gltf-buffer;charset=x;base64,{text}"
    assert inspect_file(made.gltf(tmp_path / "tiny.gltf")).vertices == 3
