"""Vertices cut into pieces that few bones move, so that one product poses a piece at all times.

Files split vertices at every seam; those that are equal in all that moves them are posed once.
"""

from dataclasses import dataclass

import numpy as np

from curate.gltf_bodies import Body

_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio (Knuth, multiplicative hashing)
_CHUNK = 128  # vertices posed together: few bones move one stretch of a mesh


@dataclass(frozen=True, slots=True)
class Bones:
    """What moves vertices, of all bodies together: joints, and the nodes of rigid bodies.

    Attributes:
        columns: of the world matrices, (b,).
        unbind: (b, 4, 4) from the vertices' space to the bone's, for row vectors.
        first: per body, the place of its own bones among them.
    """

    columns: np.ndarray
    unbind: np.ndarray
    first: list[int]


@dataclass(slots=True)
class Piece:
    """Some vertices that are posed together, in the order of the bones that move them.

    Attributes:
        start, stop: places that they fill.
        used: the bones that move any of them, (j,).
        share: (n, j) float32 weights of those.
        lever: (n, 4 j) float32, weight times position.
        body: whose vertices they are, if it has morph targets; else -1.
        points: (n, 3) and targets (t, n, 3) of such a body.
    """

    start: int
    stop: int
    used: np.ndarray
    share: np.ndarray
    lever: np.ndarray
    body: int
    points: np.ndarray
    targets: np.ndarray


@dataclass(slots=True)
class Cut:
    """Vertices in pieces; ``back`` names the place of each vertex, (n,), one for equal ones."""

    pieces: list[Piece]
    back: np.ndarray

    @property
    def count(self) -> int:
        """How many vertices differ."""
        return self.pieces[-1].stop if self.pieces else 0


def list_bones(bodies: list[Body], column: np.ndarray) -> Bones:
    """List the bones of all bodies; bodies of one skin share theirs."""
    columns: list[np.ndarray] = [np.zeros(0, np.int64)]
    unbind: list[np.ndarray] = [np.zeros((0, 4, 4))]
    first: list[int] = []
    known: dict[bytes, int] = {}
    count = 0
    for body in bodies:
        nodes, back = np.array([body.node]), np.eye(4)[None]
        if body.binding is not None:
            nodes = np.append(body.binding.joints, body.binding.owner)
            back = np.concatenate([body.binding.unbind, back])
        key = nodes.tobytes() + back.tobytes()
        if key not in known:
            known[key] = count
            columns.append(column[nodes])
            unbind.append(back.swapaxes(1, 2))
            count += len(nodes)
        first.append(known[key])
    return Bones(np.concatenate(columns), np.concatenate(unbind), first)


def cut_bodies(bodies: list[Body], bones: Bones, picks: np.ndarray) -> Cut:
    """Cut vertices, given by ascending indices, into pieces that few bones move.

    Bodies whose vertices only bones move are cut together; each other one on its own.
    """
    together: list[_Some] = []
    alone: list[tuple[int, _Some]] = []
    before = start = 0
    for number, body in enumerate(bodies):
        stop = int(np.searchsorted(picks, before + len(body.points)))
        picked = picks[start:stop] - before
        before += len(body.points)
        if len(picked):
            some = _some(body, picked, start, bones.first[number])
            alone.append((number, some)) if len(body.morphs) else together.append(some)
        start = stop
    pieces: list[Piece] = []
    back = np.empty(len(picks), np.int64)
    groups = [(-1, _joined(together))] if together else []
    for number, some in [*groups, *alone]:
        places, (some, same) = some.place, _distinct(some)
        order = _neighbours(some)
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order)) + (pieces[-1].stop if pieces else 0)
        back[places] = row[same]
        for at in range(0, len(order), _CHUNK):
            few = order[at : at + _CHUNK]
            first = pieces[-1].stop if pieces else 0
            pieces.append(_piece(number, some, few, first))
    return Cut(pieces, back)


@dataclass(slots=True)
class _Some:
    """Some vertices: their places in the result (n,), positions, targets, bones and weights."""

    place: np.ndarray
    points: np.ndarray
    targets: np.ndarray
    numbers: np.ndarray
    weights: np.ndarray


def _some(body: Body, picked: np.ndarray, start: int, first_bone: int) -> _Some:
    numbers, weights = np.zeros((len(picked), 1), np.int64), np.ones((len(picked), 1))
    if body.binding is not None:
        numbers, weights = body.binding.numbers[picked], body.binding.weights[picked]
    place = np.arange(start, start + len(picked))
    points, targets = body.points[picked], body.targets[:, picked]
    return _Some(place, points, targets, numbers + first_bone, weights)


