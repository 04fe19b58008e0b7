"""The light around the asset: suns, studio lights, or a sky.

Lights arrive as the dicts of ``render.lights.draw_lights``. Directions are azimuth and elevation as
for cameras. Lengths and powers belong to the normalised world; since the asset stays as it is,
``place`` turns them into its own size, about the point that the camera looks at.
"""

import math
from typing import Any

import bpy
import mathutils
import numpy as np

_LIGHT = "orbit4d light"
_WORLD = "orbit4d world"
_SKY_IMAGE = "orbit4d sky"
_LINEAR = "Linear Rec.709"
_SKY_MAP_PX = 1024
_SKY_PX = 128  # an environment image is averaged down to this width to measure its brightness
_HAZE_SATURATION = 0.6

_brightness: dict[str, float] = {}  # of environment images by path: large ones take a second


def build(lights: list[dict[str, Any]], ambient: float, sky_file: str) -> None:
    """Replace the light of the scene.

    Args:
        lights: ``kind`` ``sun`` (also where none is said), ``area``, ``sky`` or ``file``; others
            than suns and areas make the world, one of them at most.
        ambient: radiance of the invisible white sky where no other one is asked for.
        sky_file: environment image (equirectangular, linear) that a light of kind ``file`` shows.
    """
    scene = bpy.context.scene
    for obj in [obj for obj in scene.collection.objects if obj.name.startswith(_LIGHT)]:
        bpy.data.lights.remove(obj.data)
    scene.world = _empty_world()
    sky = _plain_sky(scene.world.node_tree, ambient)
    for number, light in enumerate(lights):
        kind = light.get("kind", "sun")
        if kind in ("sun", "area"):
            _add_lamp(scene, f"{_LIGHT} {number}", kind, light)
        elif kind == "sky":
            sky = _made_sky(scene.world.node_tree, light)
        else:
            sky = _image_sky(scene.world.node_tree, light, sky_file)
    output = scene.world.node_tree.nodes.new("ShaderNodeOutputWorld")
    scene.world.node_tree.links.new(sky, output.inputs["Surface"])


def place(
    lights: list[dict[str, Any]], centre: list[float], scale: float, offset: list[float]
) -> None:
    """Stand the studio lights around a point of the normalised world.

    Args:
        lights: as for ``build``.
        centre: what the camera looks at, in the normalised world.
        scale: normalised = (asset + offset) * scale. Lengths go by 1 / scale and powers by
            1 / scale**2, which leaves the light that falls on the asset the same.
        offset: in asset units.
    """
    middle = mathutils.Vector(centre) / scale - mathutils.Vector(offset)
    for number, light in enumerate(lights):
        if light.get("kind") != "area":
            continue
        obj = bpy.context.scene.collection.objects[f"{_LIGHT} {number}"]
        obj.location = middle + _towards(light) * (light["distance"] / scale)
        obj.data.size = light["diameter"] / scale
        obj.data.energy = light["power_w"] / scale**2


def _towards(light: dict[str, Any]) -> mathutils.Vector:
    """Return the unit vector from the origin to where a light stands."""
    azimuth, elevation = math.radians(light["azimuth_deg"]), math.radians(light["elevation_deg"])
    level = math.cos(elevation)
    return mathutils.Vector(
        (level * math.sin(azimuth), -level * math.cos(azimuth), math.sin(elevation))
    )


def _add_lamp(scene: Any, name: str, kind: str, light: dict[str, Any]) -> None:
    data = bpy.data.lights.new(name, kind.upper())
    data.use_shadow = bool(light["shadow"])
    if kind == "sun":
        data.energy = light["energy_w_m2"]
        data.angle = math.radians(light["angle_deg"])
        data.color = [light.get(channel, 1.0) for channel in ("red", "green", "blue")]
    else:
        data.shape = "DISK"
    obj = bpy.data.objects.new(name, data)
    obj.visible_camera = kind == "sun"  # the camera may look past a studio light
    obj.rotation_euler = _towards(light).to_track_quat("Z", "Y").to_euler()  # shines along -z
    scene.collection.objects.link(obj)


def _empty_world() -> Any:
    world = bpy.data.worlds.get(_WORLD) or bpy.data.worlds.new(_WORLD)
    world.use_nodes = True
    world.node_tree.nodes.clear()
    world.light_settings.ao_factor = 0.0
    # Cycles draws a map of where the sky is bright anew for each image; by default that map is
    # large and takes several times as long as a small image. The sun of a made sky is a lamp.
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = _SKY_MAP_PX
    return world


def _plain_sky(tree: Any, radiance: float) -> Any:
    background = tree.nodes.new("ShaderNodeBackground")
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    background.inputs["Strength"].default_value = radiance
    return background.outputs[0]


def _made_sky(tree: Any, light: dict[str, Any]) -> Any:
    """Let Blender's sky shine above the horizon and grey ground below; the sun is a lamp."""
    image = _bake_sky(light["elevation_deg"])
    above = tree.nodes.new("ShaderNodeBackground")
    above.inputs["Strength"].default_value = light["radiance"] / _brightest(image)
    haze = tree.nodes.new("ShaderNodeHueSaturation")  # of the clearest day, shadows are all blue
    haze.inputs["Saturation"].default_value = _HAZE_SATURATION
    direction, colour = _surround(tree, image, light["azimuth_deg"])
    tree.links.new(colour, haze.inputs["Color"])
    tree.links.new(haze.outputs["Color"], above.inputs["Color"])
    axes = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(direction, axes.inputs[0])
    horizon = tree.nodes.new("ShaderNodeMapRange")
    horizon.inputs["From Min"].default_value, horizon.inputs["From Max"].default_value = -0.1, 0.0
    tree.links.new(axes.outputs["Z"], horizon.inputs["Value"])
    mix = tree.nodes.new("ShaderNodeMixShader")
    tree.links.new(horizon.outputs["Result"], mix.inputs["Fac"])
    tree.links.new(_plain_sky(tree, light["ground"]), mix.inputs[1])
    tree.links.new(above.outputs[0], mix.inputs[2])
    return mix.outputs[0]


