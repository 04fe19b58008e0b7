"""The part of the scene that is ours: settings, lights, camera, and the render call.

A .blend file brings its own render settings, so every setting that the images rest on is set here,
for each job.
"""

import math
from typing import Any

import bpy
import mathutils

from render.blender import engine, rig

_CAMERA = "orbit4d camera"
_SENSOR_MM = 36.0
_FLIP_YZ = mathutils.Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


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
    render.use_border = render.use_crop_to_border = False
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


def shoot(c2w: list[list[float]], scale: float, offset: list[float], path: str) -> None:
    """Render the current frame to an EXR file: linear RGB times alpha, and alpha.

    The asset stays as it is: roots may be animated, so scaling them would be undone. Instead the
    camera moves to where it sees the asset as it would see the normalised one.

    Args:
        c2w: camera to normalised world, OpenCV axes.
        scale: normalised = (asset + offset) * scale.
        offset: in asset units.
        path: of the file.
    """
    camera = bpy.context.scene.camera
    pose = mathutils.Matrix(c2w) @ _FLIP_YZ
    pose.translation = pose.translation / scale - mathutils.Vector(offset)
    camera.matrix_world = pose
    camera.data.clip_start = 0.01 / scale
    camera.data.clip_end = 100.0 / scale
    bpy.context.scene.render.filepath = path
    bpy.ops.render.render(write_still=True)
