"""Open one asset in an empty Blender and list its clips.

A clip is what one animation of the file moves: data-blocks, each with the action and the slot that
drive it. Clips are told apart by index; names may repeat.
"""

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import bpy

from render.blender.errors import ImageError, LoadError, reason
from render.image_size import HEAD_MAX, PIXELS_MAX, PIXELS_TOTAL_MAX, image_size
from render.visible import collision_hulls

_SUBDIVISION_MAX = 2  # 16 times the faces; more does not show at these image sizes
_GEOMETRY = {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD"}


@dataclass(frozen=True)
class Binding:
    """One data-block and the action slot that drives it in a clip."""

    owner: Any  # bpy.types.ID
    action: Any  # bpy.types.Action
    slot: Any  # bpy.types.ActionSlot, None before Blender 4.4


@dataclass(frozen=True)
class Clip:
    """One animation: what it moves, and its stretch in scene frames."""

    name: str
    start_frame: float
    stop_frame: float
    bindings: tuple[Binding, ...]


@dataclass
class Asset:
    """The opened file."""

    clips: list[Clip]
    fps: float
    warnings: list[str] = field(default_factory=list)
    pixels: int = 0  # of all images, by their headers
    missing_images: int = 0
    hulls: int = 0  # collision meshes that are left out
    camera_actions: int = 0  # actions of cameras' and lights' own settings, which are no clips


def load(path: str, file_format: str, clip_durations_s: list[float] | None) -> Asset:
    """Empty Blender, open the file, and put aside everything that must not be seen.

    Args:
        path: absolute path of the asset.
        file_format: ``glb``, ``gltf``, ``fbx``, ``usd``, ``usda``, ``usdc``, ``usdz``, ``blend``.
        clip_durations_s: durations that the glTF itself states, one per animation; None for
            formats where only Blender can tell.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    try:
        raw_clips = _IMPORTERS[file_format](path)
    except RuntimeError as error:
        raise LoadError(reason(str(error))) from error
    scene = bpy.context.scene
    scene.render.frame_map_old = scene.render.frame_map_new  # else frames play at another speed
    fps = scene.render.fps / scene.render.fps_base
    asset = Asset(clips=[], fps=fps)
    if clip_durations_s is None:
        asset.clips = [Clip(*raw) for raw in raw_clips]
    else:
        for index, duration_s in enumerate(clip_durations_s):
            name, _, _, bindings = raw_clips[index] if index < len(raw_clips) else ("", 0, 0, ())
            asset.clips.append(Clip(name, 0.0, duration_s * fps, bindings))
    _refuse_files_elsewhere(os.path.dirname(path))
    asset.warnings += _show_what_renders()
    hulls = _hide_what_is_not_the_object()
    missing = _check_images(os.path.dirname(path))
    asset.warnings += hulls + missing
    asset.hulls, asset.missing_images = len(hulls), len(missing)
    asset.pixels = _refuse_huge_images()
    asset.camera_actions = sum(
        block.animation_data is not None and block.animation_data.action is not None
        for block in [*bpy.data.cameras, *bpy.data.lights]
    )
    return asset


class _ImportHooks:
    """glTF importer hooks: keep which action and slot belong to which animation index."""

    def __init__(self) -> None:
        self.clips: dict[int, tuple[str, tuple[Binding, ...]]] = {}

    def gather_import_gltf_before_hook(self, gltf: Any) -> None:
        # An animation that points at a material without a name ends the import (Blender 4.5).
        for index, material in enumerate(gltf.data.materials or ()):
            material.name = material.name or f"Material_{index}"  # as it is called in the end

    def gather_import_animations(self, _animations: Any, options: Any, _gltf: Any) -> None:
        options.restore_first_anim = False  # leave every property at the value in the file

    def gather_import_animation_after_hook(self, index: int, track: str, gltf: Any) -> None:
        # (owner, action, slot); before Blender 4.4 without the slot
        bindings = tuple(Binding(*entry, *[None] * (3 - len(entry))) for entry in gltf.needs_stash)
        self.clips[index] = (track, bindings)


def _import_gltf(path: str) -> list[tuple[str, float, float, tuple[Binding, ...]]]:
    recorder = _ImportHooks()
    # The importer looks for extensions in enabled add-ons; this module stands in for one.
    module = sys.modules[__name__]
    vars(module)["glTF2ImportUserExtension"] = lambda: recorder
    preferences = bpy.context.preferences.addons
    if __name__ not in preferences:
        preferences.new().module = __name__
    bpy.ops.import_scene.gltf(filepath=path, disable_bone_shape=True, loglevel=50)
    count = max(recorder.clips, default=-1) + 1
    return [
        (*recorder.clips[index][:1], 0.0, 0.0, recorder.clips[index][1])
        if index in recorder.clips
        else ("", 0.0, 0.0, ())
        for index in range(count)
    ]


def _import_fbx(path: str) -> list[tuple[str, float, float, tuple[Binding, ...]]]:
    if "fbx_import" in dir(bpy.ops.wm):  # Blender 4.5: reads ASCII and extrapolation too
        bpy.ops.wm.fbx_import(filepath=path)
    else:
        bpy.ops.import_scene.fbx(filepath=path)
    return _clips_of_actions()


def _import_usd(path: str) -> list[tuple[str, float, float, tuple[Binding, ...]]]:
    result = bpy.ops.wm.usd_import(filepath=path, set_frame_range=True)
    if "FINISHED" not in result:
        raise LoadError("the USD importer could not open the file")
    scene = bpy.context.scene
    # The importer makes a frame of each time code, however many of them the file has in a second.
    rate = _time_codes_per_second(path)
    scene.render.fps = max(round(rate), 1)
    scene.render.fps_base = scene.render.fps / rate
    clips = _clips_of_actions()
    cached = any(
        constraint.type == "TRANSFORM_CACHE"
        for obj in bpy.data.objects
        for constraint in obj.constraints
    ) or any(
        modifier.type == "MESH_SEQUENCE_CACHE"
        for obj in bpy.data.objects
        for modifier in obj.modifiers
    )
    if not clips and not cached:
        return []
    # A stage has one timeline, whatever the importer made of it.
    name = clips[0][0] if len(clips) == 1 and not cached else "(stage)"
    bindings = tuple(binding for clip in clips for binding in clip[3])
    return [(name, float(scene.frame_start), float(scene.frame_end), bindings)]


def _time_codes_per_second(path: str) -> float:
    """Read a stage's rate from its root layer, as USD does: its frame rate else, 24 else."""
    if not hasattr(bpy.utils, "expose_bundled_modules"):
        return 24.0  # before Blender 4.4 the module has no USD library for Python
    bpy.utils.expose_bundled_modules()
    from pxr import Sdf

    layer = Sdf.Layer.FindOrOpen(path)
    if layer is None:
        return 24.0
    if not layer.HasTimeCodesPerSecond() and layer.HasFramesPerSecond():
        return float(layer.framesPerSecond) or 24.0
    return float(layer.timeCodesPerSecond) or 24.0


def _open_blend(path: str) -> list[tuple[str, float, float, tuple[Binding, ...]]]:
    # Scripts and drivers with Python stay off; a saved layout is of no use here.
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    return _clips_of_actions()


_IMPORTERS = {
    "glb": _import_gltf,
    "gltf": _import_gltf,
    "fbx": _import_fbx,
    "usd": _import_usd,
    "usda": _import_usd,
    "usdc": _import_usd,
    "usdz": _import_usd,
    "blend": _open_blend,
}


def _clips_of_actions() -> list[tuple[str, float, float, tuple[Binding, ...]]]:
    """Make one clip per action that drives something, in the order of their names."""
    owners = _animatable()
    clips = []
    for action in bpy.data.actions:
        bindings = _bindings_of(action, owners)
        if bindings:
            start, stop = action.frame_range
            clips.append((action.name, float(start), float(stop), bindings))
    return clips


def _animatable() -> list[Any]:
    owners: list[Any] = list(bpy.data.objects)
    owners += list(bpy.data.shape_keys)
    owners += list(bpy.data.armatures)
    owners += [tree for material in bpy.data.materials if (tree := material.node_tree)]
    return owners + list(bpy.data.materials)


def _bindings_of(action: Any, owners: list[Any]) -> tuple[Binding, ...]:
    """Find what an action drives: assigned, stashed in the NLA, named by a slot, or fitting."""
    found: dict[int, Binding] = {}
    for owner in owners:
        for slot in _slots_in_use(action, owner):
            found.setdefault(owner.as_pointer(), Binding(owner, action, slot))
    if hasattr(action, "slots"):
        targets = [(slot, slot.target_id_type) for slot in action.slots]
    else:  # before Blender 4.4
        targets = [(None, action.id_root)]
    pairs = [(owner, slot) for slot, kind in targets for owner in owners if kind == owner.id_type]
    for owner, slot in pairs:
        if slot is not None and slot.identifier[2:] == owner.name:
            found.setdefault(owner.as_pointer(), Binding(owner, action, slot))
    if not found:
        for owner, slot in pairs:
            if _fits(owner, action, slot):
                found.setdefault(owner.as_pointer(), Binding(owner, action, slot))
    return tuple(found.values())


def _slots_in_use(action: Any, owner: Any) -> list[Any]:
    """List the slots through which an owner plays an action, now or from its NLA tracks."""
    data = owner.animation_data
    if data is None:
        return []
    users = [data] if data.action == action else []
    users += [s for track in data.nla_tracks for s in track.strips if s.action == action]
    return [getattr(user, "action_slot", None) for user in users]


def _fits(owner: Any, action: Any, slot: Any) -> bool:
    """Tell whether most curves of an unused action point at something that this owner has.

    Only rigs qualify: any object has a location, so a plain transform proves nothing.
    """
    curves = curves_of(action, slot)
    if getattr(owner, "pose", None) is None or not curves:
        return False
    resolved = 0
    for curve in curves:
        try:
            owner.path_resolve(curve.data_path)
            resolved += curve.data_path.startswith("pose.bones")
        except ValueError:
            continue
    return resolved * 2 > len(curves)


def curves_of(action: Any, slot: Any) -> list[Any]:
    """List the F-curves of one slot; before Blender 4.4 an action has no slots."""
    if slot is None or not hasattr(action, "layers"):
        return list(getattr(action, "fcurves", ()))
    bags = (strip.channelbag(slot) for layer in action.layers for strip in layer.strips)
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def _show_what_renders() -> list[str]:
    """Make the viewport's evaluation, which is measured, equal to the render's, which is seen."""
    warnings = []
    geometry = [obj for obj in bpy.data.objects if obj.type in _GEOMETRY]
    if geometry and all(obj.hide_render for obj in geometry):
        for obj in geometry:
            obj.hide_render = obj.hide_viewport
        warnings.append("every object is hidden from render: what the viewport shows is used")
    for collection in bpy.data.collections:
        collection.hide_viewport = collection.hide_render
    for obj in bpy.data.objects:
        obj.hide_viewport = obj.hide_render
        if obj.name in bpy.context.view_layer.objects:
            obj.hide_set(False)
        for modifier in obj.modifiers:
            modifier.show_viewport = modifier.show_render
            if modifier.type == "SUBSURF":
                modifier.levels = modifier.render_levels = min(
                    modifier.render_levels, _SUBDIVISION_MAX
                )
    return warnings


def _hide_what_is_not_the_object() -> list[str]:
    """Hide the file's own lights, and collision hulls if something else stays visible."""
    warnings = []
    for obj in bpy.data.objects:
        if obj.type == "LIGHT":
            obj.hide_render = True
    shown = [obj for obj in bpy.data.objects if obj.type in _GEOMETRY and not obj.hide_render]
    hulls = collision_hulls([(obj.name, obj.data.name) for obj in shown])
    for obj in [obj for obj, is_hull in zip(shown, hulls, strict=True) if is_hull]:
        obj.hide_render = True
        warnings.append(f"collision mesh {obj.name!r} is left out")
    return warnings


def _refuse_files_elsewhere(folder: str) -> None:
    """Refuse geometry that comes from outside the asset's folder, be it another input's."""
    kinds = (bpy.data.libraries, bpy.data.cache_files, bpy.data.volumes)
    for block in [block for kind in kinds for block in kind if block.filepath]:
        if not _lies_in(block.filepath, folder):
            kind = type(block).__name__
            raise LoadError(f"{kind} {block.filepath!r} lies outside the asset's folder")


def _lies_in(filepath: str, folder: str, library: Any = None) -> bool:
    root = os.path.realpath(folder)
    target = os.path.realpath(bpy.path.abspath(filepath, library=library))
    return target == root or target.startswith(root + os.sep)


def _check_images(folder: str) -> list[str]:
    """Do without images that are missing or lie outside the asset's folder, and say so."""
    warnings = []
    for image in bpy.data.images:
        if image.source not in {"FILE", "SEQUENCE", "TILED"} or image.packed_file is not None:
            continue
        if not image.filepath:
            continue
        if not _lies_in(image.filepath, folder, image.library):
            image.filepath = ""
            reason = "lies outside the asset's folder: not read"
        elif not os.path.exists(bpy.path.abspath(image.filepath, library=image.library)):
            reason = "is missing: rendered without it"
        else:
            continue
        _unlink(image)
        warnings.append(f"texture {image.name!r} {reason}")
    return warnings


def _refuse_huge_images() -> int:
    """Measure by their headers what the gate could not see: pictures of .blend and FBX files.

    Nothing is decoded before this, so a bomb is a file that cannot be loaded.

    Returns:
        Pixels of all images.
    """
    total = 0
    for image in bpy.data.images:
        for head in _heads(image):
            try:
                width, height = image_size(head) or (0, 0)
            except ValueError as error:
                raise ImageError(f"image {image.name!r}: {error}") from error
            total += width * height
            if width * height > PIXELS_MAX:
                found = f"image {image.name!r} is {width} x {height} pixels, the limit is"
                raise ImageError(f"{found} {PIXELS_MAX:,} pixels; scale the image down")
    if total > PIXELS_TOTAL_MAX:
        raise ImageError(f"the images have {total:,} pixels, the limit is {PIXELS_TOTAL_MAX:,}")
    return total


def _heads(image: Any) -> list[bytes]:
    """Read the beginning of an image's files, packed or beside the asset."""
    if image.packed_files:
        packed = [entry.packed_file for entry in image.packed_files if entry.packed_file]
        return [file.data[:HEAD_MAX] for file in packed]
    if image.source not in {"FILE", "SEQUENCE", "TILED"} or not image.filepath:
        return []
    path = bpy.path.abspath(image.filepath, library=image.library)
    tiles = [str(tile.number) for tile in image.tiles] if image.source == "TILED" else [""]
    heads = []
    for tile in tiles:
        with contextlib.suppress(OSError), open(path.replace("<UDIM>", tile), "rb") as stream:
            heads.append(stream.read(HEAD_MAX))
    return heads


def _unlink(image: Any) -> None:
    """Let materials fall back to their plain colours; Blender paints what it misses magenta."""
    for tree in [material.node_tree for material in bpy.data.materials if material.node_tree]:
        for node in [node for node in tree.nodes if getattr(node, "image", None) == image]:
            for link in [link for output in node.outputs for link in output.links]:
                tree.links.remove(link)
