"""Render what a trained model is conditioned on from an asset: its first pose from all sides."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from curate.config import BuildConfig
from curate.gltf_plain import importable
from curate.inspect import inspect_file
from render.paths import CameraConfig, SequenceConfig, fit, image_times
from render.runner import BlenderFault, BlenderProcess
from render.session import BlenderSession, ClipAddress, Unusable
from shards.errors import AssetError, RunError
from shards.sample import Frames


@dataclass(frozen=True, slots=True)
class OrbitCameras:
    """The cameras a model was trained with: T views, half open, degrees, sides of the unit cube."""

    frames: int
    size_px: int
    fov_deg: float
    elevation_deg: float
    distance: float | None  # none: fitted to each clip


def render_conditions(
    asset: Path, clip_index: int, cameras: OrbitCameras, seed: int = 0
) -> tuple[Frames, Float64[np.ndarray, "t 4 4"]]:
    """Render the orbit of the first pose, as ``static`` of a build.

    Args:
        asset: a 3D file; it passes the gate that builds have.
        clip_index: which clip's first pose, normalised over all of the clip; a file without clips
            is shown at rest.
        cameras: of the orbit.
        seed: of the light draw.

    Returns:
        Straight-alpha images (t, h, w, 4) and camera-to-world matrices, OpenCV axes.

    Raises:
        RunError: if the asset is refused, cannot be opened, or has no such clip.
    """
    config, camera = (
        BuildConfig(),
        CameraConfig(
            fov_deg=cameras.fov_deg, elevation_deg=cameras.elevation_deg, distance=cameras.distance
        ),
    )
    sequences = SequenceConfig(
        names=("static",),
        frames=cameras.frames,
        width=cameras.size_px,
        height=cameras.size_px,
        camera=camera,
    )
    render = config.render.model_copy(update={"sequences": sequences, "passes": ()})
    try:
        inspection = inspect_file(asset)
        durations = None
        if inspection.clips is not None:
            durations = [clip.duration_s for clip in inspection.clips]
        with BlenderProcess(config.limits.worker, [asset.absolute().parent]) as blender:
            session = BlenderSession(blender, config.limits)
            clips = session.open(*importable(asset, inspection, blender.scratch), durations).clips
            if clips and not 0 <= clip_index < len(clips):
                raise RunError(f"{asset}: has clips 0 to {len(clips) - 1}, not {clip_index}")
            index = clip_index if clips else -1
            stop_s = clips[index].duration_s if clips else 0.0
            stop_s = min(stop_s, config.curate.clips.window_max_s)
            limits = config.curate.geometry
            probe = session.probe(
                index,
                image_times(0.0, stop_s, sequences),
                limits.vertices_max,
                limits.probe_points_max,
            )
            if isinstance(probe, Unusable):
                raise RunError(f"{asset}: shows {probe.vertices} vertices; none or too many")
            frame = fit(np.concatenate([probe.points, probe.extremes], axis=1), sequences)
            address = ClipAddress(seed, asset.stem, index)
            rendered = session.render(address, (0.0, stop_s), frame, render)
    except AssetError as error:
        raise RunError(f"{asset}: refused: {error}") from error
    except BlenderFault as fault:
        raise RunError(f"{asset}: Blender could not render it: {fault}") from fault
    return rendered.images["static"], frame.poses(rendered.views["static"])
