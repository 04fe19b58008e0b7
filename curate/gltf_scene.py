"""glTF nodes: a forest without cycles, not too deep, and what of it the default scene shows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.gltf_accessors import FLOAT, Accessors
from curate.gltf_file import (
    Document,
    Row,
    extension,
    index_lists,
    reference,
    references,
    rows,
)
from curate.gltf_meshes import Meshes
from curate.inspect_types import fault, show

_TRANSFORMS = {"translation": 3, "rotation": 4, "scale": 3, "matrix": 16}
_HUGE = 1e30  # beyond it, products of matrices overflow single precision
_INSTANCING = "EXT_mesh_gpu_instancing"
_LIGHTS = "KHR_lights_punctual"


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes as columns, (n,).

    Attributes:
        mesh: int64, -1 for none.
        reached: bool, whether the default scene shows the node.
        copies: how often the node's mesh is drawn.
    """

    mesh: np.ndarray
    reached: np.ndarray
    copies: list[int]


def read_nodes(doc: Document, accessors: Accessors, meshes: Meshes) -> Nodes:
    """Check all nodes, scenes and skins.

    Raises:
        AssetError: rules ``too_many_nodes``, ``bad_reference``, ``bad_schema``, ``bad_transform``,
            ``node_two_parents``, ``node_cycle``, ``hierarchy_too_deep``, ``bad_accessor``,
            ``accessor_range``, ``joint_range``, ``non_finite_matrices``.
    """
    table = rows(doc.json, "nodes")
    if len(table) > doc.limits.nodes_max:
        raise fault(
            "too_many_nodes",
            f"the file has {len(table):,} nodes, the limit is {doc.limits.nodes_max:,}; "
            "merge or split the asset.",
        )
    mesh = references(table, "mesh", "node", len(rows(doc.json, "meshes")))
    skin = references(table, "skin", "node", len(rows(doc.json, "skins")))
    references(table, "camera", "node", len(rows(doc.json, "cameras")))
    _check_transforms(table)
    _check_lights(doc, table)
    parent = _parents(table)
    levels = _levels(parent, doc.limits.depth_max)
    copies = [_copies(row, i, accessors) for i, row in enumerate(table)]
    joints = _check_skins(doc, accessors, len(table))
    skinned = np.unique(np.stack([mesh, skin])[:, (mesh >= 0) & (skin >= 0)], axis=1)
    _check_joints(skinned, joints, meshes, accessors)
    return Nodes(mesh, _reached(doc, parent, levels), copies)


def count_geometry(doc: Document, nodes: Nodes, meshes: Meshes) -> tuple[int, int]:
    """Add up vertices and triangles of what the default scene shows, instances included.

    Raises:
        AssetError: rules ``too_many_vertices``, ``too_many_triangles``, ``too_many_nodes``.
    """
    shown = np.flatnonzero(nodes.reached & (nodes.mesh >= 0)).tolist()
    uses = [(int(nodes.mesh[i]), nodes.copies[i]) for i in shown]
    objects = sum(copies for _, copies in uses)
    vertices = sum(meshes.vertices[mesh] * copies for mesh, copies in uses)
    triangles = sum(meshes.triangles[mesh] * copies for mesh, copies in uses)
    limits = doc.limits
    if objects > limits.nodes_max:
        found = f"{objects:,} objects, the limit is {limits.nodes_max:,}"
        raise fault("too_many_nodes", f"the scene has {found}; use fewer instances.")
    if vertices > limits.vertices_max:
        found = f"{vertices:,} vertices, the limit is {limits.vertices_max:,}"
        raise fault("too_many_vertices", f"the scene has {found}; simplify the asset.")
    if triangles > limits.triangles_max:
        found = f"{triangles:,} triangles, the limit is {limits.triangles_max:,}"
        raise fault("too_many_triangles", f"the scene has {found}; simplify the asset.")
    return vertices, triangles


def _parents(table: list[Row]) -> np.ndarray:
    """Parent of each node, int64 (n,), -1 for roots."""
    owner, child = index_lists(table, "children", "node", len(table))
    shared = np.flatnonzero(np.bincount(child, minlength=len(table)) > 1)
    if len(shared):
        raise fault(
            "node_two_parents",
            f"node {shared[0]} is a child more than once; glTF nodes form a tree. Export it again.",
        )
    parent = np.full(len(table), -1, np.int64)
    parent[child] = owner
    return parent


def _levels(parent: np.ndarray, depth_max: int) -> int:
    """Length of the longest chain of nodes; refuses cycles and chains over ``depth_max``."""
    ancestor = parent
    for _ in range(len(parent).bit_length()):  # each round doubles the distance climbed
        ancestor = _climb(ancestor, ancestor)
    if (ancestor >= 0).any():
        node = int(np.flatnonzero(ancestor >= 0)[0])
        raise fault(
            "node_cycle", f"node {node} is among its own ancestors, or below such a node; mend it."
        )
    levels, ancestor = 1, parent
    while (ancestor >= 0).any():
        levels += 1
        if levels > depth_max:
            raise fault(
                "hierarchy_too_deep",
                f"nodes are nested more than {depth_max} deep, the limit; flatten the hierarchy.",
            )
        ancestor = _climb(ancestor, parent)
    return levels


