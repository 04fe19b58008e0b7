"""One worker's view of Blender: open an asset, probe its clips, render them.

The asset stays open over all its clips. When a fault ends the process, the next clip opens it
again in a new one, so a fault costs the clip that was being worked on and no other.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from render.config import LimitConfig, RenderConfig
from render.darkroom import Darkroom, OnSequence
from render.lights import ambient_radiance, draw_lights, light_file
from render.passes import Passes, Shoot, compute
from render.paths import Frame, Views, image_times, views
from render.qa import Evidence
from render.runner import BlenderProcess
from render.surface import Surface
from render.visible import Picks
from shards.sample import Frames
from shards.seeding import ClipAddress


@dataclass(frozen=True, slots=True)
class OpenedClip:
    """A clip as Blender sees it.

    ``aims`` counts the properties that it moves: of what is seen, and of cameras and lights.
    """

    name: str
    duration_s: float
    aims: tuple[int, int] = (1, 0)


@dataclass(frozen=True, slots=True)
class OpenedAsset:
    """What Blender found on opening a file; counts are of the rest pose."""

    clips: list[OpenedClip]
    warnings: list[str]
    vertices: int
    triangles: int
    seconds: float
    pixels: int = 0
    missing_images: int = 0
    hulls: int = 0
    camera_actions: int = 0


@dataclass(frozen=True, slots=True)
class StillArrays:
    """Visible triangles at rest, see ``render.blender.still``; asset units, z up.

    Attributes:
        points: (n, 3) float64.
        triangles: (m, 3) int32.
        opacity: (m,) float64, 0 to 1.
        look: hash of materials and images.
        complete: whether nothing but triangles is drawn.
    """

    points: np.ndarray
    triangles: np.ndarray
    opacity: np.ndarray
    look: str
    complete: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """The evaluated geometry of a clip at given times.

    Attributes:
        points: (k, n, 3) float64 vertices, z up, asset units; where the mesh is large those that
            ``render.visible.thinned`` chooses; the box corners where ``same_topology`` is false.
        weights: (n,) how much surface each of ``points`` stands for, in no given unit.
        extremes: (k, d, 3) float64, the outermost vertices of the whole mesh.
        vertices, triangles: counts of the whole evaluated geometry.
        same_topology: whether ``points[:, i]`` is the same vertex at every time.
    """

    points: np.ndarray
    weights: np.ndarray
    extremes: np.ndarray
    vertices: int
    triangles: int
    same_topology: bool


@dataclass(frozen=True, slots=True)
class Unusable:
    """A clip whose geometry cannot be probed: none is visible, or there is too much of it."""

    vertices: int


@dataclass(frozen=True, slots=True)
class RenderedClip:
    """All sequences of a clip: RGBA images, views, and the light draw they share.

    ``evidence`` is what ``render.qa`` judges beside the images.
    """

    images: dict[str, Frames]
    views: dict[str, Views]
    times_s: np.ndarray
    k: np.ndarray
    lights: list[dict[str, Any]]
    seconds: float
    passes: Passes
    device: str
    evidence: Evidence


class BlenderSession:
    """Opens one asset at a time in a supervised Blender."""

    def __init__(self, process: BlenderProcess, limits: LimitConfig) -> None:
        self.process = process
        self.limits = limits
        self._request: dict[str, Any] | None = None
        self._opened_in = -1

    def open(
        self, path: Path, file_format: str, clip_durations_s: list[float] | None
    ) -> OpenedAsset:
        """Open an asset.

        Raises:
            BlenderFault: the importer refused it, or Blender came to grief over it.
        """
        self.process.recycle_if_due()
        self.process.begin_log()
        self._request = {
            "op": "load",
            "path": str(path.absolute()),  # not resolved: companions lie beside the link
            "format": file_format,
            "clip_durations_s": clip_durations_s,
        }
        answer = self._load()
        clips = [
            OpenedClip(clip["name"], clip["duration_s"], tuple(clip["aims"]))
            for clip in answer["clips"]
        ]
        return OpenedAsset(
            clips,
            answer["warnings"],
            answer["vertices"],
            answer["triangles"],
            answer["seconds"],
            answer["pixels"],
            answer["missing_images"],
            answer["hulls"],
            answer["camera_actions"],
        )

    def still(self) -> StillArrays:
        """Read the geometry at rest; to be asked before any clip is posed."""
        out = self.process.scratch / "still.npz"
        answer = self._call({"op": "still", "out": str(out)}, self.limits.probe_timeout_s)
        with np.load(out) as arrays:
            return StillArrays(
                arrays["points"], arrays["triangles"], arrays["opacity"],
                answer["look"], answer["complete"],
            )  # fmt: skip

    def probe(
        self,
        clip_index: int,
        times_s: np.ndarray,
        vertices_max: int,
        points_max: int,
        picks: Picks | None = None,
    ) -> Probe | Unusable:
        """Evaluate a clip's vertices at times (seconds from its start).

        Of more than ``points_max`` vertices, ``picks`` are measured; without it, Blender chooses
        by the same rule.
        """
        out = self.process.scratch / "probe.npz"
        answer = self._call(
            {
                "op": "probe",
                "clip": clip_index,
                "times_s": [float(time_s) for time_s in times_s],
                "out": str(out),
                "vertices_max": vertices_max,
                "points_max": points_max,
                "picks": None if picks is None else picks.indices.tolist(),
                "picked_chances": None if picks is None else picks.chances.tolist(),
                "picked_of": None if picks is None else picks.vertices,
            },
            self.limits.probe_timeout_s,
        )
        if not answer["usable"]:
            return Unusable(answer["vertices"])
        with np.load(out) as arrays:
            points = arrays["points"].astype(np.float64)
            extremes = arrays["extremes"].astype(np.float64)
            weights = arrays["weights"].astype(np.float64)
        return Probe(
            points, weights, extremes, answer["vertices"], answer["triangles"],
            answer["same_topology"],
        )  # fmt: skip

    def render(
        self,
        address: ClipAddress,
        window_s: tuple[float, float],
        frame: Frame,
        config: RenderConfig,
        on_sequence: OnSequence | None = None,
    ) -> RenderedClip:
        """Render every sequence of a clip from one light draw.

        Images that share camera and time (the first of each sequence) are rendered once.

        Args:
            address: which clip, and where its random draws come from.
            window_s: start and end, seconds from the clip's start.
            frame: where the object is put, and the cameras.
            config: sequences, engine, lights, passes.
            on_sequence: called with a sequence's name and images as soon as they are whole, while
                Blender still renders others.

        Raises:
            BlenderFault: Blender came to grief.
        """
        sequences = config.sequences
        times_s = image_times(*window_s, sequences)
        layout = {name: views(sequences, name, frame.draw) for name in sequences.names}
        lights = draw_lights(config.lights, *address)
        with tempfile.TemporaryDirectory(dir=self.process.scratch) as folder:
            surface = Surface(Path(folder), frame.scale, frame.offset)
            darkroom = Darkroom(layout, frame, surface, config, on_sequence)
            request = {
                "op": "render",
                "clip": address.clip_index,
                **_picture(config),
                "scale": frame.scale,
                "offset": frame.offset,
                "engine": config.engine.request()
                | {"seed": address.seed, "threads": self.limits.threads},
                "lights": lights,
                "ambient": ambient_radiance(config.lights),
                "sky_file": str(light_file(config.lights) or ""),
                "surface": folder,
                "joints": "joints" in config.passes,
                "normals": "normal" in config.passes,
                "images": [
                    {
                        "time_index": shot.time_index,
                        "time_s": float(times_s[shot.time_index]),
                        "c2w": shot.base_pose.tolist(),
                        "centre": shot.centre.tolist(),
                        "path": str(shot.file),
                    }
                    for shot in darkroom.shots
                ],
            }
            started = time.monotonic()
            answer = self._call(request, self.limits.render_timeout_s, darkroom.take)
            images, k = {name: darkroom.images[name] for name in layout}, darkroom.k
            shoot = Shoot(surface, frame, layout, images, k, answer["joints"], address)
            passes = compute(shoot, config.passes)
            if "; " in answer["device"]:  # not the device that was asked for
                passes.warnings.append(answer["device"])
            seconds = time.monotonic() - started
        return RenderedClip(
            images, layout, times_s, k, lights, seconds, passes, answer["device"],
            darkroom.evidence(),
        )  # fmt: skip

    def _call(
        self,
        request: dict[str, Any],
        timeout_s: float,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        if self._opened_in != self.process.started or not self.process.is_running():
            self._load()
        return self.process.call(request, timeout_s, on_event, may_start=False)

    def _load(self) -> dict[str, Any]:
        assert self._request is not None, "open an asset first"
        answer = self.process.call(self._request, self.limits.load_timeout_s)
        self._opened_in = self.process.started
        return answer


def _picture(config: RenderConfig) -> dict[str, Any]:
    """Say which pixels Blender renders, in rendered pixels, ``supersampling`` to an image's."""
    sequences, engine = config.sequences, config.engine
    fine = engine.supersampling
    # What lies further out than the checks allow for still shows that it does.
    margin = math.ceil(config.qa.outside_max_px + engine.filter_width_px) + 2
    return {
        "width": sequences.width * fine,
        "height": sequences.height * fine,
        "fov_deg": sequences.camera.fov_deg,
        # a denoiser looks around, and rasterisers work on the screen as a whole
        "margin": margin * fine if engine.engine == "cycles" and not engine.denoiser else None,
    }
