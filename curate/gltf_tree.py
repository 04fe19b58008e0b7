"""The glTF node tree as Blender's importer rebuilds it: objects, bones and armatures.

Positions are those of glTF, with one exception: objects below a bone. So what matters here is which
nodes become bones, where each bone rests (its bind pose), and where a skinned mesh is hung.
Coordinates are glTF's (y up) throughout. Mirrors ``io_scene_gltf2`` of Blender 4.5 (``vnode.py``).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.gltf_file import Row, rows
from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_values import finite_floats, read_floats
from curate.rotations import compose, decompose, singular

_BONE_LENGTH_MIN = 0.004
_JOINTS_MAX, _SKINNED_MAX = 200_000, 10_000  # beyond these the steps below take long


@dataclass(slots=True)
class Node:
    """One node of the tree that Blender makes: a glTF node, or one that the importer adds.

    Attributes:
        source: index of the glTF node whose channels move this one; -1 for added ones.
        name: as the file gives it; "" for none.
        mesh: index into the file's meshes, -1 for none.
        skin: of that mesh, -1 for none.
        weights: index of the glTF node that sets the mesh's morph weights; -1 for none.
        bone, armature: what it becomes.
        parent: index into the tree, -1 for the roots.
        owner: the armature that a bone belongs to.
        shown: whether the default scene shows it.
    """

    source: int
    name: str = ""
    mesh: int = -1
    skin: int = -1
    weights: int = -1
    bone: bool = False
    armature: bool = False
    parent: int = -1
    owner: int = -2
    shown: bool = True
    children: list[int] = field(default_factory=list)
    bone_length: float = 1.0


@dataclass(slots=True)
class Tree:
    """All nodes with their rest transforms.

    Attributes:
        nodes: the first ones are those of the file, in its order.
        roots: indices of nodes without parent, in order.
        root_is_armature: joints without a common ancestor hang from an armature at the origin.
        translation, rotation, scale: at rest, float64 (n, 3), (n, 4) as x y z w, (n, 3).
        lift: (n,) how far a child of a bone is moved along the bone (glTF y), see ``_lifts``.
        bind: of each bone, armature to bone space at bind time, (4, 4).
    """

    nodes: list[Node]
    roots: list[int]
    root_is_armature: bool
    translation: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    lift: np.ndarray
    bind: dict[int, np.ndarray]

    def order(self) -> list[int]:
        """List all nodes, parents before children, as the importer makes them."""
        found: list[int] = []
        stack = self.roots[::-1]
        while stack:
            index = stack.pop()
            found.append(index)
            stack += self.nodes[index].children[::-1]
        return found


def read_tree(parts: GltfParts) -> Tree:
    """Rebuild the tree.

    Raises:
        HandOver: the importer would stumble, or does something that is not followed here.
    """
    table = rows(parts.doc.json, "nodes")
    joints = sum(len(skin.get("joints") or []) for skin in rows(parts.doc.json, "skins"))
    skinned = sum(row.get("skin") is not None for row in table)
    if joints > _JOINTS_MAX or skinned > _SKINNED_MAX:
        raise HandOver("there are very many joints or skinned meshes")
    builder = _Builder(parts, table)
    builder.add_instances()
    builder.mark_bones()
    builder.hang_skinned_meshes()
    builder.move_meshes_off_bones()
    return builder.finish()


class _Builder:
    def __init__(self, parts: GltfParts, table: list[Row]) -> None:
        self.parts = parts
        self.table = table
        self.skins = rows(parts.doc.json, "skins")
        self.nodes = [Node(i, _name(row)) for i, row in enumerate(table)]
        for index, row in enumerate(table):
            node = self.nodes[index]
            node.children = list(row.get("children") or [])
            node.shown = bool(parts.nodes.reached[index])
            for child in node.children:
                self.nodes[child].parent = index
        self.rest: list[tuple[Any, Any, Any]] = list(_rest_transforms(table))
        self.root_is_armature = False
        self.root_children = [i for i, node in enumerate(self.nodes) if node.parent < 0]
        self.moved = set(parts.moved_nodes)

    def add(self, node: Node, rest: tuple[Any, Any, Any] | None = None) -> int:
        self.nodes.append(node)
        self.rest.append(rest or ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0)))
        index = len(self.nodes) - 1
        self.children_of(node.parent).append(index)
        return index

    def children_of(self, index: int) -> list[int]:
        return self.root_children if index < 0 else self.nodes[index].children

    def add_instances(self) -> None:
        """Give each node its mesh, or its instances theirs."""
        for index, row in enumerate(self.table):
            if row.get("mesh") is None:
                continue
            node = self.nodes[index]
            instancing = (row.get("extensions") or {}).get("EXT_mesh_gpu_instancing")
            if instancing is None:
                node.mesh, node.weights = int(row["mesh"]), index
                node.skin = -1 if row.get("skin") is None else int(row["skin"])
                continue
            for rest in _instances(self.parts, instancing):
                added = Node(-1, mesh=int(row["mesh"]), parent=index, shown=node.shown)
                self.add(added, rest)

    def mark_bones(self) -> None:
        """Every joint becomes a bone, and so does all between it and its armature."""
        for skin in self.skins:
            joints = list(skin.get("joints") or [])
            if not joints:
                raise HandOver("a skin has no joints")
            together = [*joints, *([] if skin.get("skeleton") is None else [skin["skeleton"]])]
            armature = self._common_ancestor(together)
            if armature in joints:
                armature = self.nodes[armature].parent
            if armature < 0:
                self.root_is_armature = True
            elif not self.nodes[armature].bone:
                self.nodes[armature].armature = True
            for joint in joints:
                while joint != armature:
                    if joint < 0:
                        raise HandOver("a joint is not below its armature")
                    self.nodes[joint].bone, self.nodes[joint].armature = True, False
                    joint = self.nodes[joint].parent
        self._find_owners()

    def _common_ancestor(self, indices: list[int]) -> int:
        place: dict[int, int] = {}  # the first one's ancestors, by how far up they are
        index = indices[0] if indices else -1
        while index >= 0:
            place[index] = len(place)
            index = self.nodes[index].parent
        highest = 0
        seen: set[int] = set()
        for index in indices[1:]:
            while index >= 0 and index not in place and index not in seen:
                seen.add(index)
                index = self.nodes[index].parent
            if index < 0:
                return -1
            highest = max(highest, place.get(index, 0))  # seen: counted when it was
        return list(place)[highest] if place else -1

    def _find_owners(self) -> None:
        stack = [(i, -1 if self.root_is_armature else -2) for i in self.root_children]
        while stack:
            index, owner = stack.pop()
            node = self.nodes[index]
            if node.armature:
                owner = index
            elif node.bone:
                if owner == -2:
                    raise HandOver("a bone has no armature")
                node.owner = owner
            else:
                owner = -2
            stack += [(child, owner) for child in node.children]

    def hang_skinned_meshes(self) -> None:
        """Move skinned meshes below their armature: only joints decide where they are."""
        for index in range(len(self.table)):
            node = self.nodes[index]
            if node.skin < 0:
                continue
            owner = self.nodes[self.skins[node.skin]["joints"][0]].owner
            row = self.table[index]
            lights = (row.get("extensions") or {}).get("KHR_lights_punctual") is not None
            movable = not (
                index in self.moved or node.bone or node.armature or node.children
                or row.get("camera") is not None or lights
            )  # fmt: skip
            if movable:
                if node.parent != owner:
                    self.children_of(node.parent).remove(index)
                    self.children_of(owner).append(index)
                    node.parent = owner
                self.rest[index] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
                continue
            self._split_mesh_off(node, owner)

    def move_meshes_off_bones(self) -> None:
        """Bones and armatures hold no mesh: it moves to a child of theirs."""
        for index in range(len(self.table)):
            node = self.nodes[index]
            if node.mesh >= 0 and (node.bone or node.armature):
                self._split_mesh_off(node, index)

    def _split_mesh_off(self, node: Node, parent: int) -> None:
        added = Node(
            -1, mesh=node.mesh, skin=node.skin, weights=node.weights, parent=parent,
            shown=node.shown,
        )  # fmt: skip
        self.add(added)
        node.mesh = node.skin = node.weights = -1

    def finish(self) -> Tree:
        rest = [np.array(column, float) for column in zip(*self.rest, strict=True)] or [
            np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 3)),
        ]  # fmt: skip
        tree = Tree(
            self.nodes, self.root_children, self.root_is_armature, *rest,
            lift=np.zeros(len(self.nodes)), bind={},
        )  # fmt: skip
        order = tree.order()
        if len(order) != len(self.nodes):
            raise HandOver("some nodes are not below a root")
        if any(node.bone for node in self.nodes):
            self._find_bind_pose(tree, order)
            self._find_lifts(tree, order)
        return tree

    def _find_bind_pose(self, tree: Tree, order: list[int]) -> None:
        """Work out where the bones were when the mesh was bound, from the inverse bind matrices."""
        inverse = self._known_binds()
        bones = [i for i in order if self.nodes[i].bone]
        translation, rotation = tree.translation[bones], tree.rotation[bones]
        known = [
            at for at, i in enumerate(bones) if i in inverse and self.nodes[i].parent in inverse
        ]
        if known:
            own = np.stack([inverse[bones[at]] for at in known])
            above = np.stack([inverse[self.nodes[bones[at]].parent] for at in known])
            if singular(own[:, :3, :3]).any():
                raise HandOver("an inverse bind matrix cannot be inverted")
            translation[known], rotation[known], _ = decompose(above @ np.linalg.inv(own))
        local = compose(translation, rotation, np.ones_like(translation))
        for index, matrix in zip(bones, local, strict=True):
            tree.bind[index] = tree.bind.get(self.nodes[index].parent, np.eye(4)) @ matrix
        reach = np.linalg.norm(translation, axis=1).tolist()
        self._find_bone_lengths(dict(zip(bones, reach, strict=True)))

    def _known_binds(self) -> dict[int, np.ndarray]:
        """Collect inverse bind matrices by node; a skeleton's root is its own frame."""
        inverse: dict[int, np.ndarray] = {-1: np.eye(4)}
        for skin in self.skins:
            if skin.get("inverseBindMatrices") is None:
                continue
            skeleton = skin.get("skeleton")
            if skeleton is not None:
                if skeleton in skin["joints"]:
                    skeleton = self.nodes[skeleton].parent
                inverse.setdefault(skeleton, np.eye(4))
            inverse |= zip(skin["joints"], inverse_binds(self.parts, skin), strict=True)
        return inverse

    def _find_bone_lengths(self, reach: dict[int, float]) -> None:
        """Choose bone lengths as the importer does, from how far each bone is from its parent."""
        for index in reach:
            node = self.nodes[index]
            below = [reach[child] for child in node.children if self.nodes[child].bone]
            below = [length for length in below if length > _BONE_LENGTH_MIN]
            if below:
                node.bone_length = min(below)
            elif node.parent >= 0 and self.nodes[node.parent].bone:
                node.bone_length = self.nodes[node.parent].bone_length
            elif reach[index] > _BONE_LENGTH_MIN:
                node.bone_length = reach[index]

    def _find_lifts(self, tree: Tree, order: list[int]) -> None:
        """Children of bones sit where Blender puts them.

        It hangs them from the bone's tip and moves them back by the bone's length as the file has
        it, but divides the length itself by the armature's scale: scaled armatures shift them.
        """
        for index in order:
            parent = self.nodes[index].parent
            if parent < 0 or self.nodes[index].bone or not self.nodes[parent].bone:
                continue
            owner, length = self.nodes[parent].owner, self.nodes[parent].bone_length
            largest = float(tree.scale[owner].max()) if owner >= 0 else 1.0
            if largest <= 0:
                raise HandOver("an armature is mirrored in all directions")
            tree.lift[index] = length / largest - length


