"""The asset at rest, for those who judge it: triangles, what can be seen of them, what they show.

Also which of a clip's tracks move anything visible.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.blender.load import curves_of
from render.blender.pose import mesh_of, read_array, shown_instances, world_points

_STEPS = 4096  # of a texture coordinate: sums of whole numbers know no order
_LENSES = {"CAMERA", "LIGHT", "LIGHT_PROBE", "SPEAKER"}


@dataclass(frozen=True)
class Still:
    """Every visible triangle, world axes (z up).

    Attributes:
        points: (n, 3) float64.
        triangles: (m, 3) int32.
        opacity: (m,) 0 to 1; a texture's alpha is not looked at.
        look: hash of materials, images and where they lie on the triangles.
        complete: false where hair, points or volumes are drawn beside the triangles.
    """

    points: np.ndarray
    triangles: np.ndarray
    opacity: np.ndarray
    look: str
    complete: bool


def read_still() -> Still:
    """Read the current frame."""
    points, triangles, opacity = [np.zeros((0, 3))], [np.zeros((0, 3), np.int32)], [np.zeros(0)]
    looks: list[str] = []
    before, complete = 0, True
    for _, source, matrix in shown_instances():
        mesh = mesh_of(source)
        if mesh is None:
            complete = False
            continue
        points.append(world_points(mesh, matrix))
        mesh.calc_loop_triangles()
        triangles.append(read_array(mesh.loop_triangles, "vertices", 3, np.int32) + before)
        slots = read_array(mesh.loop_triangles, "material_index", 1, np.int32)[:, 0]
        before += len(mesh.vertices)
        materials = [slot.material for slot in source.material_slots] or [None]
        slots = np.minimum(slots, len(materials) - 1)
        opacity.append(np.array([_opacity(material) for material in materials])[slots])
        looks += [
            json.dumps([_described(materials[slot]), int((slots == slot).sum()), _uv_sums(mesh)])
            for slot in np.unique(slots)
        ]
        complete = complete and not source.particle_systems
        source.to_mesh_clear()
    digest = hashlib.sha256("\n".join(sorted(looks)).encode()).hexdigest()[:32]
    return Still(
        np.concatenate(points), np.concatenate(triangles), np.concatenate(opacity),
        f"blender:{digest}", complete,
    )  # fmt: skip


def aims(bindings: Any) -> list[int]:
    """Count the properties that a clip moves: those of what is seen, and of cameras and lights.

    What holds nothing, or only cameras and lights, moves nothing that is seen.
    """
    visible = lenses = 0
    for binding in bindings:
        count = len({curve.data_path for curve in curves_of(binding.action, binding.slot)})
        kinds = _kinds(binding.owner)
        if kinds - _LENSES - {"EMPTY"}:
            visible += count
        elif kinds & _LENSES:
            lenses += count
    return [visible, lenses]


def _kinds(owner: Any) -> set[str]:
    """Name the kinds of objects that a data-block moves; all but objects count as their own."""
    if not isinstance(owner, bpy.types.Object):
        return {owner.id_type}
    return {owner.type, *(child.type for child in owner.children_recursive)}


def _shader(material: Any) -> Any:
    """Return the one principled shader of a material, or None."""
    tree = material.node_tree if material is not None and material.use_nodes else None
    found = [node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"] if tree else []
    return found[0] if len(found) == 1 else None


def _opacity(material: Any) -> float:
    shader = _shader(material)
    if shader is None or shader.inputs["Alpha"].is_linked:
        return 1.0
    tree = material.node_tree
    if tree.animation_data is not None:
        return 1.0  # a clip may change it
    return min(max(float(shader.inputs["Alpha"].default_value), 0.0), 1.0)


def _described(material: Any) -> Any:
    """Describe a material by the plain values of its shader and the content of its images."""
    if material is None:
        return None
    tree = material.node_tree if material.use_nodes else None
    if tree is None:
        return [round(value, 4) for value in material.diffuse_color]
    values = []
    for node in tree.nodes:
        for socket in node.inputs:
            value = getattr(socket, "default_value", None)
            if isinstance(value, int | float):
                values.append([node.type, socket.name, round(float(value), 4)])
            elif value is not None and hasattr(value, "__len__") and not isinstance(value, str):
                values.append([node.type, socket.name, *(round(float(v), 4) for v in value)])
        image = getattr(node, "image", None)
        if image is not None:
            values.append([node.type, "image", _content(image)])
    return sorted(values, key=json.dumps)


def _content(image: Any) -> str:
    if image.packed_file is not None:
        return hashlib.sha256(image.packed_file.data).hexdigest()
    path = Path(bpy.path.abspath(image.filepath, library=image.library)) if image.filepath else None
    if path is None or not path.is_file():
        return f"{image.source} {image.size[0]}x{image.size[1]}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _uv_sums(mesh: Any) -> list[list[int]]:
    sums = []
    for layer in mesh.uv_layers:
        values = read_array(layer.uv, "vector", 2)
        values = np.where(np.isfinite(values), values, 0).astype(np.float64)
        whole = np.round(np.clip(values, -1e6, 1e6) * _STEPS)
        sums.append(whole.sum(axis=0).astype(np.int64).tolist())
    return sums