def _joined(some: list[_Some]) -> _Some:
    """Join vertices without morph targets; bones that are missing have no weight."""
    width = max(one.numbers.shape[1] for one in some)
    gaps = [((0, 0), (0, width - one.numbers.shape[1])) for one in some]
    numbers = [np.pad(one.numbers, gap, "edge") for one, gap in zip(some, gaps, strict=True)]
    weights = [np.pad(one.weights, gap) for one, gap in zip(some, gaps, strict=True)]
    points = np.concatenate([one.points for one in some])
    return _Some(
        np.concatenate([one.place for one in some]), points, np.zeros((0, len(points), 3)),
        np.concatenate(numbers), np.concatenate(weights),
    )  # fmt: skip


def _distinct(some: _Some) -> tuple[_Some, np.ndarray]:
    """Take vertices that are equal in all that moves them once; files split them at every seam.

    Returns:
        The different ones, and for each of the given its place among them, (n,).
    """
    count = len(some.points)
    if len(some.targets):
        return some, np.arange(count)
    floats = np.concatenate([some.points, some.weights], axis=1).view(np.uint64)
    words = np.concatenate([floats, some.numbers.astype(np.uint64)], axis=1)
    mixed = np.zeros(count, np.uint64)
    for column in words.T:
        mixed = (mixed ^ column) * _MIX
        mixed ^= mixed >> np.uint64(32)
    _, first, same = np.unique(mixed, return_index=True, return_inverse=True)
    if not (words == words[first][same]).all():  # two have one hash
        return some, np.arange(count)
    return _Some(
        some.place[first], some.points[first], some.targets[:, first], some.numbers[first],
        some.weights[first],
    ), same  # fmt: skip


def _neighbours(some: _Some) -> np.ndarray:
    """Order vertices so that those of the same bones come together, (n,)."""
    first, second = some.numbers[:, 0], some.numbers[:, 0]
    if some.numbers.shape[1] > 1:
        strongest = np.argsort(-some.weights, axis=1, kind="stable")[:, :2]
        first, second = np.take_along_axis(some.numbers, strongest, axis=1).T
        second = np.where(
            np.take_along_axis(some.weights, strongest, axis=1)[:, 1] > 0, second, first
        )
    return np.lexsort((second, first))


def _piece(body: int, some: _Some, few: np.ndarray, start: int) -> Piece:
    points, numbers, weights = some.points[few], some.numbers[few], some.weights[few]
    used = np.flatnonzero(np.bincount(numbers.reshape(-1)))
    columns = (np.cumsum(np.bincount(used)) - 1)[numbers]
    share = np.zeros((len(few), len(used)))
    for slot in range(numbers.shape[1]):
        share[np.arange(len(few)), columns[:, slot]] += weights[:, slot]
    busy = share.any(axis=0)
    used, share = used[busy], share[:, busy]
    whole = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    lever = (share[:, :, None] * whole[:, None]).reshape(len(points), -1)
    return Piece(
        start, start + len(few), used, share.astype(np.float32), lever.astype(np.float32), body,
        points, some.targets[:, few],
    )  # fmt: skip


class Poser:
    """Poses pieces at the k times for which world matrices are known."""

    def __init__(
        self, bodies: list[Body], bones: Bones, worlds: np.ndarray, weights: dict[int, np.ndarray]
    ) -> None:
        self.bodies = bodies
        self.weights = weights
        self.worlds = worlds
        self.count = worlds.shape[3]
        turned = worlds[:, :, bones.columns].transpose(2, 1, 3, 0)  # (b, 4, k, 3)
        moved = np.matmul(bones.unbind, turned.reshape(len(bones.columns), 4, 3 * self.count))
        self.bones = moved.astype(np.float32)  # (b, 4, k * 3), row vectors times these

    def pose(self, cut: Cut) -> np.ndarray:
        """Place the different vertices of a cut: (k, d, 3) float32, each axis in one stretch."""
        found = np.empty((self.count * 3, cut.count), np.float32)
        for piece in cut.pieces:
            matrices = self.bones.take(piece.used, axis=0)  # (j, 4, k * 3)
            columns = found[:, piece.start : piece.stop]
            if piece.body < 0:
                np.matmul(matrices.reshape(-1, len(found)).T, piece.lever.T, out=columns)
                continue
            local = piece.points.T[:, None] + np.einsum(
                "kt,tni->ikn", self._morphed(piece.body), piece.targets, optimize=True
            )
            blend = np.tensordot(matrices, piece.share, ([0], [1]))  # (4, k * 3, n)
            local = np.repeat(local.astype(np.float32), 3, axis=1)
            np.add(np.einsum("ckn,ckn->kn", blend[:3], local), blend[3], out=columns)
        return found.reshape(self.count, 3, cut.count).swapaxes(1, 2)

    def _morphed(self, number: int) -> np.ndarray:
        """Weights of a body's morph targets, (k, t), in the range that Blender allows."""
        body = self.bodies[number]
        value = self.weights.get(body.weights)
        if value is None:
            return np.repeat(body.rest[None], self.count, axis=0)
        return np.clip(value[:, body.morphs], body.range[:, 0], body.range[:, 1])
