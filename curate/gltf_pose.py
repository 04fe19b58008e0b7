"""glTF clips without Blender: where every visible vertex is at any time.

Evaluates nodes, skins and morph targets as Blender 4.5 does after importing the file, in its world
(z up), so that what is measured here is what is rendered there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from curate.draco import decode_draco
from curate.gltf_bodies import Body, Drawn, read_bodies
from curate.gltf_look import camera_tracks, opacities
from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_tracks import Tracks, frames_of, read_tracks, sample
from curate.gltf_tree import read_tree
from curate.quality import Still
from curate.rotations import compose
from render.visible import every_nth, outermost

_BLOCK = 1 << 19  # matrices held at a time: 64 MB
_CHUNK = 256  # vertices skinned together: few joints move one stretch of a mesh
_GATHERED = 8192  # vertices among which the outermost are looked for at once
_PATHS = ("translation", "rotation", "scale")


@dataclass(slots=True)
class _Piece:
    """Some vertices of a body, prepared for posing.

    Attributes:
        body: index of the body whose they are.
        place: columns of the result that they fill, (n,).
        points: (n, 3) and targets (t, n, 3), y up.
        used: the binding's columns that move any of them, (j,); None for a rigid body.
        share: (n, j) weights of those.
        lever: (n, 4 j) weight times position; for a rigid body the position alone, (n, 4).
    """

    body: int
    place: np.ndarray
    points: np.ndarray
    targets: np.ndarray
    used: np.ndarray | None
    share: np.ndarray
    lever: np.ndarray


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
        self._tracks: tuple[int, list[Tracks]] = (-1, [])
        self._pieces: dict[int, list[_Piece]] = {}

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
        """Pose a clip at times (k,): every i-th visible vertex, (k, n, 3) float32, z up.

        The vertices are the same as those of Blender's probe, in the same order.
        """
        step = every_nth(self.vertices, points_max)
        if step not in self._pieces:
            self._pieces = {step: list(self._cut(step))}
        found = np.empty((-(-self.vertices // step), len(times_s), 3), np.float32)
        with np.errstate(all="ignore"):
            for at, poser in self._poses(clip, times_s):
                for piece in self._pieces[step]:
                    found[piece.place, at] = poser.pose(piece)
        return found.swapaxes(0, 1)

    def extremes(self, clip: int, times_s: np.ndarray) -> np.ndarray:
        """Find the outermost of all visible vertices at times (k,): (k, 256, 3), z up."""
        found = [np.zeros((0, 3))] * len(times_s)
        with np.errstate(all="ignore"):
            for at, poser in self._poses(clip, times_s):
                for points in _gathered(poser.pose(piece) for piece in self._cut(1)):
                    for row in range(at.start, at.stop):
                        some = np.concatenate([found[row], points[:, row - at.start]])
                        found[row] = outermost(some)
        return np.stack(found)

    def still(self) -> Still:
        """Pose everything as the file has it where no clip plays."""
        points = np.empty((self.vertices, 3))
        with np.errstate(all="ignore"):
            poser = _Poser(self._bodies, self._worlds([], [], 1), {}, self._column)
            for piece in self._pieces.get(1) or self._cut(1):
                points[piece.place] = poser.pose(piece)[:, 0]
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

    def _cut(self, step: int) -> Iterator[_Piece]:
        """Cut every ``step``-th vertex of all bodies into pieces."""
        before = start = 0
        for number, body in enumerate(self._bodies):
            picked = np.arange(-before % step, len(body.points), step)
            before += len(body.points)
            order = _neighbours(body, picked)
            for at in range(0, len(picked), _CHUNK):
                some = order[at : at + _CHUNK]
                yield _piece(number, body, start + some, picked[some])
            start += len(picked)

    def _poses(self, clip: int, times_s: np.ndarray) -> Iterator[tuple[slice, "_Poser"]]:
        """Pose the nodes at some of the times after the other, as memory allows."""
        tracks = self.tracks(clip)
        frames = frames_of(times_s)
        size = max(_BLOCK // max(len(self._needed), 1), 1)
        for start in range(0, len(frames), size):
            some = frames[start : start + size]
            values = [sample(group, some) for group in tracks]
            worlds = self._worlds(tracks, values, len(some))
            weights = {
                node: value[at]
                for group, value in zip(tracks, values, strict=True)
                if group.path == "weights"
                for at, node in enumerate(group.nodes.tolist())
            }
            yield (
                slice(start, start + len(some)),
                _Poser(self._bodies, worlds, weights, self._column),
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


def _gathered(posed: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Join poses of few vertices, (n, k, 3) each, to some of many: each is then looked at once."""
    waiting: list[np.ndarray] = []
    for points in posed:
        waiting.append(points)
        if sum(map(len, waiting)) >= _GATHERED:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _neighbours(body: Body, picked: np.ndarray) -> np.ndarray:
    """Order vertices so that those of the same joints come together, (n,)."""
    if body.binding is None:
        return np.arange(len(picked))
    numbers, weights = body.binding.numbers[picked], body.binding.weights[picked]
    strongest = np.argsort(-weights, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(numbers, strongest, axis=1).T
    second = np.where(np.take_along_axis(weights, strongest, axis=1)[:, 1] > 0, second, first)
    return np.lexsort((second, first))


def _piece(number: int, body: Body, place: np.ndarray, some: np.ndarray) -> _Piece:
    points, targets = body.points[some], body.targets[:, some]
    whole = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    if body.binding is None:
        return _Piece(number, place, points, targets, None, np.zeros((len(points), 0)), whole)
    numbers, weights = body.binding.numbers[some], body.binding.weights[some]
    used, columns = np.unique(numbers, return_inverse=True)
    columns = columns.reshape(numbers.shape)
    share = np.zeros((len(points), len(used)))
    for slot in range(numbers.shape[1]):
        share[np.arange(len(points)), columns[:, slot]] += weights[:, slot]
    busy = share.any(axis=0)
    used, share = used[busy], share[:, busy]
    lever = (share[:, :, None] * whole[:, None]).reshape(len(points), -1)
    return _Piece(number, place, points, targets, used, share, lever)


class _Poser:
    """Poses pieces at the k times for which world matrices are known."""

    def __init__(
        self,
        bodies: list[Body],
        worlds: np.ndarray,
        weights: dict[int, np.ndarray],
        column: np.ndarray,
    ) -> None:
        self.bodies = bodies
        self.worlds = worlds
        self.weights = weights
        self.column = column
        self._joints: dict[int, np.ndarray] = {}

    def pose(self, piece: _Piece) -> np.ndarray:
        """Place a piece's vertices, (n, k, 3)."""
        body, count = self.bodies[piece.body], len(piece.points)
        matrices = self._matrices(piece)  # (j, 4, k, 3): row vectors times these
        if not len(body.morphs):
            return (piece.lever @ matrices.reshape(matrices.shape[0] * 4, -1)).reshape(count, -1, 3)
        local = piece.points + np.tensordot(self._morphed(body), piece.targets, 1)  # (k, n, 3)
        share = piece.share if piece.used is not None else np.ones((count, 1))
        blend = np.tensordot(share, matrices, 1)  # (n, 4, k, 3)
        return np.einsum("nckj,knc->nkj", blend[:, :3], local) + blend[:, 3]

    def _matrices(self, piece: _Piece) -> np.ndarray:
        body = self.bodies[piece.body]
        if piece.body not in self._joints:
            if body.binding is None:
                joints = self.worlds[self.column[body.node]][None]
            else:
                joints = self.worlds[self.column[body.binding.joints]]
                joints = joints @ body.binding.unbind[:, None]
                owner = self.worlds[self.column[body.binding.owner]]
                joints = np.concatenate([joints, owner[None]])
            self._joints[piece.body] = np.ascontiguousarray(joints[:, :, :3].transpose(0, 3, 1, 2))
        joints = self._joints[piece.body]
        return joints if piece.used is None else joints[piece.used]

    def _morphed(self, body: Body) -> np.ndarray:
        """Weights of the body's morph targets, (k, t), in the range that Blender allows."""
        value = self.weights.get(body.weights)
        if value is None:
            return np.repeat(body.rest[None], self.worlds.shape[1], axis=0)
        return np.clip(value[:, body.morphs], body.range[:, 0], body.range[:, 1])