def _climb(ancestor: np.ndarray, step: np.ndarray) -> np.ndarray:
    return np.where(ancestor >= 0, step[ancestor], -1)


def _reached(doc: Document, parent: np.ndarray, levels: int) -> np.ndarray:
    """Which nodes the default scene shows, bool (n,); all of them where none is the default."""
    scenes = rows(doc.json, "scenes")
    owner, root = index_lists(scenes, "nodes", "scene", len(parent))
    if doc.json.get("scene") is None:
        return np.ones(len(parent), bool)
    default = reference(doc.json, "scene", "the file", len(scenes))
    reached = np.zeros(len(parent), bool)
    reached[root[owner == default]] = True
    for _ in range(levels - 1):
        reached |= (parent >= 0) & reached[parent]
    return reached


def _check_transforms(table: list[Row]) -> None:
    for key, length in _TRANSFORMS.items():
        for index, row in enumerate(table):
            value = row.get(key)
            if value is not None and not _is_transform(value, length):
                raise fault(
                    "bad_transform",
                    f"node {index}: {key} is {show(value)}, expected {length} finite numbers; "
                    "export it again.",
                )


def _is_transform(value: Any, length: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(number) in (int, float) and -_HUGE < number < _HUGE for number in value)
    )


def _check_lights(doc: Document, table: list[Row]) -> None:
    lights = rows(extension(doc.json, _LIGHTS, "the file"), "lights", _LIGHTS)
    for index, row in enumerate(table):
        if row.get("extensions") is not None:
            light = extension(row, _LIGHTS, f"node {index}")
            if light:
                reference(light, "light", f"node {index}", len(lights))


def _copies(row: Row, index: int, accessors: Accessors) -> int:
    """How often a node's mesh is drawn: once, or once per instance."""
    if row.get("extensions") is None:
        return 1
    instancing = extension(row, _INSTANCING, f"node {index}")
    if not instancing:
        return 1
    attributes = instancing.get("attributes")
    if not isinstance(attributes, dict) or not attributes:
        raise fault(
            "bad_schema", f"node {index}: {_INSTANCING} has no attributes; export it again."
        )
    counts = [
        accessors.count[reference(attributes, name, f"node {index}", len(accessors))]
        for name in attributes
    ]
    return int(max(counts))


def _check_joints(
    skinned: np.ndarray, joints: np.ndarray, meshes: Meshes, accessors: Accessors
) -> None:
    """Check that vertices name joints their skin has.

    Args:
        skinned: pairs of mesh and skin that occur together, int64 (2, k).
        joints: number of joints of each skin, int64 (s,).
        meshes: whose ``joints`` accessors are looked at.
        accessors: to read them from.
    """
    largest: dict[int, int] = {}
    for mesh, skin in skinned.T.tolist():
        if mesh not in largest:
            used = [accessors.largest(index) for index in meshes.joints[mesh]]
            largest[mesh] = max(used, default=0)
        if largest[mesh] and largest[mesh] >= joints[skin]:
            raise fault(
                "joint_range",
                f"mesh {mesh} uses joint {largest[mesh]} of skin {skin}, which has "
                f"{joints[skin]}; export it again.",
            )


def _check_skins(doc: Document, accessors: Accessors, nodes: int) -> np.ndarray:
    """Check all skins; returns how many joints each has, int64 (s,)."""
    skins = rows(doc.json, "skins")
    owner, _ = index_lists(skins, "joints", "skin", nodes)
    joints = np.bincount(owner, minlength=len(skins))
    references(skins, "skeleton", "skin", nodes)
    matrices = references(skins, "inverseBindMatrices", "skin", len(accessors))
    for skin in np.flatnonzero(matrices >= 0).tolist():
        index = int(matrices[skin])
        if accessors.components[index] != 16 or accessors.kind[index] != FLOAT:
            raise fault("bad_accessor", f"skin {skin}: inverseBindMatrices are no float matrices.")
        if accessors.count[index] < joints[skin]:
            raise fault(
                "accessor_range",
                f"skin {skin} has {joints[skin]} joints but {accessors.count[index]} inverse bind "
                "matrices; export it again.",
            )
    bad = accessors.non_finite(np.unique(matrices[matrices >= 0]))
    if len(bad):
        raise fault(
            "non_finite_matrices",
            f"accessor {bad[0]} holds inverse bind matrices that are NaN or infinite; mend it.",
        )
    return joints
