"""Small glTF files that hold what importers get wrong, each with one kind of trouble."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curate.rotations import compose
from tests.curate.gltf_builder import Tiny

Make = Callable[[Tiny, np.random.Generator], None]
ZOO: dict[str, Make] = {}
_LAST_S = 1.7


def beast(make: Make) -> Make:
    """List a maker under its name."""
    ZOO[make.__name__] = make
    return make


def build(name: str, folder: Path) -> Path:
    """Write one file of the zoo as GLB."""
    made = Tiny()
    ZOO[name](made, np.random.default_rng(len(name)))
    return made.glb(folder / f"{name}.glb")


def _mesh(made: Tiny, draw: np.random.Generator, **more: Any) -> int:
    """Append a mesh of 4 triangles between 9 vertices, of which two are not used."""
    row = {
        "attributes": {"POSITION": made.accessor(draw.normal(size=(9, 3)))},
        "indices": made.accessor([0, 1, 2, 2, 3, 8, 5, 6, 8, 1, 0, 6], "u2"),
    }
    attributes = more.pop("attributes", {})
    row["attributes"] |= attributes
    made.doc.setdefault("meshes", []).append({"primitives": [row | more]})
    return len(made.doc["meshes"]) - 1


def _rotations(draw: np.random.Generator, count: int) -> np.ndarray:
    values = draw.normal(size=(count, 4))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _pose(draw: np.random.Generator) -> dict[str, Any]:
    return {
        "translation": draw.normal(size=3).tolist(),
        "rotation": _rotations(draw, 1)[0].tolist(),
        "scale": draw.uniform(0.5, 2, 3).tolist(),
    }


def _animate(
    made: Tiny, draw: np.random.Generator, targets: list[tuple[int, str]], **sampler: Any
) -> dict[str, Any]:
    """Append a clip that moves the properties at random, 6 keys each."""
    triple = 3 if sampler.get("interpolation") == "CUBICSPLINE" else 1
    times = np.sort(draw.uniform(0.2, _LAST_S, 6))
    times[-1] = _LAST_S
    row: dict[str, Any] = {"samplers": [], "channels": []}
    for node, path in targets:
        count = 6 * triple
        if path == "rotation":
            values = _rotations(draw, count)
        else:
            values = draw.uniform(0.4, 2.0, (count, 3))
        row["samplers"].append(
            {"input": made.accessor(times), "output": made.accessor(values)} | sampler
        )
        target = {"node": node, "path": path}
        row["channels"].append({"sampler": len(row["samplers"]) - 1, "target": target})
    made.doc.setdefault("animations", []).append(row)
    return row


def _scene(made: Tiny, roots: list[int], nodes: list[dict[str, Any]]) -> None:
    made.doc |= {"scene": 0, "scenes": [{"nodes": roots}], "nodes": nodes}


_ALL = ("translation", "rotation", "scale")


@beast
def lines(made: Tiny, draw: np.random.Generator) -> None:
    child = _pose(draw) | {"mesh": _mesh(made, draw)}
    _scene(made, [0], [{"children": [1]} | _pose(draw), child])
    _animate(made, draw, [(0, path) for path in _ALL] + [(1, "rotation")])
    _animate(made, draw, [(1, "translation")])


@beast
def steps(made: Tiny, draw: np.random.Generator) -> None:
    _scene(made, [0], [{"mesh": _mesh(made, draw)}])
    _animate(made, draw, [(0, path) for path in _ALL], interpolation="STEP")


@beast
def splines(made: Tiny, draw: np.random.Generator) -> None:
    _scene(made, [0], [{"mesh": _mesh(made, draw)}])
    _animate(made, draw, [(0, path) for path in _ALL], interpolation="CUBICSPLINE")


@beast
def one_key(made: Tiny, draw: np.random.Generator) -> None:
    _scene(made, [0], [{"mesh": _mesh(made, draw)} | _pose(draw)])
    made.clip([0.5], [[1, 2, 3]])


@beast
def keys_before_the_start(made: Tiny, draw: np.random.Generator) -> None:
    _scene(made, [0], [{"mesh": _mesh(made, draw)}])
    made.clip([-2.0, -0.5], draw.normal(size=(2, 3)))
    made.clip([-1.0, 0.5, 1.0], draw.normal(size=(3, 3)))


@beast
def twice_the_same_time(made: Tiny, draw: np.random.Generator) -> None:
    _scene(made, [0], [{"mesh": _mesh(made, draw)}])
    made.clip([0.1, 0.6, 0.6, 1.1], [[0, 0, 0], [1, 0, 0], [0, 5, 0], [0, 5, 5]])
    times = np.array([2.0, 5.0, 5.002, 5.005, 8.997, 9.0, 9.02]) / 24
    made.clip(times, draw.normal(size=(7, 3)), "scale")
    made.clip(times, draw.normal(size=(21, 3)), "scale", interpolation="CUBICSPLINE")


@beast
def rotations_of_any_length(made: Tiny, draw: np.random.Generator) -> None:
    rest = {"rotation": [0.0, 0.0, 0.0, 0.0]}
    _scene(made, [0], [{"children": [1]} | rest, {"mesh": _mesh(made, draw)}])
    made.clip([0.0, 1.0, 2.0], [[0, 0, 0, 3], [0.5, 0, 0, 0.1], [0, 0, -1, 0.1]], "rotation")
    made.doc["animations"][0]["channels"][0]["target"]["node"] = 1


@beast
def matrices(made: Tiny, draw: np.random.Generator) -> None:
    sheared = np.eye(4)
    sheared[:3] = draw.normal(size=(3, 4))
    mirrored = np.diag([-1.0, 2.0, 3.0, 1.0])
    nodes = [
        {"children": [1, 2], "translation": [1, 2, 3]},
        {"matrix": sheared.T.ravel().tolist(), "mesh": _mesh(made, draw)},
        {"matrix": mirrored.ravel().tolist(), "children": [3]},
        {"mesh": 0, "scale": [1, -2, 0.5]},
    ]
    _scene(made, [0], nodes)
    _animate(made, draw, [(0, "rotation"), (3, "rotation")])


@beast
def shapes_of_primitives(made: Tiny, draw: np.random.Generator) -> None:
    for mode in (0, 1, 2, 3, 5, 6):
        indices = made.accessor([7, 1, 5, 3, 4, 8], "u1")
        _mesh(made, draw, mode=mode, indices=indices)
    del made.doc["meshes"][0]["primitives"][0]["indices"]
    nodes = [{"mesh": i, "translation": [3 * i, 0, 0]} for i in range(6)]
    _scene(made, list(range(6)), nodes)
    _animate(made, draw, [(2, "rotation"), (4, "scale")])


@beast
def scenes(made: Tiny, draw: np.random.Generator) -> None:
    nodes = [{"mesh": _mesh(made, draw)} for _ in range(3)]
    _scene(made, [0], nodes)
    made.doc["scenes"].append({"nodes": [1]})
    made.doc["scene"] = 1
    _animate(made, draw, [(1, "translation")])


@beast
def no_default_scene(made: Tiny, draw: np.random.Generator) -> None:
    nodes = [{"mesh": _mesh(made, draw)} for _ in range(3)]
    _scene(made, [0], nodes)
    made.doc["scenes"].append({"nodes": [1]})
    del made.doc["scene"]
    _animate(made, draw, [(1, "translation"), (2, "scale")])


@beast
def hulls(made: Tiny, draw: np.random.Generator) -> None:
    nodes = [
        {"mesh": _mesh(made, draw), "name": name}
        for name in ("Door", "UCX_Door", "door_collider.001", "Collision", "hitboxer")
    ]
    made.doc["meshes"][3]["name"] = "plain"
    _scene(made, list(range(5)), nodes)
    _animate(made, draw, [(0, "rotation"), (1, "rotation")])


@beast
def instances(made: Tiny, draw: np.random.Generator) -> None:
    turned = np.round(_rotations(draw, 4) * 32767)
    attributes = {
        "TRANSLATION": made.accessor(draw.normal(size=(4, 3))),
        "ROTATION": made.accessor(turned, "i2", normalized=True),
    }
    extension = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    nodes = [
        {"mesh": _mesh(made, draw), "extensions": extension, "children": [1]} | _pose(draw),
        {"mesh": 0},
    ]
    _scene(made, [0], nodes)
    made.doc["extensionsUsed"] = made.doc["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    _animate(made, draw, [(0, "scale")])


def _morphs(made: Tiny, draw: np.random.Generator) -> None:
    sparse = made.accessor(np.zeros((9, 3)))
    made.doc["accessors"][sparse] |= {
        "sparse": {
            "count": 2,
            "indices": {
                "bufferView": made.view(np.array([1, 5], "<u2").tobytes()),
                "componentType": 5123,
            },
            "values": {"bufferView": made.view(draw.normal(size=(2, 3)).astype("<f4").tobytes())},
        }
    }
    del made.doc["accessors"][sparse]["bufferView"]
    small = made.accessor(draw.integers(-127, 127, (9, 3)), "i1", normalized=True)
    targets = [
        {"POSITION": made.accessor(draw.normal(size=(9, 3)))},
        {"NORMAL": made.accessor(draw.normal(size=(9, 3)))},
        {"POSITION": sparse},
        {"POSITION": small},
    ]
    mesh = _mesh(made, draw, targets=targets)
    made.doc["meshes"][mesh]["weights"] = [0.3, 0.1, -0.2, 1.5]
    plain = {"attributes": {"POSITION": made.accessor(draw.normal(size=(3, 3)))}}
    made.doc["meshes"][mesh]["primitives"].append(plain)


def _weigh(made: Tiny, draw: np.random.Generator, **sampler: Any) -> dict[str, Any]:
    """Append a clip of the morph weights of node 0, some of them beyond 0 to 1."""
    count = 5 * 4 * (3 if sampler.get("interpolation") == "CUBICSPLINE" else 1)
    times = made.accessor([0.1, 0.4, 0.8, 1.2, 1.7])
    values = made.accessor(draw.uniform(-1, 3, count))
    row = {
        "samplers": [{"input": times, "output": values} | sampler],
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
    }
    made.doc.setdefault("animations", []).append(row)
    return row


@beast
def morphs(made: Tiny, draw: np.random.Generator) -> None:
    _morphs(made, draw)
    own = {"mesh": 0, "weights": [0.0, 0.0, 1.0, 0.5], "translation": [5, 0, 0]}
    _scene(made, [0, 1, 2], [{"mesh": 0}, own, {"mesh": 0, "translation": [0, 9, 0]}])
    _weigh(made, draw)
    _weigh(made, draw, interpolation="STEP")
    _animate(made, draw, [(1, "translation")])


@beast
def morph_splines(made: Tiny, draw: np.random.Generator) -> None:
    _morphs(made, draw)
    _scene(made, [0], [{"mesh": 0}])
    _weigh(made, draw, interpolation="CUBICSPLINE")


@beast
def pointers(made: Tiny, draw: np.random.Generator) -> None:
    _morphs(made, draw)
    _scene(made, [0], [{"mesh": 0, "children": [1]}, {"mesh": _mesh(made, draw)}])
    weights = _weigh(made, draw)
    moved = _animate(made, draw, [(1, "translation"), (1, "rotation"), (1, "translation")])
    for row, path in ((weights, "/nodes/0/weights"), (moved, "/nodes/1/translation")):
        row["channels"][0]["target"] = {
            "path": "pointer", "extensions": {"KHR_animation_pointer": {"pointer": path}},
        }  # fmt: skip
    made.doc["extensionsUsed"] = ["KHR_animation_pointer"]


@beast
def pointer_at_a_nameless_material(made: Tiny, draw: np.random.Generator) -> None:
    made.doc["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1]}}]
    _scene(made, [0], [{"mesh": _mesh(made, draw, material=0)}])
    _animate(made, draw, [(0, "translation")])
    colours = _animate(made, draw, [(0, "rotation")])
    colours["channels"][0]["target"] = {
        "path": "pointer", "extensions": {"KHR_animation_pointer": {
            "pointer": "/materials/0/pbrMetallicRoughness/baseColorFactor"}},
    }  # fmt: skip
    made.doc["extensionsUsed"] = ["KHR_animation_pointer"]


@beast
def quantised_skin(made: Tiny, draw: np.random.Generator) -> None:
    """As gltfpack writes it: what scales whole numbers down stands in the inverse binds."""
    stored = np.diag([1e-6, 1e-6, 1e-6, 1.0])
    stored[:3, 3] = [0.1, -0.2, 0.3]
    joints = made.accessor(draw.integers(0, 3, (9, 4)), "u1")
    moved = draw.integers(-9000, 9000, (9, 3))
    attributes = {
        "POSITION": made.accessor(draw.integers(-16000, 16000, (9, 3)), "i2"),
        "NORMAL": made.accessor(draw.integers(-127, 127, (9, 3)), "i1", normalized=True),
        "JOINTS_0": joints, "WEIGHTS_0": made.accessor(_weights(draw)),
    }  # fmt: skip
    targets = [{"POSITION": made.accessor(moved, "i2")}]
    made.doc["meshes"] = [{"primitives": [{"attributes": attributes, "targets": targets}]}]
    nodes = [pose | {"scale": [1, 1, 1]} for pose in _chain(draw)]
    nodes[0] |= {"scale": [100, 100, 100], "translation": [0, 0, 0]}
    world, binds = np.eye(4), []
    for node in nodes:
        node["translation"] = (0.001 * np.array(node["translation"])).tolist()
        own = [np.array(node[key], float) for key in _ALL]
        world = world @ compose(*own)
        binds.append(np.linalg.inv(world) @ stored)
    matrices = np.stack(binds[1:]).swapaxes(1, 2).reshape(3, 16)
    made.doc["skins"] = [{"joints": [1, 2, 3], "inverseBindMatrices": made.accessor(matrices)}]
    _scene(made, [0, 4], [*nodes, {"mesh": 0, "skin": 0}])
    made.doc["extensionsUsed"] = made.doc["extensionsRequired"] = ["KHR_mesh_quantization"]
    _animate(made, draw, [(1, "rotation"), (2, "rotation"), (3, "rotation")])
    weights = made.accessor([0.0, 1.0])
    times = made.accessor([0.0, 1.5])
    made.doc["animations"].append({
        "samplers": [{"input": times, "output": weights}],
        "channels": [{"sampler": 0, "target": {"node": 4, "path": "weights"}}],
    })  # fmt: skip


@beast
def nested_armatures(made: Tiny, draw: np.random.Generator) -> None:
    """The bones of one skin hang on those of another, with a node between."""
    for _ in range(2):
        joints = made.accessor(draw.integers(0, 2, (9, 4)), "u1")
        weights = made.accessor(_weights(draw))
        _mesh(made, draw, attributes={"JOINTS_0": joints, "WEIGHTS_0": weights})
    made.doc["skins"] = [{"joints": [1, 2]}, {"joints": [4, 5], "skeleton": 4}]
    chain = [_pose(draw) | {"children": [i + 1]} for i in range(5)]
    nodes = [*chain, _pose(draw), {"mesh": 0, "skin": 0}, {"mesh": 1, "skin": 1}]
    _scene(made, [0, 6, 7], nodes)
    _animate(made, draw, [(1, "rotation"), (3, "translation"), (4, "rotation"), (5, "scale")])


@beast
def same_property_twice(made: Tiny, draw: np.random.Generator) -> None:
    _scene(made, [0], [{"mesh": _mesh(made, draw)}])
    _animate(made, draw, [(0, "scale"), (0, "translation"), (0, "translation")])


def _weights(draw: np.random.Generator) -> np.ndarray:
    weights = draw.uniform(0, 1, (9, 4)) * (draw.uniform(size=(9, 4)) < 0.7)
    weights[3] = 0.0
    weights[:, 0] += 0.2
    return weights / weights.sum(axis=1, keepdims=True)


def _rig(made: Tiny, draw: np.random.Generator, **more: Any) -> None:
    """Append a skin over nodes 1, 2, 3 (a chain), and its mesh with index 0."""
    attributes = {
        "JOINTS_0": made.accessor(draw.integers(0, 3, (9, 4)), "u1"),
        "WEIGHTS_0": made.accessor(_weights(draw)),
    }
    _mesh(made, draw, attributes=attributes)
    made.doc["skins"] = [{"joints": [1, 2, 3]} | more]


def _binds(made: Tiny, draw: np.random.Generator, rigid: bool) -> dict[str, int]:
    matrices = np.tile(np.eye(4), (3, 1, 1))
    if rigid:
        matrices[:, :3, :3] = [np.linalg.qr(m)[0] for m in draw.normal(size=(3, 3, 3))]
        matrices[:, :3, :3] *= np.sign(np.linalg.det(matrices[:, :3, :3]))[:, None, None]
    else:
        matrices[:, :3, :3] = draw.normal(size=(3, 3, 3))
    matrices[:, :3, 3] = draw.normal(size=(3, 3))
    return {"inverseBindMatrices": made.accessor(matrices.swapaxes(1, 2).reshape(3, 16))}


def _chain(draw: np.random.Generator) -> list[dict[str, Any]]:
    armature = _pose(draw) | {"children": [1], "scale": [0.1, 0.1, 0.1]}
    bones = [_pose(draw) | {"children": [2]}, _pose(draw) | {"children": [3]}, _pose(draw)]
    return [armature, *bones]


_BONES = [(1, "rotation"), (2, "rotation"), (2, "translation"), (3, "scale")]


@beast
def skin(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, **_binds(made, draw, rigid=True))
    _scene(made, [0, 4], [*_chain(draw), {"mesh": 0, "skin": 0} | _pose(draw)])
    _animate(made, draw, _BONES)
    _animate(made, draw, [(0, "translation")])


@beast
def skin_bound_askew(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, **_binds(made, draw, rigid=False), skeleton=1)
    _scene(made, [0, 4], [*_chain(draw), {"mesh": 0, "skin": 0} | _pose(draw)])
    _animate(made, draw, _BONES, interpolation="CUBICSPLINE")


@beast
def skin_without_binds(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, skeleton=0)
    nodes = _chain(draw)
    nodes[0]["children"].append(4)
    _scene(made, [0], [*nodes, {"mesh": 0, "skin": 0, "children": [5]}, {"mesh": 0}])
    _animate(made, draw, [*_BONES, (4, "translation"), (5, "rotation")])


@beast
def joints_at_the_root(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, **_binds(made, draw, rigid=True))
    nodes = [{"mesh": 0, "skin": 0}, _pose(draw), _pose(draw), _pose(draw)]
    _scene(made, [0, 1, 2, 3], nodes)
    _animate(made, draw, _BONES)


@beast
def odd_weights(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, **_binds(made, draw, rigid=True))
    weights = draw.uniform(-0.3, 1.4, (9, 4)) * (draw.uniform(size=(9, 4)) < 0.5)
    weights[:3] = [[0, 0, 0, 0], [0, 0, 0.00003, 0], [0.4, 0.3, 0.2, 0.1]]
    weights[8] = np.nan
    attributes = made.doc["meshes"][0]["primitives"][0]["attributes"]
    attributes["WEIGHTS_0"] = made.accessor(weights)
    attributes["JOINTS_1"] = made.accessor(draw.integers(0, 3, (9, 4)), "u2")
    attributes["WEIGHTS_1"] = made.accessor(
        draw.integers(0, 2**16, (9, 4)) * (weights > 0.2), "u2", normalized=True
    )
    _scene(made, [0, 4], [*_chain(draw), {"mesh": 0, "skin": 0}])
    _animate(made, draw, _BONES)


@beast
def things_on_bones(made: Tiny, draw: np.random.Generator) -> None:
    """A lamp, a camera and meshes below bones of a scaled armature, a bone that is a mesh."""
    _rig(made, draw, **_binds(made, draw, rigid=True))
    nodes = _chain(draw)
    nodes[2] |= {"mesh": 1, "children": [3, 5]}
    nodes[3] |= {"children": [6], "camera": 0}
    made.doc["cameras"] = [{"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1}}]
    _mesh(made, draw)
    nodes += [
        {"mesh": 0, "skin": 0},
        _pose(draw) | {"mesh": 1, "children": [7]},
        _pose(draw) | {"mesh": 1},
        _pose(draw) | {"mesh": 1, "camera": 0},
    ]
    _scene(made, [0, 4], nodes)
    _animate(made, draw, [*_BONES, (5, "translation"), (6, "rotation"), (7, "translation")])


@beast
def morphs_on_a_skin(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, **_binds(made, draw, rigid=False))
    targets = [{"POSITION": made.accessor(draw.normal(size=(9, 3)))} for _ in range(4)]
    made.doc["meshes"][0]["primitives"][0]["targets"] = targets
    _scene(made, [4, 0], [*_chain(draw), {"mesh": 0, "skin": 0}])
    clip = _weigh(made, draw)
    clip["channels"][0]["target"]["node"] = 4
    _animate(made, draw, _BONES)


@beast
def two_skins_over_one_chain(made: Tiny, draw: np.random.Generator) -> None:
    _rig(made, draw, **_binds(made, draw, rigid=True))
    made.doc["skins"].append({"joints": [3, 2]})
    joints = made.accessor(draw.integers(0, 2, (9, 4)), "u1")
    weights = made.accessor(_weights(draw))
    _mesh(made, draw, attributes={"JOINTS_0": joints, "WEIGHTS_0": weights})
    nodes = [*_chain(draw), {"mesh": 0, "skin": 0}, {"mesh": 1, "skin": 1}, {"mesh": 1}]
    _scene(made, [0, 4, 5, 6], nodes)
    _animate(made, draw, _BONES)


@beast
def quantised(made: Tiny, draw: np.random.Generator) -> None:
    positions = made.accessor(draw.integers(-3000, 3000, (9, 3)), "i2")
    made.doc["meshes"] = [{"primitives": [{"attributes": {"POSITION": positions}}]}]
    _scene(made, [0], [{"mesh": 0, "scale": [0.001, 0.001, 0.001]}])
    made.doc["extensionsUsed"] = made.doc["extensionsRequired"] = ["KHR_mesh_quantization"]
    turned = made.accessor(np.round(_rotations(draw, 5) * 127), "i1", normalized=True)
    made.doc["animations"] = [
        {
            "samplers": [{"input": made.accessor(np.arange(5) / 3), "output": turned}],
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
        }
    ]
