"""Put an asset into one clip at one time, and read its evaluated geometry."""

import math
import re
from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np

from render.blender.load import Asset, Binding, Clip, curves_of
from render.visible import area_growth, vertex_areas

_POSE_CHANNEL = re.compile(r'pose\.bones\["(?P<bone>(?:[^"\\]|\\.)*)"\]\.(?P<channel>\w+)$')
_IDENTITY = {
    "location": (0.0, 0.0, 0.0),
    "rotation_quaternion": (1.0, 0.0, 0.0, 0.0),
    "rotation_euler": (0.0, 0.0, 0.0),
    "scale": (1.0, 1.0, 1.0),
}


_MESHABLE = {"MESH", "CURVE", "SURFACE", "META", "FONT"}
_DRAWN = _MESHABLE | {"CURVES", "POINTCLOUD", "VOLUME"}


class Stage:
    """The opened asset with its rest pose remembered.

    Clips leak into each other: what one moves and the next does not stays where it was. So every
    value that any clip animates is read once, before anything plays, and put back before each.
    """

    def __init__(self, asset: Asset, file_format: str) -> None:
        self.asset = asset
        self._playing: int | None = None
        bindings = [binding for clip in asset.clips for binding in clip.bindings]
        # A .blend stores the pose it was saved in, a leftover of some clip; its rest pose is the
        # identity. glTF, FBX and USD files state the pose of their nodes.
        self._rest = _read_values(bindings, saved_pose_counts=file_format != "blend")
        self._owners = {binding.owner.as_pointer(): binding.owner for binding in bindings}

    def play(self, index: int) -> Clip:
        """Make clip ``index`` the only thing that moves anything."""
        clip = self.asset.clips[index]
        if self._playing == index:
            return clip
        self.rest()
        for binding in clip.bindings:
            data = binding.owner.animation_data or binding.owner.animation_data_create()
            data.action = binding.action
            if binding.slot is not None:
                data.action_slot = binding.slot
        self._playing = index
        return clip

    def rest(self) -> None:
        """Let nothing move anything, and put everything where the file has it."""
        for owner in _animated():
            owner.animation_data.action = None
            owner.animation_data.use_nla = False
        for path, owner, value in self._rest:
            _write_value(owner, path, value)
        self._playing = None

    def seek(self, index: int, time_s: float) -> None:
        """Go to a time of a clip, in seconds from its start, exact between frames.

        Clip -1 is the asset as the file states it, for files without clips.
        """
        if index < 0:
            return
        clip = self.play(index)
        frame = clip.start_frame + time_s * self.asset.fps
        nearest = round(frame)
        if abs(frame - nearest) < 1e-4:  # seconds and frames round differently; meet the key
            frame = float(nearest)
        whole = math.floor(frame)
        bpy.context.scene.frame_set(whole, subframe=frame - whole)


def _animated() -> list[Any]:
    collections = (
        bpy.data.objects, bpy.data.shape_keys, bpy.data.armatures, bpy.data.materials,
        bpy.data.meshes, bpy.data.lights, bpy.data.cameras, bpy.data.worlds,
    )  # fmt: skip
    owners = [owner for group in collections for owner in group if owner.animation_data]
    trees = [material.node_tree for material in bpy.data.materials if material.node_tree]
    return owners + [tree for tree in trees if tree.animation_data]


def _read_values(bindings: list[Binding], saved_pose_counts: bool) -> list[tuple[str, Any, Any]]:
    """Read every animated value once: (path, owner, value)."""
    values: dict[tuple[int, str], tuple[str, Any, Any]] = {}
    for binding in bindings:
        for curve in curves_of(binding.action, binding.slot):
            key = (binding.owner.as_pointer(), curve.data_path)
            if key in values:
                continue
            try:
                value: Any = binding.owner.path_resolve(curve.data_path)
            except ValueError:
                continue  # the curve points at something that the file does not have
            match = None if saved_pose_counts else _POSE_CHANNEL.fullmatch(curve.data_path)
            if match and match["channel"] in _IDENTITY:
                value = _IDENTITY[match["channel"]]
            elif hasattr(value, "__len__") and not isinstance(value, str):
                value = tuple(value)
            values[key] = (curve.data_path, binding.owner, value)
    return list(values.values())


