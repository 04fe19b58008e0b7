"""A finished model as Blender data: meshes, one material, an armature, one action per clip."""

from pathlib import Path
from typing import Any

import bpy as blender
import numpy as np

from render.blender.samples.atlas import pack, painted, png
from render.blender.samples.model import Clip, Model, Node, Track
from render.blender.samples.solid import Solid, solid, weights
from render.blender.samples.surface import Array

bpy: Any = blender  # Blender comes without type stubs

_SHARP_DEG = 42.0
_CONSTANT, _LINEAR = 0, 1  # Keyframe.interpolation as numbers
_PATHS = {"turn": "rotation_quaternion", "move": "location", "grow": "scale"}
_UPRIGHT = np.array([1.0, 0, 0, 0])  # the rotation by nothing, w x y z
RIG = "rig"


class Stage:
    """Blender's scene while one model is built in it."""

    def __init__(self, model: Model) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.model = model
        self.scene = bpy.context.scene
        self.scene.render.fps = model.fps
        self.objects: dict[str, Any] = {}
        self.bones = {bone.name for bone in model.bones}

    def build(self) -> None:
        """Make everything: objects, skeleton, then clips."""
        slots, width, height = pack(self.model)
        size = (width, height)
        material = None
        if slots:
            picture = painted(slots, size, self.model.rng)
            material = _material(self.model, png(picture))
        if self.model.bones:
            self.objects[RIG] = self._armature()
        taken = 0
        for node in self.model.nodes:
            count = sum(len(part.charts) for part in node.parts)
            mesh = None
            if node.parts:
                mesh = solid(node.parts, slots[taken : taken + count], size)
            taken += count
            self._object(node, mesh, material)
        for clip in self.model.clips:
            self._action(clip)
        self.scene.frame_set(0)

    def _object(self, node: Node, mesh: Solid | None, material: Any) -> None:
        data = None
        if mesh is not None:
            data = _mesh(node.name, mesh, material)
        thing = bpy.data.objects.new(node.name, data)
        self.scene.collection.objects.link(thing)
        self.objects[node.name] = thing
        thing.rotation_mode = "QUATERNION"
        if node.skinned and mesh is not None:
            self._skin(thing, node, mesh)
            return
        if node.parent:
            parent = self.objects[node.parent]
            thing.parent = parent
        thing.location = node.at
        thing.rotation_quaternion = _quaternions(np.array([node.turn]), _UPRIGHT)[0]
        thing.scale = (node.scale,) * 3
        if mesh is not None and node.shapes:
            _shape_keys(thing, node, mesh)

    def _armature(self) -> Any:
        data = bpy.data.armatures.new(RIG)
        rig = bpy.data.objects.new(RIG, data)
        self.scene.collection.objects.link(rig)
        bpy.context.view_layer.objects.active = rig
        bpy.ops.object.mode_set(mode="EDIT")
        for bone in self.model.bones:
            edit = data.edit_bones.new(bone.name)
            # All bones lie along +y without roll: their axes are the world's, so that a clip's
            # angles need no conversion. The true direction only matters for the weights.
            x, y, z = bone.head
            edit.head, edit.tail = (x, y, z), (x, y + 0.08, z)
            if bone.parent:
                edit.parent = data.edit_bones[bone.parent]
        bpy.ops.object.mode_set(mode="OBJECT")
        for pose in rig.pose.bones:
            pose.rotation_mode = "QUATERNION"
        return rig

    def _skin(self, thing: Any, node: Node, mesh: Solid) -> None:
        rig = self.objects[RIG]
        thing.parent = rig
        table = weights(mesh, node.parts, self.model.bones)
        for k, bone in enumerate(self.model.bones):
            group = thing.vertex_groups.new(name=bone.name)
            for vertex in np.flatnonzero(table[:, k]):
                group.add([int(vertex)], float(table[vertex, k]), "REPLACE")
        thing.modifiers.new("skin", "ARMATURE").object = rig

    def _action(self, clip: Clip) -> None:
        action = bpy.data.actions.new(clip.name)
        strip = action.layers.new("keys").strips.new(type="KEYFRAME")
        frames = clip.phase * clip.duration_s * self.scene.render.fps
        slots: dict[str, Any] = {}
        for track in clip.tracks:
            owner, prefix = self._owner(track)
            slot = slots.get(owner.name_full + owner.id_type)
            if slot is None:
                slot = action.slots.new(id_type=owner.id_type, name=owner.name)
                slots[owner.name_full + owner.id_type] = slot
                _stash(owner, action, slot)
            bag = strip.channelbag(slot, ensure=True)
            path, columns = self._channels(track, prefix)
            for index, values in enumerate(columns):
                curve = bag.fcurves.new(path, index=index)
                curve.keyframe_points.add(len(frames))
                pairs = np.stack([frames, values], axis=-1)
                curve.keyframe_points.foreach_set("co", pairs.astype(np.float32).ravel())
                kind = _CONSTANT if clip.stepped else _LINEAR
                curve.keyframe_points.foreach_set(
                    "interpolation", np.full(len(frames), kind, np.int32)
                )
                curve.update()

    def _owner(self, track: Track) -> tuple[Any, str]:
        if track.node in self.bones:
            return self.objects[RIG], f'pose.bones["{track.node}"].'
        thing = self.objects[track.node]
        return (thing.data.shape_keys, "") if track.kind == "weight" else (thing, "")

    def _channels(self, track: Track, prefix: str) -> tuple[str, Array]:
        if track.kind == "weight":
            return f'key_blocks["{track.key}"].value', track.values[None]
        columns = track.values
        if track.node in self.bones:
            if track.kind == "turn":
                columns = _quaternions(columns, _UPRIGHT)
            return prefix + _PATHS[track.kind], columns.T
        thing = self.objects[track.node]
        if track.kind == "turn":
            columns = _quaternions(columns, np.array(thing.rotation_quaternion))
        elif track.kind == "move":
            columns = columns + np.array(thing.location)
        else:
            columns = columns * np.array(thing.scale)
        return _PATHS[track.kind], columns.T


