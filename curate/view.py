"""One asset as its clips are judged: posed by numpy where that is possible, else by Blender.

Most inputs are glTF, and importing one into Blender costs more than all the rules. So Blender opens
such a file only when a clip of it is to be rendered, or when the evaluator hands it over.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from curate.gltf_look import look_digest
from curate.gltf_parts import HandOver
from curate.gltf_plain import importable
from curate.gltf_pose import GltfScene
from curate.inspect import ClipHeader, Inspection
from curate.quality import Still, survey
from curate.retry import persist
from curate.sketch import geometry_sketch
from curate.sources import Source
from render.runner import BlenderFault
from render.session import BlenderSession, OpenedAsset, Unusable
from shards.errors import AssetError

_RGBA_BYTES = 4  # what decoding makes of a pixel


@dataclass(frozen=True, slots=True)
class Poses:
    """The evaluated geometry of a clip at given times; see ``render.session.Probe``.

    Attributes:
        points: (k, n, 3) vertices, z up, asset units; of a large mesh those that
            ``render.visible.thinned`` chooses by the surface they stand for.
        weights: (n,) how much surface each stands for, in no given unit.
        extremes: finds the outermost vertices of the whole mesh, (k, d, 3); what ``points`` holds
            already may be missing. Asked only for clips that pass the rules: it costs more than
            the poses.
        vertices, triangles: counts of the whole.
    """

    points: np.ndarray
    weights: np.ndarray
    extremes: Callable[[], np.ndarray]
    vertices: int
    triangles: int


class AssetView:
    """Gives the poses of an asset's clips, and opens it in Blender once.

    Attributes:
        inspection: what the gate found.
        clips: of the file, in order.
        vertices, triangles: of everything visible at rest.
        warnings: what is amiss with the asset, as far as no Blender was asked.
        opened: what Blender found; None until it was asked.
    """

    def __init__(self, source: Source, inspection: Inspection, session: BlenderSession) -> None:
        """Read the asset.

        Raises:
            BlenderFault: only Blender can pose it, and could not open it.
            AssetError: its content is broken beyond what the gate sees.
        """
        self._source = source
        self.inspection = inspection
        self._session = session
        self._fault: BlenderFault | None = None
        self.opened: OpenedAsset | None = None
        self.warnings = list(inspection.warnings)
        self._scene: GltfScene | None = None
        if inspection.parts is not None:
            try:
                self._scene = GltfScene(inspection.parts)
            except HandOver as reason:
                self.warnings.append(f"posed by Blender: {reason}")
            except AssetError:
                raise
            except Exception as error:  # a defect here must be seen, and must not cost the asset
                self.warnings.append(f"posed by Blender: {type(error).__name__}: {error}")
        if self._scene is not None:
            self.warnings += self._scene.warnings
            self.vertices, self.triangles = self._scene.vertices, self._scene.triangles
        else:
            opened = self.open()
            self.vertices, self.triangles = opened.vertices, opened.triangles
        self.clips = inspection.clips or ()
        if inspection.clips is None and self.opened is not None:
            named = enumerate(self.opened.clips)
            self.clips = tuple(ClipHeader(i, clip.name, clip.duration_s) for i, clip in named)

    def survey(self, triangles_max: int) -> dict[str, Any]:
        """Measure the asset at rest: the columns of the ledger that all its clips share.

        Larger geometry is not looked at.

        Raises:
            BlenderFault: Blender had to be asked, and failed.
        """
        pixels, missing = self.inspection.pixels, self.inspection.missing_images
        if self.opened is not None and pixels is None:
            pixels, missing = self.opened.pixels, self.opened.missing_images
        found: dict[str, Any] = {
            "collision_meshes": self._hulls(),
            "texture_mb": None if pixels is None else round(pixels * _RGBA_BYTES / 2**20, 6),
            "missing_textures": missing,
        }
        if self.triangles > triangles_max:
            return found
        still, look = self._still()
        found["look"] = look
        if (scores := survey(still)) is not None:
            found |= {name: round(value, 6) for name, value in asdict(scores).items()}
        if (sketch := geometry_sketch(still)) is not None:
            found["geometry"] = sketch.encode()
        return found

    def _hulls(self) -> int | None:
        if self._scene is not None:
            return self._scene.hulls
        return None if self.opened is None else self.opened.hulls

    def _still(self) -> tuple[Still, str]:
        if self._scene is not None and self.inspection.parts is not None:
            return self._scene.still(), look_digest(self.inspection.parts)
        self.open()
        found = self._session.still()
        return Still(found.points, found.triangles.astype(np.int64), found.opacity), found.look

    def open(self) -> OpenedAsset:
        """Open the asset in Blender, the first time it is asked for.

        Raises:
            BlenderFault: it could not be opened; the same fault again where it is known.
        """
        if self._fault is not None:
            raise self._fault
        if self.opened is None:
            durations = None
            if self.inspection.clips is not None:
                durations = [clip.duration_s for clip in self.inspection.clips]
            file, format = importable(
                self._source.file, self.inspection, self._session.process.scratch
            )
            try:
                self.opened = persist(
                    lambda: self._session.open(file, format, durations),
                    self._session.limits.retry,
                )
            except BlenderFault as fault:
                self._fault = fault
                raise
        return self.opened

    def probe(
        self, clip_index: int, times_s: np.ndarray, vertices_max: int, points_max: int
    ) -> Poses | Unusable:
        """Pose a clip at times (seconds from its start).

        Raises:
            BlenderFault: Blender had to be asked, and failed.
        """
        if self._scene is not None:
            if not 0 < self._scene.vertices <= vertices_max:
                return Unusable(self._scene.vertices)
            try:
                return self._pose(self._scene, clip_index, times_s, points_max)
            except HandOver:
                pass
        self.open()
        picks = None if self._scene is None else self._scene.picks(points_max)
        probe = self._session.probe(clip_index, times_s, vertices_max, points_max, picks)
        if isinstance(probe, Unusable):
            return probe
        return Poses(
            probe.points, probe.weights, lambda: probe.extremes, probe.vertices, probe.triangles
        )

    def tracks(self, clip_index: int) -> tuple[int, int] | None:
        """Count a clip's tracks and those that never change; None where only Blender could say."""
        if self._scene is None:
            return None
        try:
            tracks = self._scene.tracks(clip_index)
        except HandOver:
            return None
        return sum(len(t.nodes) for t in tracks), sum(t.constant for t in tracks)

    def aims(self, clip_index: int) -> tuple[int, int] | None:
        """Count a clip's tracks that move anything visible, and those of cameras and lights.

        None where nobody has looked yet.
        """
        if self._scene is not None:
            try:
                return self._scene.aims(clip_index)
            except HandOver:
                pass
        if self.opened is None or clip_index >= len(self.opened.clips):
            return None
        return self.opened.clips[clip_index].aims

    def _pose(
        self, scene: GltfScene, clip_index: int, times_s: np.ndarray, points_max: int
    ) -> Poses:
        posed = scene.points(clip_index, times_s, points_max)

        def extremes() -> np.ndarray:
            if scene.vertices <= points_max:
                return posed.points[:, :0]  # nothing is left out
            return scene.extremes(clip_index, times_s).astype(np.float64)

        return Poses(posed.points, posed.weights, extremes, scene.vertices, scene.triangles)