def _write_value(owner: Any, path: str, value: Any) -> None:
    parent, _, name = path.rpartition(".")
    if path.endswith("]") and "[" in path[len(parent) :]:
        return  # a custom property: nothing that is drawn
    holder = owner.path_resolve(parent) if parent else owner
    setattr(holder, name, value)


def shown_instances() -> Iterator[tuple[str, Any, np.ndarray]]:
    """Go through what the final render draws at the current frame.

    Yields:
        The object's name, the evaluated object, its matrix to the asset's world (4x4 float64).
    """
    depsgraph = bpy.context.evaluated_depsgraph_get()
    depsgraph.update()
    for instance in depsgraph.object_instances:
        source = instance.object
        if source.type not in _DRAWN or not instance.show_self or _hidden(instance):
            continue
        yield source.name, source, np.array(instance.matrix_world, np.float64)


def mesh_of(source: Any) -> Any:
    """Return the mesh of an evaluated object, or None: hair, point clouds and volumes have none.

    The caller clears it with ``source.to_mesh_clear()``.
    """
    return source.to_mesh() if source.type in _MESHABLE else None


def read_array(items: Any, attribute: str, width: int, dtype: Any = np.float32) -> np.ndarray:
    """Read ``width`` numbers from every item of a Blender collection: (n, width)."""
    values = np.empty(len(items) * width, dtype)
    items.foreach_get(attribute, values)
    return values.reshape(-1, width)


def world_points(mesh: Any, matrix: np.ndarray) -> np.ndarray:
    """Return the vertices of a drawn mesh in the asset's world, float64 (n, 3)."""
    return read_array(mesh.vertices, "co", 3) @ matrix[:3, :3].T + matrix[:3, 3]


def geometry() -> tuple[np.ndarray, int, list[tuple[int, float]]]:
    """Read every visible evaluated vertex of the current frame.

    Returns:
        float64 (n, 3) positions in Blender's world (z up), in the order of the depsgraph's
        instances; the number of triangles; and of each drawn mesh its vertices and by how much its
        object's matrix makes areas grow.
    """
    chunks: list[np.ndarray] = []
    meshes: list[tuple[int, float]] = []
    triangles = 0
    for _, source, matrix in shown_instances():
        mesh = mesh_of(source)
        if mesh is None:
            continue
        chunks.append(world_points(mesh, matrix))
        meshes.append((len(chunks[-1]), float(area_growth(matrix[:3, :3]))))
        triangles += sum_triangles(mesh)
        source.to_mesh_clear()
    return (np.concatenate(chunks) if chunks else np.zeros((0, 3))), triangles, meshes


def areas() -> tuple[np.ndarray, list[tuple[int, float]]]:
    """Tell how much surface each visible vertex stands for, in the order of ``geometry``.

    Returns:
        float64 (n,), in its mesh's own space, and of each mesh what ``geometry`` says. A mesh
        whose vertices modifiers only move is taken before they do, so that no pose counts.
    """
    found: list[np.ndarray] = []
    meshes: list[tuple[int, float]] = []
    for _, source, matrix in shown_instances():
        mesh = mesh_of(source)
        if mesh is None:
            continue
        stored = source.original.data
        same = source.type == "MESH" and len(stored.vertices) == len(mesh.vertices)
        local = read_array((stored if same else mesh).vertices, "co", 3)
        corners = read_array(mesh.loop_triangles, "vertices", 3, np.int32)
        found.append(vertex_areas(local, corners))
        meshes.append((len(local), float(area_growth(matrix[:3, :3]))))
        source.to_mesh_clear()
    return (np.concatenate(found) if found else np.zeros(0)), meshes


def sum_triangles(mesh: Any) -> int:
    """Count the triangles of a mesh without building them: a polygon of n corners has n - 2."""
    return max(len(mesh.loops) - 2 * len(mesh.polygons), 0)


def _hidden(instance: Any) -> bool:
    """Tell whether the final render leaves an instance out."""
    original = instance.object.original
    if original.hide_render:
        return True
    if instance.is_instance:
        return bool(instance.parent and instance.parent.original.hide_render)
    # An object is drawn if at least one of its collections is.
    return not any(not collection.hide_render for collection in original.users_collection)
