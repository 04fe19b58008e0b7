"""The evaluated surface of the current frame as arrays: what coverage and image passes rest on.

Cycles sees the same evaluated meshes, so rays cast at these triangles meet what it drew.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.blender.pose import mesh_of, read_array, shown_instances, world_points

_ALPHA_SIDE_MAX_PX = 1024  # an alpha texture finer than this decides nothing at these image sizes


@dataclass(frozen=True)
class _Part:
    """What of one drawn object stays the same while only its vertices move."""

    signature: tuple[Any, ...]
    triangles: np.ndarray  # (m, 3) int32, vertices of this object
    corners: np.ndarray  # (m, 3) int32, face corners of this object
    corner_count: int
    materials: np.ndarray  # (m,) int32, into ``Recorder.materials``
    uvs: dict[str, np.ndarray]  # layer -> (corner count, 2) float32
    bones: np.ndarray  # (n,) int32


class Recorder:
    """Writes surfaces of one clip to a folder, topology only where it changes.

    ``points-<k>.npy`` (n, 3) and, if asked for, ``normals-<k>.npy`` (c, 3), float32, hold the
    vertices and the shading normals of face corners of time k, in the asset's world.
    ``topology-<k>.npz`` holds, valid from time k on: ``triangles`` and ``corners`` (m, 3),
    ``objects`` and ``materials`` (m,), ``uv`` (c, 2), the layer that a corner's cut-out texture
    uses, and ``bones`` (n,), the index into ``joints()`` of the bone with the largest weight at a
    vertex, or -1 (also if not asked).
    """

    def __init__(self, folder: str, with_joints: bool, with_normals: bool) -> None:
        """Start empty.

        Args:
            folder: to write to.
            with_joints: look up the bones of vertices; this takes a second for large meshes.
            with_normals: write shading normals.
        """
        self.with_joints, self.with_normals = with_joints, with_normals
        self.points = np.zeros((0, 3), np.float32)  # of the last time
        self._times: list[int] = []
        self._topologies: list[int] = []
        self.folder = Path(folder)
        self.materials: list[dict[str, Any]] = []
        self.objects: list[str] = []
        self._material_of: dict[int, int] = {}
        self._parts: dict[str, _Part] = {}
        self._last: list[tuple[str, tuple[Any, ...]]] = []
        self._alpha_images: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self.complete = True

    def record(self, index: int) -> None:
        """Write the surface of the current frame as time ``index``."""
        points, normals, parts, names = [], [], [], []
        for name, source, matrix in shown_instances():
            mesh = mesh_of(source)
            if mesh is None:
                self.complete = False  # hair, points, volumes: drawn, but not as triangles
                continue
            part = self._part(name, source, mesh)
            points.append(world_points(mesh, matrix))
            if self.with_normals:
                bent = read_array(mesh.corner_normals, "vector", 3)
                normals.append(bent @ _cofactors(matrix[:3, :3]).T)
            parts.append(part)
            names.append(name)
            source.to_mesh_clear()
            if source.particle_systems:
                self.complete = False
        self.points = _joined(points, np.float32)
        np.save(self.folder / f"points-{index}.npy", self.points)
        if self.with_normals:
            np.save(self.folder / f"normals-{index}.npy", _joined(normals, np.float32))
        self._times.append(index)
        here = [(name, part.signature) for name, part in zip(names, parts, strict=True)]
        if here != self._last:
            self._write_topology(index, names, parts)
            self._topologies.append(index)
            self._last = here

    def describe(self) -> dict[str, Any]:
        """Return which times there are, and what the arrays' numbers mean."""
        return {
            "times": self._times,
            "topologies": self._topologies,
            "objects": self.objects,
            "materials": self.materials,
            "complete": self.complete,
            "unreadable": sorted(self._unreadable),
        }

    def _part(self, name: str, source: Any, mesh: Any) -> _Part:
        signature = (len(mesh.vertices), len(mesh.loops), len(mesh.polygons))
        old = self._parts.get(name)
        if old is not None and old.signature == signature:
            return old
        mesh.calc_loop_triangles()
        triangles = read_array(mesh.loop_triangles, "vertices", 3, np.int32)
        corners = read_array(mesh.loop_triangles, "loops", 3, np.int32)
        slots = read_array(mesh.loop_triangles, "material_index", 1, np.int32)[:, 0]
        table = [self._material(slot.material) for slot in source.material_slots]
        table = table or [self._material(None)]
        materials = np.array(table, np.int32)[np.minimum(slots, len(table) - 1)]
        uvs = {}
        for layer in mesh.uv_layers:
            uvs[layer.name] = read_array(layer.uv, "vector", 2)
            if layer.active_render:
                uvs[""] = uvs[layer.name]
        part = _Part(
            signature, triangles, corners, len(mesh.loops), materials, uvs,
            self._bones(source, mesh),
        )  # fmt: skip
        self._parts[name] = part
        return part

    def _write_topology(self, index: int, names: list[str], parts: list[_Part]) -> None:
        triangles, corners, objects, materials, uvs, bones = [], [], [], [], [], []
        vertex, corner = 0, 0
        for name, part in zip(names, parts, strict=True):
            if name not in self.objects:
                self.objects.append(name)
            triangles.append(part.triangles + vertex)
            corners.append(part.corners + corner)
            objects.append(np.full(len(part.triangles), self.objects.index(name), np.int32))
            materials.append(part.materials)
            uvs.append(self._cut_out_uv(part))
            bones.append(part.bones)
            vertex += part.signature[0]
            corner += part.corner_count
        np.savez(
            self.folder / f"topology-{index}.npz",
            triangles=_joined(triangles, np.int32),
            corners=_joined(corners, np.int32),
            objects=np.concatenate([*objects, np.zeros(0, np.int32)]),
            materials=np.concatenate([*materials, np.zeros(0, np.int32)]),
            uv=np.concatenate([*uvs, np.zeros((0, 2), np.float32)]),
            bones=np.concatenate([*bones, np.zeros(0, np.int32)]),
        )

    def _cut_out_uv(self, part: _Part) -> np.ndarray:
        uv = np.zeros((part.corner_count, 2), np.float32)
        for material in np.unique(part.materials):
            layer = part.uvs.get(self.materials[material]["uv_layer"], part.uvs.get(""))
            if layer is not None:
                corners = part.corners[part.materials == material]
                uv[corners] = layer[corners]
        return uv

    def _bones(self, source: Any, mesh: Any) -> np.ndarray:
        """Find the bone that moves each vertex most."""
        found = np.full(len(mesh.vertices), -1, np.int32)
        rig = next((m.object for m in source.modifiers if m.type == "ARMATURE" and m.object), None)
        if not self.with_joints or rig is None:
            return found
        order = joint_order()
        group_bone = [order.get((rig.name, group.name), -1) for group in source.vertex_groups]
        for index, vertex in enumerate(mesh.vertices):
            weights = [(g.weight, group_bone[g.group]) for g in vertex.groups]
            weight, bone = max(weights, default=(0.0, -1))
            if weight > 0:
                found[index] = bone
        return found

    def _material(self, material: Any) -> int:
        key = material.as_pointer() if material is not None else 0
        if key not in self._material_of:
            self._material_of[key] = len(self.materials)
            self.materials.append(self._opacity(material))
            self._unreadable.update(_unreadable_textures(material))
        return self._material_of[key]

    def _opacity(self, material: Any) -> dict[str, Any]:
        """Tell how a material lets the background through.

        ``kind`` is ``opaque``; ``alpha`` (a number times, maybe, a texture's alpha or colour,
        that can be looked up); or ``unknown`` (other node set-ups).
        """
        name = material.name if material is not None else ""
        solid = {"name": name, "kind": "opaque", "alpha": 1.0, "image": "", "uv_layer": ""}
        if material is None or not material.use_nodes or material.node_tree is None:
            return solid
        nodes = material.node_tree.nodes
        clear = [node for node in nodes if node.type in {"BSDF_TRANSPARENT", "HOLDOUT"}]
        if not all(map(_beyond_the_camera, clear)) or not _groups_are_notes(nodes):
            return solid | {"kind": "unknown"}
        shaders = [node for node in nodes if node.type == "BSDF_PRINCIPLED"]
        if len(shaders) != 1:
            return solid | {"kind": "unknown" if shaders else "opaque"}
        socket = shaders[0].inputs["Alpha"]
        if not socket.is_linked:
            value = float(socket.default_value)
            return solid if value >= 1 else solid | {"kind": "alpha", "alpha": value}
        node = _image_behind(socket)
        if node is None:
            return solid | {"kind": "unknown"}
        return solid | {
            "kind": "alpha",
            "image": self._save_alpha(node.image),
            "uv_layer": _uv_layer(node),
        }

    def _save_alpha(self, image: Any) -> str:
        """Write an image's alpha as uint8 rows from the bottom up; return the file's name."""
        if image.name not in self._alpha_images:
            width, height = image.size
            pixels = np.empty(width * height * 4, np.float32)
            image.pixels.foreach_get(pixels)
            step = max(-(-max(width, height) // _ALPHA_SIDE_MAX_PX), 1)
            alpha = pixels.reshape(height, width, 4)[::step, ::step, 3]
            file = f"alpha-{len(self._alpha_images)}.npy"
            np.save(self.folder / file, np.round(alpha * 255).astype(np.uint8))
            self._alpha_images[image.name] = file
        return self._alpha_images[image.name]


def _unreadable_textures(material: Any) -> list[str]:
    """Name the textures of a material that have no pixels: Blender paints magenta for them."""
    if material is None or not material.use_nodes or material.node_tree is None:
        return []
    used = [
        node
        for node in material.node_tree.nodes
        if node.type == "TEX_IMAGE" and any(output.is_linked for output in node.outputs)
    ]
    return [
        f"{material.name}/{node.image.name if node.image else '(none)'}"
        for node in used
        if node.image is None or (node.image.source != "TILED" and not all(node.image.size))
    ]


def _beyond_the_camera(node: Any) -> bool:
    """Tell whether a clear shader only answers rays that do not come from the camera.

    So the glTF importer keeps unlit materials from lighting others.
    """
    for link in node.outputs[0].links:
        mix = link.to_node
        if mix.type != "MIX_SHADER" or link.to_socket != mix.inputs[1]:
            return False
        factors = [entry.from_socket.name for entry in mix.inputs[0].links]
        if factors != ["Is Camera Ray"]:
            return False
    return True


def _groups_are_notes(nodes: Any) -> bool:
    """Tell whether the only node groups are the glTF importer's notes, linked to nothing drawn."""
    groups = [node for node in nodes if node.type == "GROUP"]
    return all(not any(output.is_linked for output in node.outputs) for node in groups)


def _image_behind(socket: Any) -> Any:
    """Follow a socket back through arithmetic to the one image whose alpha feeds it, or None."""
    found = []
    pending = [link.from_node for link in socket.links]
    alphas = [link.from_socket.name for link in socket.links]
    while pending:
        node = pending.pop()
        if node.type == "TEX_IMAGE" and node.image is not None:
            found.append(node)
        elif node.type in {"MATH", "CLAMP", "MIX"}:
            links = [link for entry in node.inputs for link in entry.links]
            pending += [link.from_node for link in links]
            alphas += [link.from_socket.name for link in links]
        else:
            return None
    images = [name for name in alphas if name in {"Alpha", "Color"}]
    if len(found) != 1 or images != ["Alpha"]:
        return None
    return found[0]


def _uv_layer(node: Any) -> str:
    """Name the UV layer that an image node reads; "" is the one active for rendering."""
    for link in node.inputs["Vector"].links:
        if link.from_node.type == "UVMAP":
            return link.from_node.uv_map
    return ""


def _cofactors(linear: np.ndarray) -> np.ndarray:
    """Return the matrix that carries normals: inverse transpose times determinant.

    It exists for flattened objects too; its sign flips with mirrored ones, so that is undone.
    """
    a, b, c = linear.T
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    return cofactors if np.linalg.det(linear) >= 0 else -cofactors


def _joined(chunks: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([*chunks, np.zeros((0, 3))]).astype(dtype)


def _rigs() -> list[Any]:
    shown = bpy.context.view_layer.objects
    rigs = [obj for obj in bpy.data.objects if obj.type == "ARMATURE" and obj.name in shown]
    return sorted(rigs, key=lambda rig: rig.name)


def joint_order() -> dict[tuple[str, str], int]:
    """Number the bones of all rigs: (rig, bone) -> index."""
    pairs = [(rig.name, bone.name) for rig in _rigs() for bone in rig.pose.bones]
    return {pair: index for index, pair in enumerate(pairs)}


def joints() -> dict[str, Any]:
    """Return the bones of every rig at the current frame, in the asset's world.

    Returns:
        ``names``, ``parents`` (index or -1), and ``positions``, the bones' heads (j, 3).
    """
    order = joint_order()
    rigs = _rigs()
    names = [bone if len(rigs) == 1 else f"{rig}/{bone}" for rig, bone in order]
    parents: list[int] = []
    positions: list[list[float]] = []
    depsgraph = bpy.context.evaluated_depsgraph_get()
    for rig in rigs:
        posed = rig.evaluated_get(depsgraph)
        for bone in posed.pose.bones:
            parents.append(order[rig.name, bone.parent.name] if bone.parent else -1)
            positions.append(list(posed.matrix_world @ bone.head))
    return {"names": names, "parents": parents, "positions": positions}
