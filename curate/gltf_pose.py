"""glTF clips without Blender: where every visible vertex is at any time.

Evaluates nodes, skins and morph targets as Blender 4.5 does after importing the file, in its world
(z up), so that what is measured here is what is rendered there.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from curate.draco import decode_draco
from curate.gltf_bodies import Drawn, read_bodies
from curate.gltf_look import camera_tracks, opacities
from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_pieces import Cut, Poser, cut_bodies, list_bones
from curate.gltf_tracks import Tracks, frames_of, read_tracks, sample_all
from curate.gltf_tree import read_tree
from curate.quality import Still
from curate.rotations import compose
from render.visible import Picks, outermost, thinned, vertex_areas

_BLOCK = 1 << 19  # matrices held at a time: 64 MB
_KEPT = 200_000  # vertices whose pieces are kept
_TURNED = 512  # vertices whose axes are swapped together, so that they stay in the cache
_GATHERED = 8192  # vertices among which the outermost are looked for at once
_PATHS = ("translation", "rotation", "scale")


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
        self.vertices = sum(len(body.points) for body in self._bodies)
        self.triangles = sum(len(body.triangles) for body in self._bodies)
        self.hulls = len(self.warnings)
        self._needed, self._column, self._levels = self._plan()
        rest = (self._tree.translation, self._tree.rotation, self._tree.scale)
        with np.errstate(all="ignore"):
            self._rest = compose(*(values[self._needed] for values in rest))
        self._bones = list_bones(self._bodies, self._column)
        self._tracks: tuple[int, list[Tracks]] = (-1, [])
        self._cuts: dict[int, Cut] = {}
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

    def points(self, clip: int, times_s: np.ndarray, points_max: int) -> np.ndarray:
        """Pose a clip at times (k,): ``picks`` of the visible vertices, (k, n, 3) float32, z up.

        They come in the order of Blender's probe.
        """
        picks = self.picks(points_max).indices
        if points_max not in self._cuts:
            self._cuts = {points_max: self._cut(picks)}
        cut = self._cuts[points_max]
        found = np.empty((len(times_s), len(picks), 3), np.float32)
        with np.errstate(all="ignore"):
            for at, poser in self._poses(clip, times_s):
                _turn(poser.pose(cut.pieces), cut.back, found[at])
        return found

    def picks(self, points_max: int) -> Picks:
        """Choose which vertices are measured: all, or of more than ``points_max`` so many."""
        if points_max not in self._picked:
            few = self.vertices <= points_max
            areas = np.ones(self.vertices) if few else self._areas()
            self._picked = {points_max: Picks(thinned(areas, points_max), self.vertices)}
        return self._picked[points_max]

    def _areas(self) -> np.ndarray:
        """Tell how much surface each vertex stands for at rest, (n,); see ``vertex_areas``."""
        with np.errstate(all="ignore"):
            worlds = self._worlds([], [], 1)[:, 0]
            found = [np.zeros(0)]
            for body in self._bodies:
                owner = body.node if body.binding is None else body.binding.owner
                growth = abs(np.linalg.det(worlds[self._column[owner]][:3, :3])) ** (2 / 3)
                points = body.points.astype(np.float32)  # as Blender holds them
                found.append(vertex_areas(points, body.triangles) * growth)
        return np.concatenate(found)

    def extremes(self, clip: int, times_s: np.ndarray) -> np.ndarray:
        """Find the outermost of all visible vertices at times (k,): (k, 256, 3), z up."""
        found = [np.zeros((0, 3))] * len(times_s)
        with np.errstate(all="ignore"):
            for at, poser in self._poses(clip, times_s):
                for cut in self._everything():
                    points = np.empty((at.stop - at.start, len(cut.back), 3), np.float32)
                    _turn(poser.pose(cut.pieces), cut.back, points)
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
                points[start:stop] = poser.pose(cut.pieces)[cut.back, 0]
                start = stop
        before = np.cumsum([0, *(len(body.points) for body in self._bodies)])
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
        """World matrices of the needed nodes, (m + 1, k, 4, 4), z up; the last is the origin."""
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
        local = np.empty((len(needed), count, 4, 4))
        local[:] = self._rest[:, None]
        local[self._column[moved]] = compose(*(own[path] for path in _PATHS))
        local[..., 1, 3] += tree.lift[needed, None]
        worlds = np.empty((len(needed) + 1, count, 4, 4))
        worlds[-1] = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
        for places, parents in self._levels:
            np.matmul(worlds[parents], local[places], out=worlds[places])
        return worlds


_VECTOR = np.dtype("V12")  # three single floats, moved as one


def _turn(posed: np.ndarray, order: np.ndarray, found: np.ndarray) -> None:
    """Put rows of (n, k, 3) into their order and swap axes into (k, n, 3), some at a time."""
    rows, columns = posed.view(_VECTOR)[..., 0], found.view(_VECTOR)[..., 0]
    for start in range(0, len(order), _TURNED):
        some = slice(start, start + _TURNED)
        columns[:, some] = rows.take(order[some], axis=0).T