def inverse_binds(parts: GltfParts, skin: Row) -> np.ndarray:
    """Read a skin's inverse bind matrices, (joints, 4, 4), identities where it has none."""
    count = len(skin["joints"])
    if skin.get("inverseBindMatrices") is None:
        return np.tile(np.eye(4), (count, 1, 1))
    values = read_floats(parts, int(skin["inverseBindMatrices"]))[:count]
    return values.reshape(-1, 4, 4).swapaxes(1, 2)  # stored column by column


def _name(row: Row) -> str:
    name = row.get("name")
    return name if isinstance(name, str) else ""


def _rest_transforms(table: list[Row]) -> list[tuple[Any, Any, Any]]:
    whole = [i for i, row in enumerate(table) if row.get("matrix") is not None]
    rest: list[tuple[Any, Any, Any]] = [
        (
            row.get("translation") or (0.0, 0.0, 0.0),
            row.get("rotation") or (0.0, 0.0, 0.0, 1.0),
            row.get("scale") or (1.0, 1.0, 1.0),
        )
        for row in table
    ]
    if whole:
        matrices = np.array([table[i]["matrix"] for i in whole], float)
        columns = decompose(matrices.reshape(-1, 4, 4).swapaxes(1, 2))
        for i, *values in zip(whole, *columns, strict=True):
            rest[i] = (values[0], values[1], values[2])
    return rest


def _instances(parts: GltfParts, instancing: Row) -> list[tuple[Any, Any, Any]]:
    """List the transforms of a node's instances; none without one of the three attributes."""
    attributes = instancing["attributes"]
    wanted = {"TRANSLATION": 3, "ROTATION": 4, "SCALE": 3}
    found = {
        name: finite_floats(parts, attributes[name], components)
        for name, components in wanted.items()
        if attributes.get(name) is not None
    }
    if not found:
        return []
    counts = {len(values) for values in found.values()}
    if len(counts) > 1:
        raise HandOver("attributes of instances differ in length")
    count = counts.pop()
    rest = {
        "TRANSLATION": np.zeros((count, 3)),
        "ROTATION": np.tile([0.0, 0.0, 0.0, 1.0], (count, 1)),
        "SCALE": np.ones((count, 3)),
    } | found
    return list(zip(rest["TRANSLATION"], rest["ROTATION"], rest["SCALE"], strict=True))
