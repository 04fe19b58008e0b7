"""glTF clips without Blender: where every visible vertex is at any time.

Evaluates nodes, skins and morph targets as Blender 4.5 does after importing the file, in its world
(z up), so that what is measured here is what is rendered there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from curate.decoders import decode_draco
from curate.gltf_bodies import Drawn, read_bodies
from curate.gltf_look import camera_tracks, opacities
from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_pieces import Cut, Poser, cut_bodies, list_bones
from curate.gltf_tracks import Tracks, frames_of, read_tracks, sample_all
from curate.gltf_tree import read_tree
from curate.quality import Still
from curate.rotations import affine
from render.visible import Picks, area_growth, outermost, thinned, vertex_areas

_BLOCK = 1 << 19  # matrices held at a time: 64 MB
_KEPT = 200_000  # vertices whose pieces are kept
_GATHERED = 8192  # vertices among which the outermost are looked for at once
_PATHS = ("translation", "rotation", "scale")


@dataclass(frozen=True, slots=True)
class Posed:
    """Vertices of a clip at k times.

    Attributes:
        points: (k, d, 3) float32, z up; those that always move alike stand for each other.
        weights: (d,) how much surface each stands for, the mean over the times, in no given unit.
        place: (n,) which of them each measured vertex is, in the order of Blender's probe.
    """

    points: np.ndarray
    weights: np.ndarray
    place: np.ndarray


class GltfScene:
    """All that is needed to pose an asset: made once, asked for each of its clips.

    Attributes:
        vertices, triangles: of everything visible.
        warnings: what is left out, one sentence each.
        hulls: how many collision meshes are.
    """

    def __init__(self, parts: GltfParts) -> None:
        """Read nodes, meshes and skins.

        Raises:
            HandOver: Blender must be asked instead.
            AssetError: a Draco stream cannot be decoded.
        """
        self._parts = parts
        decoded: dict[bytes, Drawn] = {}

        def decode(data: bytes) -> Drawn:
            if data not in decoded:
                decoded[data] = decode_draco(data, parts.doc.limits)
            return decoded[data]

        with np.errstate(all="ignore"):  # numbers may overflow; the result is checked
            self._tree = read_tree(parts)
            self._bodies, self.warnings = read_bodies(parts, self._tree, decode)
        self._sizes = [len(body.points) for body in self._bodies]
        self.vertices = sum(self._sizes)
        self.triangles = sum(len(body.triangles) for body in self._bodies)
        self.hulls = len(self.warnings)
        self._needed, self._column, self._levels = self._plan()
        rest = (self._tree.translation, self._tree.rotation, self._tree.scale)
        with np.errstate(all="ignore"):
            self._rest = affine(*(values[self._needed] for values in rest))
        owners = [b.node if b.binding is None else b.binding.owner for b in self._bodies]
        columns = self._column[np.array(owners, np.int64)]
        self._owners = np.unique(columns, return_inverse=True)
        self._bones = list_bones(self._bodies, self._column)
        self._tracks: tuple[int, list[Tracks]] = (-1, [])
        self._cuts: dict[int, Cut] = {}
        self._areas: np.ndarray | None = None
        self._picked: dict[int, Picks] = {}
        self._whole: list[Cut] = []

    def tracks(self, clip: int) -> list[Tracks]:
        """Read a clip's tracks.

        Raises:
            HandOver: Blender must be asked instead.
        """
        if self._tracks[0] != clip:
            tracks = read_tracks(self._parts, clip)
            width = {
                node: t.values.shape[2]
                for t in tracks
                if t.path == "weights"
                for node in t.nodes.tolist()
            }
            for body in self._bodies:
                if len(body.morphs) and width.get(body.weights, 1 << 30) <= body.morphs.max():
                    raise HandOver("a weights track does not fit the morph targets")
            self._tracks = clip, tracks
        return self._tracks[1]

    def points(self, clip: int, times_s: np.ndarray, points_max: int) -> Posed:
        """Pose ``picks`` of the visible vertices at times (k,)."""
        picks = self.picks(points_max)
        if points_max not in self._cuts:
            self._cuts = {points_max: self._cut(picks.indices)}
        cut = self._cuts[points_max]
        growth = np.zeros(len(self._bodies))
        found: list[np.ndarray] = []
        with np.errstate(all="ignore"):
            for _, poser in self._poses(clip, times_s):
                found.append(poser.pose(cut))
                growth += self._growth(poser.worlds).sum(axis=1)
        points = found[0] if len(found) == 1 else np.concatenate(found)
        stand_for = self._vertex_areas()[picks.indices] / picks.chances
        stand_for = stand_for * np.repeat(growth / len(times_s), self._sizes)[picks.indices]
        return Posed(points, np.bincount(cut.back, stand_for, cut.count), cut.back)

    def picks(self, points_max: int) -> Picks:
        """Choose which vertices are measured: all, or of more than ``points_max`` so many."""
        if points_max not in self._picked:
            with np.errstate(all="ignore"):
                growth = self._growth(self._worlds([], [], 1))[:, 0]
            areas = self._vertex_areas() * np.repeat(growth, self._sizes)
            self._picked = {points_max: thinned(areas, points_max)}
        return self._picked[points_max]

    def _vertex_areas(self) -> np.ndarray:
        """Tell how much surface each vertex stands for, in its mesh's own space, (n,)."""
        if self._areas is None:
            known: dict[tuple[int, int], np.ndarray] = {}  # nodes may share a mesh
            found = [np.zeros(0)]
            for body in self._bodies:
                key = id(body.points), id(body.triangles)
                if key not in known:
                    points = body.points.astype(np.float32)  # as Blender holds them
                    known[key] = vertex_areas(points, body.triangles)
                found.append(known[key])
            self._areas = np.concatenate(found)
        return self._areas

    def _growth(self, worlds: np.ndarray) -> np.ndarray:
        """Say how much the areas of each body grow by its object's matrix, (b, k)."""
        owners, same = self._owners
        return area_growth(worlds[:, :3, owners])[same]

    def extremes(self, clip: int, times_s: np.ndarray) -> np.ndarray:
        """Find the outermost of all visible vertices at times (k,): (k, 256, 3), z up."""
        found = [np.zeros((0, 3))] * len(times_s)
        with np.errstate(all="ignore"):
            for at, poser in self._poses(clip, times_s):
                for cut in self._everything():
                    points = poser.pose(cut)
                    for row in range(at.start, at.stop):
                        some = np.concatenate([found[row], points[row - at.start]])
                        found[row] = outermost(some)
        return np.stack(found)

    def still(self) -> Still:
        """Pose everything as the file has it where no clip plays."""
        points = np.empty((self.vertices, 3))
        with np.errstate(all="ignore"):
            poser = Poser(self._bodies, self._bones, self._worlds([], [], 1), {})
            start = 0
            for cut in self._everything():
                stop = start + len(cut.back)
                points[start:stop] = poser.pose(cut)[0, cut.back]
                start = stop
        before = np.cumsum([0, *self._sizes])
        corners = [body.triangles + n for body, n in zip(self._bodies, before, strict=False)]
        none = np.zeros(0, np.int64)
        triangles = np.concatenate([none.reshape(0, 3), *corners])
        made_of = np.concatenate([none, *(body.materials for body in self._bodies)])
        # the importer drops what names a vertex twice: strips are cut with such triangles
        real = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
        return Still(points, triangles[real], opacities(self._parts.doc)[made_of[real]])

    def aims(self, clip: int) -> tuple[int, int]:
        """Count the tracks of a clip that move anything visible, and those of cameras and lights.

        Raises:
            HandOver: Blender must be asked instead.
        """
        visible = 0
        morphing = {body.weights for body in self._bodies}
        for group in self.tracks(clip):
            if group.path == "weights":
                visible += sum(node in morphing for node in group.nodes.tolist())
            else:
                visible += int((self._column[group.nodes] >= 0).sum())
        return visible, camera_tracks(self._parts, clip)

    def _everything(self) -> Iterable[Cut]:
        """Cut all vertices, some at a time; what is not too large is kept for the next clip."""
        if self._whole:
            return self._whole
        starts = range(0, self.vertices, _GATHERED)
        cuts = (
            self._cut(np.arange(start, min(start + _GATHERED, self.vertices))) for start in starts
        )
        if self.vertices > _KEPT:
            return cuts
        self._whole = list(cuts)
        return self._whole

    def _plan(self) -> tuple[np.ndarray, np.ndarray, list[tuple[slice, np.ndarray]]]:
        """Find the nodes whose world matrices are needed, and put them in order of their depth.

        Returns:
            Tree indices (m,); place of each tree index in that order, -1 if not needed; and per
            level the nodes' places and their parents' (-1: none).
        """
        nodes = self._tree.nodes
        wanted = {body.node for body in self._bodies}
        for body in self._bodies:
            if body.binding is not None:
                wanted |= set(body.binding.joints.tolist()) | {body.binding.owner}
        needed: set[int] = set()
        for index in wanted:
            while index >= 0 and index not in needed:
                needed.add(index)
                index = nodes[index].parent
        depth: dict[int, int] = {}
        for index in (i for i in self._tree.order() if i in needed):
            depth[index] = depth.get(nodes[index].parent, -1) + 1
        order = sorted(depth, key=depth.__getitem__)
        column = np.full(len(nodes) + 1, -1, np.int64)  # the last: no node, so the origin
        column[order] = np.arange(len(order))
        parents = column[[nodes[index].parent for index in order]]
        ends = np.cumsum(np.bincount([depth[index] for index in order])).tolist() if order else []
        levels = [
            (slice(start, end), parents[start:end])
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        return np.array(order, np.int64), column, levels

    def _cut(self, picks: np.ndarray) -> Cut:
        return cut_bodies(self._bodies, self._bones, picks)

    def _poses(self, clip: int, times_s: np.ndarray) -> Iterator[tuple[slice, "Poser"]]:
        """Pose the nodes at some of the times after the other, as memory allows."""
        tracks = self.tracks(clip)
        frames = frames_of(times_s)
        size = max(_BLOCK // max(len(self._needed), 1), 1)
        for start in range(0, len(frames), size):
            some = frames[start : start + size]
            values = sample_all(tracks, some)
            worlds = self._worlds(tracks, values, len(some))
            weights = {
                node: value[at]
                for group, value in zip(tracks, values, strict=True)
                if group.path == "weights"
                for at, node in enumerate(group.nodes.tolist())
            }
            yield (
                slice(start, start + len(some)),
                Poser(self._bodies, self._bones, worlds, weights),
            )

    def _worlds(self, tracks: list[Tracks], values: list[np.ndarray], count: int) -> np.ndarray:
        """World matrices of the needed nodes, z up, without their last row, (3, 4, m + 1, k).

        The last is the origin.
        """
        tree, needed = self._tree, self._needed
        named = [group.nodes for group in tracks if group.path in _PATHS]
        moved = np.unique(np.concatenate([*named, np.zeros(0, np.int64)]))
        moved = moved[self._column[moved] >= 0]
        rest = {"translation": tree.translation, "rotation": tree.rotation, "scale": tree.scale}
        own = {path: np.repeat(rest[path][moved, None], count, axis=1) for path in _PATHS}
        place = np.full(len(self._column), -1, np.int64)
        place[moved] = np.arange(len(moved))
        for group, value in zip(tracks, values, strict=True):
            if group.path in own:
                at = place[group.nodes]
                own[group.path][at[at >= 0]] = value[at >= 0]
        local = np.empty((3, 4, len(needed), count))
        local[:] = self._rest[..., None]
        local[:, :, self._column[moved]] = affine(*(own[path] for path in _PATHS))
        local[1, 3] += tree.lift[needed, None]
        worlds = np.empty((3, 4, len(needed) + 1, count))
        worlds[:, :, -1] = _Z_UP[..., None]
        for places, parents in self._levels:
            above = worlds[:, :, parents]
            level = worlds[:, :, places]
            np.einsum("iank,ajnk->ijnk", above[:, :3], local[:, :, places], out=level)
            level[:, 3] += above[:, 3]
        return worlds


_Z_UP = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
