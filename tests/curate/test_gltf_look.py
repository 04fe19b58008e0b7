"""What of a glTF is not geometry: opacity, cameras and lights, looks."""

from pathlib import Path
from typing import Any

import pytest

from curate.gltf_look import look_digest, opacities
from curate.gltf_parts import GltfParts
from curate.gltf_pose import GltfScene
from curate.inspect import inspect_file
from tests.curate.gltf_builder import Tiny, tiny


def parts_of(made: Tiny, path: Path) -> GltfParts:
    parts = inspect_file(made.glb(path)).parts
    assert parts is not None
    return parts


def material(alpha: float, **more: Any) -> dict[str, Any]:
    return {"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, alpha]}} | more


@pytest.mark.parametrize(
    ("row", "opacity"),
    [
        (material(0.0), 1.0),  # opaque materials have no alpha
        (material(0.0, alphaMode="BLEND"), 0.0),
        (material(0.25, alphaMode="BLEND"), 0.25),
        (material(0.4, alphaMode="MASK"), 0.0),
        (material(0.4, alphaMode="MASK", alphaCutoff=0.3), 1.0),
        ({"alphaMode": "BLEND"}, 1.0),
    ],
)
def test_the_plain_factor_says_how_opaque_a_material_is(
    row: dict[str, Any], opacity: float, tmp_path: Path
) -> None:
    made = tiny()
    made.doc["materials"] = [row]
    made.doc["meshes"][0]["primitives"][0]["material"] = 0
    parts = parts_of(made, tmp_path / "a.glb")
    assert opacities(parts.doc).tolist() == [opacity, 1.0]
    assert GltfScene(parts).still().opacity.tolist() == [opacity]


@pytest.mark.parametrize(
    ("target", "aims"),
    [
        ({"node": 0, "path": "translation"}, (1, 0)),  # the triangle
        ({"node": 1, "path": "translation"}, (0, 1)),  # what carries the camera
        ({"node": 2, "path": "translation"}, (0, 1)),  # the camera
        ({"node": 3, "path": "translation"}, (0, 1)),  # the light
        ({"node": 4, "path": "translation"}, (0, 0)),  # nothing
    ],
)
def test_tracks_are_counted_by_what_they_move(
    target: dict[str, Any], aims: tuple[int, int], tmp_path: Path
) -> None:
    made = tiny()
    made.doc["cameras"] = [{"type": "perspective", "perspective": {"yfov": 1, "znear": 0.1}}]
    made.doc["extensions"] = {"KHR_lights_punctual": {"lights": [{"type": "point"}]}}
    made.doc["extensionsUsed"] = ["KHR_lights_punctual"]
    made.doc["nodes"] += [
        {"children": [2]},
        {"camera": 0},
        {"extensions": {"KHR_lights_punctual": {"light": 0}}},
        {},
    ]
    made.doc["scenes"][0]["nodes"] = [0, 1, 3, 4]
    made.doc["animations"][0]["channels"][0]["target"] = target
    assert GltfScene(parts_of(made, tmp_path / "a.glb")).aims(0) == aims


def test_a_look_knows_colours_and_no_names(tmp_path: Path) -> None:
    def look(**row: Any) -> str:
        made = tiny()
        made.doc["materials"] = [material(1.0) | row]
        made.doc["meshes"][0]["primitives"][0]["material"] = 0
        return look_digest(parts_of(made, tmp_path / "a.glb"))

    assert look(name="skin") == look(name="fur", extras={"id": 7}) == look()
    assert look(emissiveFactor=[1, 0, 0]) != look()
