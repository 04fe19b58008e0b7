"""Carries out the requests of the Blender process; see ``render.blender.__main__``.

All that a request needs is imported here, before the first one. Ray lays the code down anew for
each node that joins, where nodes share a disk under the processes of the others: what these import
just then is not there, and an asset would fail for it.
"""

import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from render.blender import engine, rig, scene
from render.blender.errors import LoadError
from render.blender.load import load
from render.blender.pose import Stage, areas, geometry
from render.blender.still import aims, read_still
from render.blender.surface import Recorder, joints
from render.blender.weigh import Sample
from render.visible import outermost


class Server:
    """Holds the one asset that is open."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:

        self.tell = tell
        self.stage: Stage | None = None
        self.areas: Any = None  # of the asset's vertices at rest, once asked for

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request; any exception becomes an answer."""
        started = time.monotonic()
        try:
            answer = getattr(self, f"do_{request['op']}")(request)
        except LoadError as error:
            return {"ok": False, "kind": error.kind, "error": str(error)}
        except MemoryError:
            return {"ok": False, "kind": "memory", "error": "Blender ran out of memory"}
        except Exception as error:  # one job fails, the process serves on
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
            return {"ok": False, "kind": "error", "error": text}
        return {"ok": True, "seconds": time.monotonic() - started, **answer}

    def do_load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open an asset; answer its clips."""
        self.stage = self.areas = None
        asset = load(request["path"], request["format"], request["clip_durations_s"])
        self.stage = Stage(asset, request["format"])
        clips = [
            {
                "name": clip.name,
                "duration_s": (clip.stop_frame - clip.start_frame) / asset.fps,
                "aims": aims(clip.bindings),
            }
            for clip in asset.clips
        ]
        points, triangles, _ = geometry()
        return {
            "clips": clips,
            "warnings": asset.warnings,
            "vertices": len(points),
            "triangles": triangles,
            "pixels": asset.pixels,
            "missing_images": asset.missing_images,
            "hulls": asset.hulls,
            "camera_actions": asset.camera_actions,
        }

    def do_still(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write the geometry at rest, before any clip, as one .npz; see ``still.Still``.

        To be asked for right after ``load``: a clip that was posed leaves its pose.
        """
        still = read_still()
        np.savez(
            request["out"],
            points=still.points,
            triangles=still.triangles,
            opacity=still.opacity,
        )
        return {"look": still.look, "complete": still.complete}

    def do_probe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Evaluate a clip at given times and write what was found as one .npz.

        ``points`` (k, n, 3) are the vertices, of more than ``points_max`` the ``picks`` or those
        that ``render.visible.thinned`` chooses; where the topology changes over time they are the
        box corners instead and ``same_topology`` is false. ``weights`` (n,) say how much surface
        each stands for, the mean over the times. ``extremes`` (k, d, 3) are the outermost
        vertices, none left out.
        """
        assert self.stage is not None
        sample = self._sample(request)
        poses: list[np.ndarray] = []
        extremes: list[np.ndarray] = []
        counts: list[int] = []
        triangles = 0
        for time_s in request["times_s"]:
            self.stage.seek(request["clip"], time_s)
            points, triangles, meshes = geometry()
            counts.append(len(points))
            if len(points) == 0 or len(points) > request["vertices_max"]:
                return {"vertices": len(points), "triangles": triangles, "usable": False}
            poses.append(points[sample.at(meshes)].astype(np.float32))
            extremes.append(outermost(points) if request.get("outline", True) else points[:1])
        same = len(set(counts)) == 1
        if not same:
            poses = [box_corners(pose) for pose in extremes]
        weights = sample.weights() if same else np.ones(len(poses[0]))
        np.savez(
            request["out"], points=np.stack(poses), extremes=np.stack(extremes), weights=weights
        )
        return {
            "vertices": max(counts),
            "triangles": triangles,
            "same_topology": same,
            "usable": True,
        }

    def _sample(self, request: dict[str, Any]) -> Any:
        """Prepare which vertices are measured, and what each stands for."""
        if self.areas is None:
            assert self.stage is not None
            self.stage.rest()
            self.areas = areas()
        told = request.get("picks")
        told = None if told is None else (told, request["picked_chances"], request["picked_of"])
        return Sample(*self.areas, request["points_max"], told)

    def do_render(self, request: dict[str, Any]) -> dict[str, Any]:
        """Render the listed images, each at its own time and camera, to EXR files.

        The images come sorted by ``time_index``; the surface of each time is written to the folder
        ``surface`` (see ``surface.Recorder``), and ``joints`` adds the skeleton's positions. Each
        image ends with an event that names the part of the frame that its file holds, and what
        was newly recorded, so that the host works on it while the next one is rendered.
        """
        assert self.stage is not None
        device = scene.prepare(request)
        engine.log_device(device)
        recorder = Recorder(request["surface"], request["joints"], request["normals"])
        skeletons = []
        recorded = -1
        for index, image in enumerate(request["images"]):
            self.stage.seek(request["clip"], image["time_s"])
            fresh = image["time_index"] != recorded
            if fresh:
                recorded = image["time_index"]
                recorder.record(recorded)
                if request["joints"]:
                    skeletons.append(joints())
            rig.place(request["lights"], image["centre"], request["scale"], request["offset"])
            part = scene.shoot(image, request, recorder.points if recorder.complete else None)
            news = {"surface": recorder.describe()} if fresh else {}
            self.tell({"event": "image", "index": index, "part": part, **news})
        return {"device": device, "joints": skeletons}


def box_corners(points: Any) -> Any:
    """Stand in for vertices that cannot be followed: the corners of their box, (8, 3)."""
    low, high = points.min(axis=0), points.max(axis=0)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    return low + corners * (high - low)