def _stash(owner: Any, action: Any, slot: Any) -> None:
    # Muted, so that no clip shapes the rest pose; the exporter finds the action all the same.
    owner.animation_data_create()
    track = owner.animation_data.nla_tracks.new()
    track.name = action.name
    track.mute = True
    strip = track.strips.new(action.name, 0, action)
    strip.action_slot = slot


def _quaternions(degrees: Array, rest: Array) -> Array:
    """Turn angles into (n, 4) rotations (w x y z) after a rest rotation, without sign jumps."""
    half = np.deg2rad(degrees) / 2
    (cx, cy, cz), (sx, sy, sz) = np.cos(half).T, np.sin(half).T
    turns = np.stack(
        [
            cx * cy * cz + sx * sy * sz,
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
        ],
        axis=-1,
    )
    w, v = rest[0], rest[1:]
    tw, tv = turns[:, :1], turns[:, 1:]
    out = np.concatenate([w * tw - tv @ v[:, None], w * tv + tw * v + np.cross(v, tv)], axis=-1)
    flips = np.sign(np.einsum("ij,ij->i", out[1:], out[:-1]))
    flips[flips == 0] = 1
    out[1:] *= np.cumprod(flips)[:, None]
    return out


def _mesh(name: str, mesh: Solid, material: Any) -> Any:
    data = bpy.data.meshes.new(name)
    data.from_pydata(mesh.points.tolist(), [], mesh.faces)
    layer = data.uv_layers.new(name="UVMap")
    layer.uv.foreach_set("vector", mesh.uv.astype(np.float32).ravel())
    data.shade_smooth()
    data.set_sharp_from_angle(angle=np.deg2rad(_SHARP_DEG))
    data.materials.append(material)
    data.validate()
    return data


def _shape_keys(thing: Any, node: Node, mesh: Solid) -> None:
    thing.shape_key_add(name="Basis")
    for name, shape in node.shapes.items():
        block = thing.shape_key_add(name=name)
        block.slider_min, block.slider_max = -10.0, 10.0
        moved = shape(mesh.points, mesh.labels)
        block.data.foreach_set("co", moved.astype(np.float32).ravel())
        block.value = 0.0


def _material(model: Model, image_bytes: bytes) -> Any:
    image = bpy.data.images.new(model.name, 8, 8)
    image.pack(data=image_bytes, data_len=len(image_bytes))
    image.source = "FILE"
    material = bpy.data.materials.new(model.name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    surface = nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = model.roughness
    surface.inputs["Metallic"].default_value = 0.0
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    links.new(texture.outputs["Color"], surface.inputs["Base Color"])
    return material


def export(path: Path) -> None:
    """Write the scene as one binary glTF with every action as a clip of its own."""
    bpy.ops.export_scene.gltf(
        filepath=str(path),
        export_format="GLB",
        export_image_format="AUTO",
        export_animation_mode="ACTIONS",
        export_merge_animation="ACTION",
        # Keys are written as authored: exact times, and held (STEP) where they are held.
        export_force_sampling=False,
        export_optimize_animation_size=False,
        export_anim_single_armature=False,
        export_morph_normal=True,
        export_try_sparse_sk=False,
        export_skins=True,
        export_extras=False,
    )
