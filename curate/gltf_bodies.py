"""What a glTF shows: the vertices of each visible mesh, their morph targets and joints.

Vertices come in the order in which Blender's importer makes them: primitive by primitive, those
that the primitive's indices use, in the order of their numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curate.gltf_file import Row, extension, rows
from curate.gltf_parts import INTERPOLATIONS, PATHS, GltfParts, HandOver
from curate.gltf_tree import Node, Tree, inverse_binds
from curate.gltf_values import finite_floats, read_floats, read_integers
from render.visible import collision_hulls

_DRACO = "KHR_draco_mesh_compression"
_LOOSE = 1e-4  # vertices bound less than this stay where they are
_SAME = 1e-6
_NUMBERS_MAX = 60_000_000  # of one mesh, beside its positions: 480 MB

Drawn = dict[str, np.ndarray]  # attribute name -> values, and "indices"
Decode = Callable[[bytes], Drawn]


@dataclass(frozen=True, slots=True)
class Binding:
    """How vertices hang from joints.

    Attributes:
        joints: tree indices of the joints, (j,).
        unbind: (j, 4, 4) armature to bone space at bind time.
        owner: the armature, -1 for one at the origin.
        numbers: (n, s) columns of ``joints``; column j stands for the armature itself.
        weights: (n, s), rows sum to 1.
    """

    joints: np.ndarray
    unbind: np.ndarray
    owner: int
    numbers: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class Body:
    """One visible mesh.

    Attributes:
        node: tree index; its world matrix places the vertices unless they are bound to joints.
        points: (n, 3) in the mesh's space, y up.
        targets: (t, n, 3) displacements by morph targets.
        morphs: which of the mesh's targets those are; some displace nothing.
        weights: glTF node whose channels move the targets, -1 for none.
        rest: (t,) weights where nothing moves them.
        range: (t, 2) least and largest weight that Blender applies.
        triangles: (m, 3) vertices of each.
        materials: (m,) what each is made of, -1 for nothing in particular.
    """

    node: int
    points: np.ndarray
    targets: np.ndarray
    morphs: np.ndarray
    weights: int
    rest: np.ndarray
    range: np.ndarray
    binding: Binding | None
    triangles: np.ndarray
    materials: np.ndarray


@dataclass(frozen=True, slots=True)
class _Mesh:
    """A mesh as the file has it, before any node uses it."""

    points: np.ndarray
    targets: np.ndarray
    morphs: np.ndarray
    joints: np.ndarray  # (n, s) and weights, s a multiple of 4, 0 when it is never skinned
    weights: np.ndarray
    triangles: np.ndarray
    materials: np.ndarray


def read_bodies(parts: GltfParts, tree: Tree, decode: Decode) -> tuple[list[Body], list[str]]:
    """Read every visible mesh, collision hulls left out.

    Returns:
        Bodies in the order in which Blender lists them, and one warning for each hull.

    Raises:
        HandOver: something that Blender's importer stumbles over, or that is not followed here.
        AssetError: a Draco stream cannot be decoded.
    """
    reader = _Reader(parts, tree, decode)
    drawn = [i for i in tree.order() if tree.nodes[i].mesh >= 0]
    names = [reader.names(tree.nodes[i]) for i in drawn]
    hulls = collision_hulls(names)
    warnings = [
        f"collision mesh {name!r} is left out"
        for (name, _), is_hull in zip(names, hulls, strict=True)
        if is_hull
    ]
    bodies = [
        reader.body(i)
        for i, is_hull in zip(drawn, hulls, strict=True)
        if tree.nodes[i].shown and not is_hull
    ]
    return bodies, warnings


class _Reader:
    def __init__(self, parts: GltfParts, tree: Tree, decode: Decode) -> None:
        self.parts = parts
        self.tree = tree
        self.decode = decode
        self.table = rows(parts.doc.json, "meshes")
        self.skins = rows(parts.doc.json, "skins")
        self.nodes = rows(parts.doc.json, "nodes")
        self.read: dict[tuple[int, bool], _Mesh] = {}
        self.firsts = _first_weights(parts)

    def names(self, node: Node) -> tuple[str, str]:
        """Name object and mesh as Blender does; the mesh's name serves both where need be."""
        mesh = self.table[node.mesh].get("name")
        mesh = mesh if isinstance(mesh, str) and mesh else f"Mesh_{node.mesh}"
        return node.name or mesh, mesh

    def body(self, index: int) -> Body:
        """Read one node's mesh."""
        node = self.tree.nodes[index]
        key = (node.mesh, node.skin >= 0)
        if key not in self.read:
            self.read[key] = self._mesh(self.table[node.mesh], node.skin >= 0)
        mesh = self.read[key]
        if node.weights < 0 and len(mesh.morphs):
            raise HandOver("an instanced mesh has morph targets")
        points, targets, binding = mesh.points, mesh.targets, None
        if node.skin >= 0 and mesh.joints.shape[1]:
            skin = self.skins[node.skin]
            points, targets, binding = self._bind(mesh, skin)
        rest, limits = self._weights(node, mesh)
        return Body(
            index, points, targets, mesh.morphs, node.weights, rest, limits, binding,
            mesh.triangles, mesh.materials,
        )  # fmt: skip

    def _weights(self, node: Node, mesh: _Mesh) -> tuple[np.ndarray, np.ndarray]:
        """Weights at rest, and their range: Blender widens 0 to 1 by what it meets on import."""
        count = len(mesh.morphs)
        rest = np.zeros(count)
        if not count:
            return rest, np.zeros((0, 2))
        given = self.nodes[node.weights].get("weights") or self.table[node.mesh].get("weights")
        if given:
            if (
                not isinstance(given, list)
                or not all(type(value) in (int, float) for value in given)
                or len(given) <= int(mesh.morphs.max())
            ):
                raise HandOver("morph weights do not fit their targets")
            rest = np.array(given, float)[mesh.morphs]
        seen = np.stack([rest, np.zeros(count), np.ones(count)])
        for first in self.firsts.get(node.weights, []):
            if len(first) <= int(mesh.morphs.max()):
                raise HandOver("a weights track does not fit the morph targets")
            seen = np.vstack([seen, first[mesh.morphs]])
        return rest, np.stack([seen.min(axis=0), seen.max(axis=0)], axis=1)

    def _mesh(self, row: Row, skinned: bool) -> _Mesh:
        primitives = [
            p for p in rows(row, "primitives") if p["attributes"].get("POSITION") is not None
        ]
        morphs = _morphs(rows(row, "primitives"))
        sets = max((_joint_sets(p) for p in primitives), default=0) if skinned else 0
        positions = [p["attributes"]["POSITION"] for p in primitives]
        vertices = int(self.parts.accessors.count[positions].sum())
        if vertices * (3 * len(morphs) + 8 * sets) > _NUMBERS_MAX:
            raise HandOver("a mesh has very many morph targets or joints")
        columns: list[tuple[np.ndarray, ...]] = []
        faces = [np.zeros((0, 3), np.int64)]
        materials = [np.zeros(0, np.int64)]
        before = 0
        for primitive in primitives:
            drawn = self._drawn(primitive)
            corners = _corners(primitive, drawn["indices"])
            used, place = _used(corners, len(drawn["POSITION"]))
            if _mode(primitive) >= 4:
                faces.append(before + place[corners].reshape(-1, 3))
                made_of = primitive.get("material")
                number = -1 if made_of is None else int(made_of)
                materials.append(np.full(len(corners) // 3, number))
            before += len(used)
            targets = np.zeros((len(morphs), len(used), 3))
            given = primitive.get("targets") or []
            for at, morph in enumerate(morphs.tolist()):
                if given and "POSITION" in given[morph]:
                    targets[at] = finite_floats(self.parts, given[morph]["POSITION"], 3)[used]
            joints = np.zeros((len(used), 4 * sets), np.int64)
            weights = np.zeros((len(used), 4 * sets))
            for at in range(sets):
                if f"JOINTS_{at}" in drawn and f"WEIGHTS_{at}" in drawn:
                    joints[:, 4 * at : 4 * at + 4] = drawn[f"JOINTS_{at}"][used]
                    weights[:, 4 * at : 4 * at + 4] = drawn[f"WEIGHTS_{at}"][used]
            columns.append((drawn["POSITION"][used], targets, joints, weights))
        if not columns:
            empty = np.zeros((0, 4 * sets))
            zero = np.zeros((0, 3)), np.zeros((len(morphs), 0, 3))
            none = faces[0], materials[0]
            return _Mesh(*zero, morphs, empty.astype(np.int64), empty, *none)
        points, targets, joints, weights = zip(*columns, strict=True)
        return _Mesh(
            np.concatenate(points), np.concatenate(targets, axis=1), morphs,
            np.concatenate(joints), np.concatenate(weights),
            np.concatenate(faces), np.concatenate(materials),
        )  # fmt: skip

    def _drawn(self, primitive: Row) -> Drawn:
        """Read the attributes that place vertices, out of accessors or a Draco stream."""
        names = ["POSITION"]
        for at in range(_joint_sets(primitive)):
            names += [f"JOINTS_{at}", f"WEIGHTS_{at}"]
        found: Drawn = {}
        draco = extension(primitive, _DRACO, "a primitive")
        if draco:
            found = self._decoded(primitive, draco)
        accessors = primitive["attributes"]
        for name in names:
            if name not in found:
                if name.startswith("JOINTS_"):
                    found[name] = read_integers(self.parts, accessors[name])
                else:
                    found[name] = read_floats(self.parts, accessors[name])
        if any(len(found[name]) != len(found["POSITION"]) for name in names):
            raise HandOver("attributes of a primitive differ in length")
        if any(found[name].shape[1] != 4 for name in names[1:]):
            raise HandOver("joints do not come in fours")
        if "indices" not in found:
            index = primitive.get("indices")
            count = len(found["POSITION"])
            found["indices"] = (
                np.arange(count) if index is None else read_integers(self.parts, index)[:, 0]
            )
        return found

    def _decoded(self, primitive: Row, draco: Row) -> Drawn:
        views = self.parts.accessors.views
        view = int(draco["bufferView"])
        data = self.parts.doc.buffers[int(views.buffer[view])]
        if data is None or primitive.get("indices") is None:
            raise HandOver("a Draco stream is not where it should be")
        start = int(views.start[view])
        stream = self.decode(data[start : start + int(views.length[view])].tobytes())
        found: Drawn = {"indices": stream["indices"]}
        for name, number in (draco.get("attributes") or {}).items():
            if name not in primitive["attributes"]:
                raise HandOver("a Draco stream holds an attribute that its primitive lacks")
            if name != "POSITION" and not name.startswith(("JOINTS_", "WEIGHTS_")):
                continue
            if f"{number}" not in stream:
                raise HandOver("a Draco stream lacks an attribute")
            values = stream[f"{number}"]
            found[name] = values.astype(np.int64 if name.startswith("JOINTS_") else np.float64)
        if "POSITION" not in found or found["POSITION"].shape[1] != 3:
            raise HandOver("a Draco stream holds no positions")
        if not np.isfinite(found["POSITION"]).all():
            raise HandOver("a Draco stream holds NaN or infinity")
        return found

    def _bind(self, mesh: _Mesh, skin: Row) -> tuple[np.ndarray, np.ndarray, Binding]:
        """Put vertices into the bind pose, in the armature's space, as the importer does."""
        joints = np.array(skin["joints"], np.int64)
        if len(set(skin["joints"])) < len(joints):
            raise HandOver("a skin names a joint twice")
        nodes = [self.tree.nodes[i] for i in joints.tolist()]
        owner = nodes[0].owner
        if any(not node.bone or node.owner != owner for node in nodes):
            raise HandOver("the joints of a skin belong to several armatures")
        numbers, weights = mesh.joints, mesh.weights.copy()
        if numbers.size and int(numbers.max()) >= len(joints):
            raise HandOver("a vertex names a joint that its skin lacks")
        bind = np.stack([self.tree.bind[i] for i in joints.tolist()])
        unbound = weights.sum(axis=1) == 0
        weights[unbound, 0] = 1.0
        to_bind = bind @ inverse_binds(self.parts, skin)
        points, targets = mesh.points, mesh.targets
        if np.abs(to_bind - np.eye(4)).max(initial=0.0) > _SAME:
            share = weights / weights.sum(axis=1, keepdims=True)
            blend = np.zeros((len(points), 3, 4))
            for slot in range(numbers.shape[1]):
                blend += share[:, slot, None, None] * to_bind[numbers[:, slot], :3]
            points = np.einsum("nij,nj->ni", blend[:, :, :3], points) + blend[:, :, 3]
            targets = np.einsum("nij,tnj->tni", blend[:, :, :3], targets)
        if not (sound := np.isfinite(weights).all(axis=1)).all():
            # Blender puts vertices that are nowhere at the origin, and no joint moves them.
            points, targets = points * 1.0, targets * 1.0
            points[~sound], targets[:, ~sound] = 0.0, 0.0
        numbers, weights = _as_groups(numbers, weights, len(joints))
        binding = Binding(joints, np.linalg.inv(bind), owner, numbers, weights)
        return points, targets, binding


def _as_groups(
    numbers: np.ndarray, weights: np.ndarray, armature: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weigh joints as Blender's vertex groups do: the last mention of a joint counts, 0 to 1."""
    weights = np.where(np.isfinite(weights), np.clip(weights, 0.0, 1.0), 0.0)
    for slot in range(numbers.shape[1]):
        for later in range(slot + 1, numbers.shape[1]):
            again = (numbers[:, slot] == numbers[:, later]) & (weights[:, later] != 0)
            weights[again, slot] = 0.0
    total = weights.sum(axis=1)
    loose = total <= _LOOSE
    weights = weights / np.where(loose, 1.0, total)[:, None]
    numbers = numbers.copy()
    weights[loose], numbers[loose, 0], weights[loose, 0] = 0.0, armature, 1.0
    return numbers, weights


def _first_weights(parts: GltfParts) -> dict[int, list[np.ndarray]]:
    """The first value of each track of morph weights, by the node it moves."""
    found: dict[int, list[np.ndarray]] = {}
    for clip in parts.clips:
        morphs = clip.path == PATHS.index("weights")
        some = clip.of(morphs & (parts.accessors.count[clip.input] > 0))
        splines = (some.interpolation == INTERPOLATIONS.index("CUBICSPLINE")).tolist()
        keys = parts.accessors.count[some.input].tolist()
        columns = some.node.tolist(), some.output.tolist(), keys, splines
        for node, output, count, spline in zip(*columns, strict=True):
            values = finite_floats(parts, output, 1)[:, 0]
            width = len(values) // (count * (3 if spline else 1))
            first = values[width : 2 * width] if spline else values[:width]
            found.setdefault(node, []).append(first)
    return found


def _morphs(primitives: list[Row]) -> np.ndarray:
    """Number the morph targets that displace vertices."""
    lists = [p.get("targets") or [] for p in primitives]
    lists = [targets for targets in lists if targets]
    if len({len(targets) for targets in lists}) > 1:
        raise HandOver("primitives of a mesh differ in their number of morph targets")
    count = len(lists[0]) if lists else 0
    moving = [i for i in range(count) if any("POSITION" in targets[i] for targets in lists)]
    return np.array(moving, np.int64)


def _joint_sets(primitive: Row) -> int:
    names, found = primitive["attributes"], 0
    while f"JOINTS_{found}" in names and f"WEIGHTS_{found}" in names:
        found += 1
    return found


def _mode(primitive: Row) -> int:
    mode = primitive.get("mode")
    return 4 if mode is None else int(mode)


def _corners(primitive: Row, indices: np.ndarray) -> np.ndarray:
    """List the vertices of a primitive's triangles, three each; other shapes keep their indices."""
    mode = _mode(primitive)
    if mode == 4:
        if len(indices) % 3:
            raise HandOver("a primitive's triangles are not complete")
        return indices
    if mode < 5:
        if (mode == 1 and len(indices) % 2) or (mode in (2, 3) and len(indices) < 2):
            raise HandOver("a primitive's lines are not complete")
        return indices
    if len(indices) < 3:
        raise HandOver("a strip or fan of triangles has fewer than three corners")
    first = indices[:-2] if mode == 5 else np.broadcast_to(indices[0], len(indices) - 2)
    return np.stack([first, indices[1:-1], indices[2:]], axis=1).reshape(-1)


def _used(corners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """List the vertices that are used, ascending, and each vertex's place in that list."""
    if not len(corners):
        return np.zeros(0, np.int64), np.zeros(count, np.int64)
    if int(corners.max()) >= count:
        raise HandOver("an index names a vertex that is not there")
    used = np.zeros(count, bool)
    used[corners] = True
    return np.flatnonzero(used), np.cumsum(used) - 1
