"""The render engine's settings and the device it runs on."""

import contextlib
import sys
from typing import Any

import bpy

_DEVICES = ("optix", "cuda", "hip", "metal", "oneapi")  # the order in which ``gpu`` tries them
_IDS = {"eevee": ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE"), "workbench": ("BLENDER_WORKBENCH",)}


def use(engine: dict[str, Any]) -> str:
    """Set up an engine for a job.

    Args:
        engine: ``engine`` (cycles, eevee, workbench), ``device``, ``samples`` (per rendered
            pixel), ``filter_width_px`` (of rendered pixels, or none for a box of one pixel),
            ``denoiser``, ``light_tree``, ``blue_noise``, ``scrambling_distance``, bounces,
            ``seed``, ``threads``.

    Returns:
        The device in use: ``cpu``, or for example ``optix: NVIDIA H100``; with a warning after
        ``; `` where it is not the one asked for.
    """
    scene = bpy.context.scene
    scene.render.threads_mode = "FIXED" if engine["threads"] else "AUTO"
    if engine["threads"]:
        scene.render.threads = engine["threads"]
    if engine["engine"] == "cycles":
        scene.render.engine = "CYCLES"
        _set_cycles(scene.cycles, engine)
        return _set_device(scene.cycles, engine["device"])
    _set_raster_engine(scene, engine)
    return "gl"


def _set_cycles(cycles: Any, engine: dict[str, Any]) -> None:
    cycles.samples = engine["samples"]
    cycles.seed = engine["seed"] % 2**31
    cycles.use_animated_seed = False
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = engine["denoiser"]
    if engine["denoiser"]:
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.denoising_prefilter = "ACCURATE"
        cycles.denoising_quality = "HIGH"
        cycles.denoising_use_gpu = False
    cycles.sampling_pattern = "BLUE_NOISE" if engine["blue_noise"] else "TABULATED_SOBOL"
    cycles.auto_scrambling_distance = False
    cycles.scrambling_distance = engine["scrambling_distance"]
    cycles.sample_offset = 0
    cycles.use_sample_subset = False
    cycles.pixel_filter_type = "BOX" if engine["filter_width_px"] is None else "BLACKMAN_HARRIS"
    cycles.filter_width = engine["filter_width_px"] or 1.0
    cycles.max_bounces = engine["max_bounces"]
    cycles.diffuse_bounces = engine["diffuse_bounces"]
    cycles.glossy_bounces = engine["glossy_bounces"]
    cycles.transparent_max_bounces = engine["transparent_bounces"]
    cycles.transmission_bounces = engine["transmission_bounces"]
    cycles.volume_bounces = 0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.film_exposure = 1.0
    cycles.film_transparent_glass = False
    cycles.use_light_tree = engine["light_tree"]
    # Glowing parts are met by bounces. As lights of their own they would take samples from the
    # suns, and what they light would be all that is free of noise.
    for material in bpy.data.materials:
        material.cycles.emission_sampling = "NONE"
    cycles.light_sampling_threshold = 0.01
    cycles.min_light_bounces = cycles.min_transparent_bounces = 0
    cycles.blur_glossy = 1.0
    cycles.sample_clamp_direct, cycles.sample_clamp_indirect = 0.0, 10.0
    cycles.time_limit = 0.0
    cycles.use_fast_gi = False
    cycles.use_guiding = False
    cycles.use_auto_tile = False


def _set_device(cycles: Any, wanted: str) -> str:
    """Choose one device. The first of a kind: a worker is shown only the one it may use."""
    cycles.device = "CPU"
    if wanted == "cpu":
        return "cpu"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    missing = []
    for kind in _DEVICES if wanted == "gpu" else (wanted,):
        try:
            preferences.compute_device_type = kind.upper()
        except TypeError:
            missing.append(f"{kind}: not in this build of Blender")
            continue
        with contextlib.suppress(RuntimeError):
            preferences.refresh_devices()
        found = [device for device in preferences.devices if device.type == kind.upper()]
        if not found:
            missing.append(f"{kind}: no device or driver")
            continue
        for device in preferences.devices:
            device.use = device == found[0]
        cycles.device = "GPU"
        return f"{kind}: {found[0].name}"
    preferences.compute_device_type = "NONE"
    return f"cpu; {wanted!r} was asked for, but " + ", ".join(missing)


def _set_raster_engine(scene: Any, engine: dict[str, Any]) -> None:
    for name in _IDS[engine["engine"]]:
        with contextlib.suppress(TypeError):
            scene.render.engine = name
            break
    else:
        raise RuntimeError(f"this Blender has no engine {engine['engine']!r}")
    scene.render.filter_size = engine["filter_width_px"] or 1.0
    if engine["engine"] == "eevee":
        scene.eevee.taa_render_samples = engine["samples"]
        for name in ("use_raytracing", "use_gtao", "use_bloom"):
            if hasattr(scene.eevee, name):
                setattr(scene.eevee, name, False)
    else:
        shading = scene.display.shading
        shading.light, shading.color_type = "STUDIO", "TEXTURE"
        shading.show_shadows = shading.show_cavity = shading.show_object_outline = False
        scene.display.render_aa = "8"


def log_device(device: str) -> None:
    """Say in the log which device renders."""
    print(f"device: {device}", file=sys.stderr, flush=True)
