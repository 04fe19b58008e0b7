"""Each rule about glTF meshes, nodes, clips and images, on a tiny file."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.inspect import InspectLimits, inspect_file
from shards.errors import AssetError
from tests.curate.gltf_builder import Tiny, png_header, refused, tiny

_DRACO = "KHR_draco_mesh_compression"


def _clips(path: Path) -> list[float]:
    return [clip.duration_s for clip in inspect_file(path).clips or ()]


def _primitive(made: Tiny) -> dict[str, Any]:
    return made.doc["meshes"][0]["primitives"][0]


@pytest.mark.parametrize(
    ("mode", "triangles"), [(0, 0), (1, 0), (2, 0), (3, 0), (4, 3), (5, 7), (6, 7), (None, 3)]
)
@pytest.mark.parametrize("indexed", [True, False])
def test_triangles_follow_from_the_mode(
    tmp_path: Path, mode: int | None, triangles: int, indexed: bool
) -> None:
    made = tiny()
    primitive = _primitive(made)
    if indexed:
        primitive["indices"] = made.accessor([0, 1, 2] * 3, "u1")
    else:
        del primitive["indices"]
        primitive["attributes"]["POSITION"] = made.accessor(np.zeros((9, 3)))
    if mode is not None:
        primitive["mode"] = mode
    found = inspect_file(made.glb(tmp_path / "tiny.glb"))
    assert (found.vertices, found.triangles) == (3 if indexed else 9, triangles)


def test_only_what_the_default_scene_reaches_is_counted(tmp_path: Path) -> None:
    made = tiny()
    made.doc["nodes"] = [
        {"mesh": 0, "children": [1]},
        {"children": [2]},
        {"mesh": 0},
        {"mesh": 0},  # in scene 1 only
    ]
    made.doc["scenes"] = [{"nodes": [0]}, {"nodes": [3]}, {}]
    counts = []
    for scene in (0, 1, 2, None):
        made.doc["scene"] = scene
        counts.append(inspect_file(made.glb(tmp_path / "tiny.glb")).triangles)
    assert counts == [2, 1, 0, 3]


@pytest.mark.parametrize("keep", [(), ("scene", "scenes"), ("scene", "scenes", "nodes")])
def test_absence_of_geometry_is_no_error(tmp_path: Path, keep: tuple[str, ...]) -> None:
    made = tiny()
    made.doc = {key: made.doc[key] for key in ("asset", *keep)} | {"buffers": []}
    if "nodes" in keep:
        made.doc["nodes"] = [{}]
    if keep == ("scene", "scenes"):
        made.doc["scenes"] = [{"nodes": []}]
    found = inspect_file(made.gltf(tmp_path / "tiny.gltf"))
    assert (found.vertices, found.triangles, found.clips) == (0, 0, ())


def test_gpu_instances_multiply(tmp_path: Path) -> None:
    made = tiny()
    places = made.accessor(np.zeros((50, 3)))
    extension = {"attributes": {"TRANSLATION": places}}
    made.doc["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": extension}
    path = made.glb(tmp_path / "tiny.glb")
    assert inspect_file(path).vertices == 150
    assert refused(path, InspectLimits(nodes_max=49)) == "too_many_nodes"
    assert refused(path, InspectLimits(vertices_max=149)) == "too_many_vertices"
    del extension["attributes"]
    extension["other"] = {}
    assert refused(made.glb(tmp_path / "tiny.glb")) == "bad_schema"


@pytest.mark.parametrize(("dtype", "last"), [("u1", 3), ("u2", 65_535), ("u4", 2**32 - 1)])
def test_index_past_the_vertices_is_refused(tmp_path: Path, dtype: str, last: int) -> None:
    made = tiny()
    _primitive(made)["indices"] = made.accessor([0, 1, last], dtype)
    assert refused(made.glb(tmp_path / "tiny.glb")) == "index_range"


def test_index_data_must_be_unsigned_integers(tmp_path: Path) -> None:
    made = tiny()
    _primitive(made)["indices"] = made.accessor([0.0, 1.0, 2.0])
    assert refused(made.glb(tmp_path / "tiny.glb")) == "bad_accessor"


def test_attributes_must_match_in_length(tmp_path: Path) -> None:
    made = tiny()
    _primitive(made)["attributes"]["NORMAL"] = made.accessor(np.zeros((2, 3)))
    assert refused(made.glb(tmp_path / "tiny.glb")) == "attribute_count"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["base", "target", "odd"])
def test_positions_must_be_finite(tmp_path: Path, bad: float, where: str) -> None:
    made = tiny()
    values = np.zeros((3, 3), "<f4")
    values[2, 1] = bad
    if where == "odd":  # not aligned to words: read by itself
        made.view(b"x")
        view = made.view(b"y" + values.tobytes())
        row = {"bufferView": view, "byteOffset": 1, "componentType": 5126, "count": 3}
        made.doc["accessors"].append(row | {"type": "VEC3"})
        _primitive(made)["attributes"]["POSITION"] = len(made.doc["accessors"]) - 1
    elif where == "target":
        _primitive(made)["targets"] = [{"POSITION": made.accessor(values)}]
    else:
        _primitive(made)["attributes"]["POSITION"] = made.accessor(values)
    assert refused(made.glb(tmp_path / "tiny.glb")) == "non_finite_vertices"


def test_other_attributes_may_hold_anything(tmp_path: Path) -> None:
    made = tiny()
    _primitive(made)["attributes"]["NORMAL"] = made.accessor(np.full((3, 3), np.nan))
    assert inspect_file(made.glb(tmp_path / "tiny.glb")).vertices == 3


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (b"DRACO\x02\x02\x01\x00\x00\x00\x07\x09", 7),  # sequential: faces, points
        (b"DRACO\x02\x02\x01\x01\x00\x00\x00\x09\x80\x02", 256),  # vertices, faces
        (b"DRACO\x02\x02\x01\x00\x00\x80\x07\x09", 1),  # metadata first: accessor's word counts
        (b"DRACO\x02\x02\x01\x00\x00\x00\xff\xff\xff\xff\x0f\x09", "too_many_triangles"),
        (b"DRACO\x02\x02\x00\x01\x00\x00\x00\x00\x00", "bad_draco"),  # a point cloud
        (b"DRACO\x02\x02", "bad_draco"),
        (b"DRAC0\x02\x02\x01\x00\x00\x00\x07\x09", "bad_draco"),
    ],
)
def test_draco_streams_are_recognised(tmp_path: Path, head: bytes, rule: str | int) -> None:
    made = tiny()
    draco = {"bufferView": made.view(head), "attributes": {"POSITION": 0}}
    _primitive(made)["extensions"] = {_DRACO: draco}
    for accessor in made.doc["accessors"][:2]:
        del accessor["bufferView"]
    path = made.glb(tmp_path / "tiny.glb")
    if isinstance(rule, str):
        assert refused(path) == rule
    else:
        assert inspect_file(path).triangles == rule


def _chain(length: int) -> list[dict[str, Any]]:
    return [{"children": [i + 1]} for i in range(length - 1)] + [{}]


def test_depth_limit_is_inclusive(tmp_path: Path) -> None:
    made = tiny()
    made.doc["nodes"] = _chain(500)
    assert inspect_file(made.gltf(tmp_path / "tiny.gltf")).vertices == 0
    made.doc["nodes"] = _chain(501)
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == "hierarchy_too_deep"


@pytest.mark.parametrize(
    ("children", "rule"),
    [
        ({0: [0]}, "node_cycle"),
        ({0: [1], 1: [0]}, "node_cycle"),
        ({1: [2], 2: [3], 3: [1]}, "node_cycle"),
        ({0: [1, 1]}, "node_two_parents"),
        ({0: [2], 1: [2]}, "node_two_parents"),
    ],
)
def test_nodes_must_form_a_forest(
    tmp_path: Path, children: dict[int, list[int]], rule: str
) -> None:
    made = tiny()
    made.doc["nodes"] = [{"children": children.get(i, [])} for i in range(4)]
    made.doc["animations"] = []
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == rule


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("translation", [0, 0]),
        ("translation", "abc"),
        ("translation", [0, 0, None]),
        ("rotation", [0, 0, 1]),
        ("scale", [1, 1, 10**400]),
        ("scale", [1, 1, True]),
        ("matrix", [1.0] * 15),
    ],
)
def test_transforms_must_be_finite_numbers(tmp_path: Path, key: str, value: Any) -> None:
    made = tiny()
    made.doc["nodes"][0][key] = value
    assert refused(made.gltf(tmp_path / "tiny.gltf")) == "bad_transform"


def test_json_number_that_overflows_is_refused(tmp_path: Path) -> None:
    made = tiny()
    made.doc["nodes"][0]["scale"] = [1, 1, 12345]
    path = made.gltf(tmp_path / "tiny.gltf")
    path.write_text(path.read_text().replace("12345", "1e999"))
    assert refused(path) == "bad_transform"


def _skin(made: Tiny, joints: list[int], matrices: Any = None) -> None:
    made.doc["nodes"] = [{"mesh": 0, "skin": 0}, {}, {}]
    skin: dict[str, Any] = {"joints": [1, 2]}
    if matrices is not None:
        skin["inverseBindMatrices"] = made.accessor(matrices)
    made.doc["skins"] = [skin]
    numbers = made.accessor(np.array([joints] * 3), "u1")
    _primitive(made)["attributes"]["JOINTS_0"] = numbers


def test_skin_parts_fit_each_other(tmp_path: Path) -> None:
    path = tmp_path / "tiny.glb"
    eye = np.tile(np.eye(4).ravel(), (2, 1))
    cases: list[tuple[list[int], Any, str]] = [
        ([0, 1, 0, 0], eye, ""),
        ([0, 1, 0, 0], None, ""),
        ([0, 2, 0, 0], eye, "joint_range"),
        ([0, 1, 0, 0], eye[:1], "accessor_range"),
        ([0, 1, 0, 0], eye * np.nan, "non_finite_matrices"),
        ([0, 1, 0, 0], np.zeros(2), "bad_accessor"),
    ]
    for joints, matrices, rule in cases:
        made = tiny()
        _skin(made, joints, matrices)
        if rule:
            assert refused(made.glb(path)) == rule
        else:
            assert inspect_file(made.glb(path)).vertices == 3
    made = tiny()
    _primitive(made)["attributes"]["JOINTS_0"] = made.accessor(np.zeros((3, 4)))
    assert refused(made.glb(path)) == "bad_accessor"


def test_clip_runs_from_zero_to_the_last_key_of_its_channels(tmp_path: Path) -> None:
    made = tiny()
    row = made.clip([3.0, 4.0], np.zeros((2, 3)))
    extra = {"input": made.accessor([0.0, 9.0]), "output": made.accessor(np.zeros((2, 3)))}
    row["samplers"].append(extra)  # no channel uses it
    made.clip([0.0], np.zeros((1, 3)))
    made.doc["animations"].append({"samplers": [], "channels": []})
    made.clip([-2.0, -1.0], np.zeros((2, 3)))
    assert _clips(made.glb(tmp_path / "tiny.glb")) == [2.0, 4.0, 0.0, 0.0, 0.0]


def test_clip_length_is_reported_not_judged(tmp_path: Path) -> None:
    made = tiny()
    made.clip([0.0, 2e6], np.zeros((2, 3)))
    assert _clips(made.glb(tmp_path / "tiny.glb")) == [2.0, 2e6]


def test_clip_names_are_kept_and_may_repeat(tmp_path: Path) -> None:
    made = tiny()
    made.clip([0.0, 1.0], np.zeros((2, 3)))
    made.clip([0.0, 1.0], np.zeros((2, 3)))["name"] = 7
    found = inspect_file(made.glb(tmp_path / "tiny.glb"))
    assert [clip.name for clip in found.clips or ()] == ["Up", "Up", ""]


@pytest.mark.parametrize(
    ("times", "values", "more", "rule"),
    [
        ([0.0, np.nan], np.zeros((2, 3)), {}, "non_finite_keyframes"),
        ([0.0, np.inf], np.zeros((2, 3)), {}, "non_finite_keyframes"),
        ([0.0, 1.0], np.full((2, 3), np.inf), {}, "non_finite_keyframes"),
        ([0.0, 1.0], np.zeros((1, 3)), {}, "keyframe_count"),
        ([0.0, 1.0], np.zeros((5, 3)), {"interpolation": "CUBICSPLINE"}, "keyframe_count"),
        ([0.0, 1.0], np.zeros((6, 3)), {"interpolation": "CUBICSPLINE"}, ""),
        ([0.0, 1.0], np.zeros((2, 3)), {"interpolation": "STEP"}, ""),
        ([0.0, 1.0], np.zeros((2, 3)), {"interpolation": "linear"}, "bad_interpolation"),
        ([0.0, 1.0], np.zeros((2, 3)), {"interpolation": 0}, "bad_interpolation"),
        ([0.0, 1.0], np.zeros((2, 3)), {"interpolation": []}, "bad_interpolation"),
        ([0.0, 1.0], np.zeros((2, 4)), {}, "bad_accessor"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {}, "bad_accessor"),
    ],
)
def test_keyframes_are_checked(
    tmp_path: Path, times: Any, values: Any, more: dict[str, Any], rule: str
) -> None:
    made = tiny()
    made.clip(times, values, **more)
    path = made.glb(tmp_path / "tiny.glb")
    if rule:
        assert refused(path) == rule
    else:
        assert _clips(path) == [2.0, 1.0]


@pytest.mark.parametrize("times", [[0.0, 2.0, 1.0], [0.0, 1.0, 1.0], [-1.0, 0.0, 1.0]])
def test_disordered_times_warn(tmp_path: Path, times: list[float]) -> None:
    made = tiny()
    made.clip(times, np.zeros((3, 3)))
    found = inspect_file(made.glb(tmp_path / "tiny.glb"))
    assert found.warnings == ("animation 1 ('Up'): keyframe times do not increase from 0 on",)
    assert [clip.duration_s for clip in found.clips or ()] == [2.0, max(times)]


def test_morph_weights_need_one_value_per_target(tmp_path: Path) -> None:
    made = tiny()
    _primitive(made)["targets"] = [{"POSITION": made.accessor(np.zeros((3, 3)))}] * 2
    made.clip([0.0, 1.0], np.zeros(4), "weights")
    assert _clips(made.glb(tmp_path / "tiny.glb")) == [2.0, 1.0]
    made.clip([0.0, 1.0], np.zeros(3), "weights")
    assert refused(made.glb(tmp_path / "tiny.glb")) == "keyframe_count"


def test_channels_without_a_node_are_legal(tmp_path: Path) -> None:
    made = tiny()
    row = made.clip([0.0, 1.0], np.zeros((2, 4)), "pointer")
    pointer = {"KHR_animation_pointer": {"pointer": "/materials/0/alphaCutoff"}}
    row["channels"][0]["target"] = {"path": "pointer", "extensions": pointer}
    assert _clips(made.glb(tmp_path / "tiny.glb")) == [2.0, 1.0]


def test_unknown_required_extensions_warn(tmp_path: Path) -> None:
    made = tiny()
    made.doc["extensionsRequired"] = ["KHR_mesh_quantization", "ACME_secret"]
    warnings = inspect_file(made.glb(tmp_path / "tiny.glb")).warnings
    assert len(warnings) == 1
    assert "ACME_secret" in warnings[0]


@pytest.mark.parametrize("where", ["view", "data", "file"])
def test_pixels_are_bounded_wherever_the_image_lies(tmp_path: Path, where: str) -> None:
    for width, height, sound in ((16384, 8192, True), (16384, 8193, False)):
        made = tiny()
        data = png_header(width, height)
        if where == "view":
            image = {"bufferView": made.view(data), "mimeType": "image/png"}
        elif where == "data":
            image = {"uri": "data:image/png;base64," + base64.b64encode(data).decode()}
        else:
            (tmp_path / "big.png").write_bytes(data)
            image = {"uri": "big.png"}
        made.doc["images"] = [image]
        path = made.glb(tmp_path / "tiny.glb")
        if sound:
            assert inspect_file(path).warnings == ()
        else:
            assert refused(path) == "image_too_large"


def test_pixels_of_all_images_are_bounded_together(tmp_path: Path) -> None:
    made = tiny()
    made.doc["images"] = [{"bufferView": made.view(png_header(100, 100))}] * 3
    path = made.glb(tmp_path / "tiny.glb")
    inspect_file(path, InspectLimits(image_pixels_total_max=30_000))
    assert refused(path, InspectLimits(image_pixels_total_max=29_999)) == "image_too_large"


def test_unreadable_image_warns(tmp_path: Path) -> None:
    made = tiny()
    made.doc["images"] = [{"bufferView": made.view(b"not an image, only text")}, {}]
    made.doc["textures"] = [{"source": 0}]
    made.doc["materials"] = [{"normalTexture": {"index": 0}}]
    _primitive(made)["material"] = 0
    warnings = inspect_file(made.glb(tmp_path / "tiny.glb")).warnings
    assert [text.split(" is ")[0].split(" has ")[0] for text in warnings] == ["image 0", "image 1"]


def test_message_quotes_hostile_text_shortly(tmp_path: Path) -> None:
    made = tiny()
    made.doc["buffers"][0]["uri"] = "../" + "\n\x1b[31m" * 500
    path = made.gltf(tmp_path / "tiny.gltf")
    with pytest.raises(AssetError, match="outside the asset's folder") as caught:
        inspect_file(path)
    text = str(caught.value)
    assert len(text) < 400
    assert text.isprintable()
