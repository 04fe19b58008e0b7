"""The part of the scene that is ours: settings, lights, camera, and the render call.

A .blend file brings its own render settings, so every setting that the images rest on is set here,
for each job.
"""

import math
from typing import Any

import bpy
import mathutils

from render.blender import rig

_CAMERA = "orbit4d camera"
_SENSOR_MM = 36.0
_FLIP_YZ = mathutils.Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


def prepare(job: dict[str, Any]) -> None:
    """Set engine, film, colour, world, lights and camera for a job.

    Args:
        job: ``width``, ``height`` (pixels), ``fov_deg`` (over the longer side), ``engine``
            (samples, bounces, pixel filter, seed, threads); and ``lights``, ``ambient`` and
            ``sky_file`` for ``rig.build``.
    """
    scene = bpy.context.scene
    _set_output(scene, job)
    _set_cycles(scene, job["engine"])
    _set_colour(scene)
    rig.build(job["lights"], job["ambient"], job["sky_file"])
    _set_camera(scene, job["fov_deg"])


def _set_output(scene: Any, job: dict[str, Any]) -> None:
    render = scene.render
    render.engine = "CYCLES"
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
    render.use_persistent_data = True
    render.use_file_extension = False
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "8"
    render.image_settings.compression = 0  # read back at once and deleted
    render.image_settings.color_management = "FOLLOW_SCENE"
    for layer in scene.view_layers:
        layer.material_override = None
        layer.samples = 0


def _set_cycles(scene: Any, engine: dict[str, Any]) -> None:
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = engine["samples"]
    cycles.seed = engine["seed"] % 2**31
    cycles.use_animated_seed = False
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    cycles.filter_width = engine["filter_width_px"]
    cycles.max_bounces = engine["max_bounces"]
    cycles.diffuse_bounces = engine["diffuse_bounces"]
    cycles.glossy_bounces = engine["glossy_bounces"]
    cycles.transparent_max_bounces = engine["transparent_bounces"]
    cycles.transmission_bounces = engine["transmission_bounces"]
    cycles.volume_bounces = 0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.film_exposure = 1.0
    cycles.film_transparent_glass = False
    cycles.use_light_tree = False  # four suns: nothing to choose from
    cycles.sample_clamp_indirect = 10.0
    cycles.time_limit = 0.0
    cycles.use_fast_gi = False
    scene.render.threads_mode = "FIXED" if engine["threads"] else "AUTO"
    if engine["threads"]:
        scene.render.threads = engine["threads"]


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
    """Render the current frame to a PNG.

    The asset stays as it is: roots may be animated, so scaling them would be undone. Instead the
    camera moves to where it sees the asset as it would see the normalised one.

    Args:
        c2w: camera to normalised world, OpenCV axes.
        scale: normalised = (asset + offset) * scale.
        offset: in asset units.
        path: of the PNG.
    """
    camera = bpy.context.scene.camera
    pose = mathutils.Matrix(c2w) @ _FLIP_YZ
    pose.translation = pose.translation / scale - mathutils.Vector(offset)
    camera.matrix_world = pose
    camera.data.clip_start = 0.01 / scale
    camera.data.clip_end = 100.0 / scale
    bpy.context.scene.render.filepath = path
    bpy.ops.render.render(write_still=True)
