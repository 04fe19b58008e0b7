"""Charts to one mesh: shared vertices, outward faces, texture coordinates and bone weights."""

from dataclasses import dataclass

import numpy as np

from render.blender.samples.atlas import Slot
from render.blender.samples.model import Bone
from render.blender.samples.surface import Array, Part

_INFLUENCES = 4  # what glTF stores per vertex


@dataclass(frozen=True)
class Solid:
    """A mesh in arrays.

    Attributes:
        points: (n, 3) metres.
        faces: tuples of 3 or 4 vertex numbers, outward.
        uv: (corners, 2), in the order of the faces' corners.
        labels: (n,) label of the part of each vertex.
        parts: (n,) number of the part of each vertex.
    """

    points: Array
    faces: list[tuple[int, ...]]
    uv: Array
    labels: Array
    parts: Array


def solid(parts: list[Part], slots: list[Slot], size: tuple[int, int]) -> Solid:
    """Join parts into one mesh; ``slots`` are those of the parts' charts, in order."""
    points, faces, uv, labels, numbers = [], [], [], [], []
    taken = first = 0
    for number, part in enumerate(parts):
        mine = slots[taken : taken + len(part.charts)]
        taken += len(part.charts)
        part_points, part_faces, part_uv = _part(part, mine, size)
        faces += [tuple(first + k for k in face) for face in part_faces]
        first += len(part_points)
        points.append(part_points)
        uv += part_uv
        labels += [part.label] * len(part_points)
        numbers += [number] * len(part_points)
    return Solid(np.concatenate(points), faces, np.array(uv), np.array(labels), np.array(numbers))


def _part(
    part: Part, slots: list[Slot], size: tuple[int, int]
) -> tuple[Array, list[tuple[int, ...]], list[tuple[float, float]]]:
    points: list[Array] = []
    texture: list[Array] = []
    quads: list[Array] = []
    first = 0
    for slot in slots:
        u, v = np.meshgrid(slot.chart.u, slot.chart.v)
        points.append(part.world(slot.chart.local(u, v)).reshape(-1, 3))
        w, h = slot.chart.pixels
        x, y = (slot.x + u * w) / size[0], (slot.y + v * h) / size[1]
        texture.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        index = np.arange(u.size).reshape(u.shape) + first
        first += u.size
        corners = [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]]
        quads.append(np.stack(corners, axis=-1).reshape(-1, 4))
    return _welded(np.concatenate(points), np.concatenate(texture), np.concatenate(quads))


def _welded(
    points: Array, texture: Array, quads: Array
) -> tuple[Array, list[tuple[int, ...]], list[tuple[float, float]]]:
    # Coincident grid points (seams, poles, box edges) become one vertex: no cracks in the shading.
    extent = float(np.ptp(points, axis=0).max())
    _, kept, where = np.unique(
        np.round(points / extent, 6) + 0.0, axis=0, return_index=True, return_inverse=True
    )
    where = where.reshape(-1)
    shared = points[kept]
    faces, uv = [], []
    for quad in quads:
        corners: list[tuple[int, int]] = []
        for grid in quad:
            vertex = int(where[grid])
            if all(vertex != seen for seen, _ in corners):
                corners.append((vertex, int(grid)))
        if len(corners) >= 3:
            faces.append(tuple(vertex for vertex, _ in corners))
            uv.append([tuple(texture[grid]) for _, grid in corners])
    if _volume(shared, faces) < 0:
        faces, uv = [face[::-1] for face in faces], [corners[::-1] for corners in uv]
    return shared, faces, [corner for corners in uv for corner in corners]


def _volume(points: Array, faces: list[tuple[int, ...]]) -> float:
    fans = [(f[0], f[k], f[k + 1]) for f in faces for k in range(1, len(f) - 1)]
    a, b, c = (points[list(column)] - points.mean(axis=0) for column in zip(*fans, strict=True))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum())


def weights(mesh: Solid, parts: list[Part], bones: list[Bone]) -> Array:
    """Weigh vertices by the bones of their part: (n, bones), rows sum to 1, four used at most."""
    number = {bone.name: k for k, bone in enumerate(bones)}
    table = np.zeros((len(mesh.points), len(bones)))
    for k, part in enumerate(parts):
        mine = np.flatnonzero(mesh.parts == k)
        for name in part.bones:
            bone = bones[number[name]]
            far = _distance(mesh.points[mine], np.array(bone.head), np.array(bone.tail))
            table[mine, number[name]] = 1 / (far**4 + 1e-8)
    low = np.sort(table, axis=1)[:, -min(_INFLUENCES, len(bones)), None]
    table[table < low] = 0
    table /= table.sum(axis=1, keepdims=True)
    table[table < 0.01] = 0
    return table / table.sum(axis=1, keepdims=True)


def _distance(points: Array, head: Array, tail: Array) -> Array:
    line = tail - head
    share = np.clip((points - head) @ line / (line @ line), 0, 1)
    return np.linalg.norm(points - head - share[:, None] * line, axis=1)
