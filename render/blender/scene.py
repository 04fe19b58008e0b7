"""The part of the scene that is ours: settings, lights, camera, and the render call.

A .blend file brings its own render settings, so every setting that the images rest on is set here,
for each job.
"""

import math
from typing import Any

import bpy
import mathutils
import numpy as np

from render.blender import engine, rig
from shards.camera import intrinsics, opencv_to_blender, projected_box

_CAMERA = "orbit4d camera"
_SENSOR_MM = 36.0


def prepare(job: dict[str, Any]) -> str:
    """Set engine, film, colour, world, lights and camera for a job.

    Args:
        job: ``width``, ``height`` (rendered pixels), ``fov_deg`` (over the longer side),
            ``engine`` for ``engine.use``; and ``lights``, ``ambient`` and ``sky_file`` for
            ``rig.build``.

    Returns:
        The device that renders, as from ``engine.use``.
    """
    scene = bpy.context.scene
    _set_output(scene, job)
    device = engine.use(job["engine"])
    _set_colour(scene)
    rig.build(job["lights"], job["ambient"], job["sky_file"])
    _set_camera(scene, job["fov_deg"])
    return device


def _set_output(scene: Any, job: dict[str, Any]) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y = job["width"], job["height"]
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.film_transparent = True
    render.use_motion_blur = False
    render.use_compositing = render.use_sequencer = False
    render.use_freestyle = False
    render.use_multiview = False
    render.use_simplify = False
    render.use_stamp = False
    render.use_single_layer = False
    render.use_placeholder, render.use_overwrite = False, True
    render.dither_intensity = 0.0  # noise would differ between equal images
    render.use_persistent_data = job.get("persistent_data", True)
    render.use_file_extension = False
    if hasattr(render.image_settings, "media_type"):  # Blender 5.0 keeps films apart
        render.image_settings.media_type = "IMAGE"
    # Linear light, before the view transform: pixels are still to be weighed and added up.
    render.image_settings.file_format = "OPEN_EXR"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "16"
    render.image_settings.exr_codec = "NONE"  # read back at once and deleted
    render.image_settings.color_management = "FOLLOW_SCENE"
    for layer in scene.view_layers:
        layer.material_override = None
        layer.samples = 0


def _set_colour(scene: Any) -> None:
    scene.display_settings.display_device = "sRGB"
    view = scene.view_settings
    view.view_transform = "Standard"
    view.look = "None"
    view.exposure, view.gamma = 0.0, 1.0
    view.use_curve_mapping = False
    if hasattr(view, "use_white_balance"):
        view.use_white_balance = False


def _set_camera(scene: Any, fov_deg: float) -> None:
    obj = scene.collection.objects.get(_CAMERA)
    if obj is None:
        obj = bpy.data.objects.new(_CAMERA, bpy.data.cameras.new(_CAMERA))
        scene.collection.objects.link(obj)
    data = obj.data
    data.type = "PERSP"
    data.sensor_fit = "AUTO"  # the longer side, as in shards.camera.intrinsics
    data.sensor_width = _SENSOR_MM
    data.lens = 0.5 * _SENSOR_MM / math.tan(math.radians(fov_deg) / 2)
    data.shift_x = data.shift_y = 0.0
    data.dof.use_dof = False
    scene.camera = obj


def shoot(image: dict[str, Any], job: dict[str, Any], points: np.ndarray | None) -> list[int]:
    """Render the current frame to an EXR file: linear RGB times alpha, and alpha.

    The asset stays as it is: roots may be animated, so scaling them would be undone. Instead the
    camera moves to where it sees the asset as it would see the normalised one. Only the part of
    the frame that the object can reach is rendered: empty pixels cost a third as much as others.

    Args:
        image: ``c2w`` (camera to normalised world, OpenCV axes) and ``path`` of the file.
        job: ``width``, ``height``, ``fov_deg``, ``scale``, ``offset`` (normalised = (asset +
            offset) * scale) and ``margin`` around the object in pixels, none for the whole frame.
        points: (n, 3) of the asset's world that bound what is drawn; none: unknown.

    Returns:
        Left, top, right and bottom of the part that the file holds, in pixels.
    """
    scale, offset = job["scale"], job["offset"]
    camera = bpy.context.scene.camera
    c2w = np.array(image["c2w"])
    pose = mathutils.Matrix(opencv_to_blender(c2w).tolist())
    pose.translation = pose.translation / scale - mathutils.Vector(offset)
    camera.matrix_world = pose
    camera.data.clip_start = 0.01 / scale
    camera.data.clip_end = 100.0 / scale
    part = [0, 0, job["width"], job["height"]]
    if points is not None and job["margin"] is not None:
        k = intrinsics(job["fov_deg"], job["width"], job["height"])
        box = projected_box((points + np.array(offset)) * scale, k, c2w)
        part = _around(box, job["margin"], job["width"], job["height"])
    _set_border(bpy.context.scene.render, part, job["width"], job["height"])
    bpy.context.scene.render.filepath = image["path"]
    bpy.ops.render.render(write_still=True)
    return part


def _around(box: np.ndarray, margin: int, width: int, height: int) -> list[int]:
    """Return the pixels of a box and a margin around it; the whole frame where it is unknown.

    Its sides are even, so that it also begins and ends between pixels of half the resolution.
    """
    whole = [0, 0, width, height]
    if not np.isfinite(box).all():
        return whole
    low = np.floor((box[:2] - margin) / 2) * 2
    high = np.ceil((box[2:] + margin) / 2) * 2
    sides = np.clip(np.concatenate([low, high]), 0, [width, height, width, height])
    left, top, right, bottom = (int(side) for side in sides)
    return [left, top, right, bottom] if left < right and top < bottom else whole


def _set_border(render: Any, part: list[int], width: int, height: int) -> None:
    """Limit what is rendered. Blender counts from the bottom and cuts off fractions of pixels."""
    left, top, right, bottom = part
    render.use_border = render.use_crop_to_border = part != [0, 0, width, height]
    render.border_min_x, render.border_max_x = (left + 0.5) / width, (right + 0.5) / width
    render.border_min_y = (height - bottom + 0.5) / height
    render.border_max_y = (height - top + 0.5) / height