def _image_sky(tree: Any, light: dict[str, Any], path: str) -> Any:
    """Let an environment image shine, brought to the asked brightness."""
    image = bpy.data.images.load(path, check_existing=True)
    image.colorspace_settings.name = _LINEAR
    if path not in _brightness:
        _brightness[path] = _brightest(image)
    background = tree.nodes.new("ShaderNodeBackground")
    background.inputs["Strength"].default_value = light["radiance"] / _brightness[path]
    _, colour = _surround(tree, image, light["azimuth_deg"])
    tree.links.new(colour, background.inputs["Color"])
    return background.outputs[0]


def _surround(tree: Any, image: Any, azimuth_deg: float) -> tuple[Any, Any]:
    """Wrap an equirectangular image around, its middle at an azimuth: sockets direction, colour."""
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    texture.image = image
    direction = tree.nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    turn = tree.nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value[2] = math.radians(90.0 - azimuth_deg)
    tree.links.new(direction, turn.inputs["Vector"])
    tree.links.new(turn.outputs["Vector"], texture.inputs["Vector"])
    return direction, texture.outputs["Color"]


def _bake_sky(elevation_deg: float) -> Any:
    """Render Blender's clear sky without the sun's disc to an image, the sun in its middle.

    As a texture it would be computed anew for each picture, which takes longer than a small one.
    """
    if (old := bpy.data.images.get(_SKY_IMAGE)) is not None:
        bpy.data.images.remove(old)
    scene = bpy.data.scenes.new(_SKY_IMAGE)
    world = bpy.data.worlds.new(_SKY_IMAGE)
    camera = bpy.data.cameras.new(_SKY_IMAGE)
    view = bpy.data.objects.new(_SKY_IMAGE, camera)
    world.use_nodes = True
    sky = world.node_tree.nodes.new("ShaderNodeTexSky")
    kinds = {kind.identifier for kind in sky.bl_rna.properties["sky_type"].enum_items}
    sky.sky_type = "NISHITA" if "NISHITA" in kinds else "SINGLE_SCATTERING"  # Blender 5.0's name
    sky.sun_disc = False
    sky.sun_elevation, sky.sun_rotation = math.radians(elevation_deg), 0.0  # the sun at +y
    world.cycles.sampling_method = "NONE"  # it is looked at and lights nothing
    background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    world.node_tree.links.new(sky.outputs["Color"], background.inputs["Color"])
    camera.type = "PANO"
    camera.panorama_type = "EQUIRECTANGULAR"
    view.rotation_euler = (math.pi / 2, 0.0, 0.0)  # looks along +y
    scene.collection.objects.link(view)
    scene.world, scene.camera = world, view
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", 4, False
    scene.render.threads_mode = bpy.context.scene.render.threads_mode
    scene.render.threads = bpy.context.scene.render.threads
    scene.render.resolution_x, scene.render.resolution_y = 2 * _SKY_PX, _SKY_PX
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "32"
    scene.render.filepath = f"{bpy.app.tempdir}sky.exr"
    bpy.ops.render.render(write_still=True, scene=scene.name)
    image = bpy.data.images.load(scene.render.filepath, check_existing=False)
    image.name = _SKY_IMAGE
    image.colorspace_settings.name = _LINEAR
    image.pack()
    for group, item in (
        (bpy.data.scenes, scene), (bpy.data.objects, view), (bpy.data.cameras, camera),
        (bpy.data.worlds, world),
    ):  # fmt: skip
        group.remove(item)
    return image


def _brightest(image: Any) -> float:
    """Measure the luminance of the white surface that an environment image lights most."""
    width, height = image.size
    if width < 2 or height < 2:
        raise ValueError(f"light file {image.filepath}: no image could be read from it")
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    colours = pixels.reshape(height, width, image.channels)[..., :3].astype(np.float64)
    luminance = colours @ [0.2126, 0.7152, 0.0722] if image.channels >= 3 else colours[..., 0]
    luminance = _mean_blocks(_mean_blocks(luminance, _SKY_PX // 2).T, _SKY_PX).T
    rows, columns = luminance.shape
    elevation = np.pi * ((np.arange(rows) + 0.5) / rows - 0.5)  # row 0 is the lowest
    azimuth = 2 * np.pi * (np.arange(columns) + 0.5) / columns
    level = np.cos(elevation)[:, None]
    upward = np.broadcast_to(np.sin(elevation)[:, None], luminance.shape)
    around = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), upward], axis=-1)
    flux = (luminance * level * (np.pi / rows) * (2 * np.pi / columns)).reshape(-1)
    directions = around.reshape(-1, 3)
    normals = around[:: max(rows // 16, 1), :: max(columns // 32, 1)].reshape(-1, 3)
    facing = np.clip(normals @ directions.T, 0.0, None)
    found = float((facing @ flux).max() / np.pi)
    if not np.isfinite(found) or found <= 0:
        raise ValueError(f"light file {image.filepath}: its pixels are black or not finite")
    return round(found, 6 - math.floor(math.log10(found)))  # sums differ in their last bits


def _mean_blocks(values: np.ndarray, count: int) -> np.ndarray:
    """Average the rows of (n, k) down to at most ``count``."""
    edges = np.linspace(0, len(values), min(count, len(values)), endpoint=False).astype(int)
    sizes = np.diff(np.append(edges, len(values)))
    return np.add.reduceat(values, edges, axis=0) / sizes[:, None]
