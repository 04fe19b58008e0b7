"""Skins of quantised meshes, put back to a size that Blender's importer can work with.

KHR_mesh_quantization stores positions as whole numbers. What scales them down again stands, for a
skinned mesh, in the inverse bind matrices, and Blender derives bones from these: they come out so
far from the origin that single precision cannot tell their ends apart, and short ones vanish. So
positions are scaled here, and the matrices take it back: the same vertices at all times, from
numbers of ordinary size.
"""

from typing import Any

import numpy as np

from curate.gltf_accessors import FLOAT, Accessors
from curate.gltf_file import Document, Row, rows
from curate.rotations import compose, singular

_NAME = "KHR_mesh_quantization"
_DRACO = "KHR_draco_mesh_compression"
_SIZED = {"POSITION", "NORMAL", "TANGENT"}
Transform = np.ndarray  # (4, 4)


def unquantise(doc: Document, accessors: Accessors) -> bool:
    """Rewrite the quantised meshes of a checked document, skin by skin; tell whether any was.

    Left alone are skins whose meshes are also shown without them.
    """
    if _NAME not in (doc.json.get("extensionsUsed") or ()) or any(
        data is None for data in doc.buffers
    ):
        return False
    nodes, meshes = rows(doc.json, "nodes"), rows(doc.json, "meshes")
    users: dict[int, set[int]] = {}  # of each mesh: its skins, -1 for none
    for row in nodes:
        if row.get("mesh") is not None:
            users.setdefault(row["mesh"], set()).add(-1 if row.get("skin") is None else row["skin"])
    found = False
    for number, skin in enumerate(rows(doc.json, "skins")):
        mine = [mesh for mesh, skins in users.items() if number in skins]
        alone = all(len(users[mesh]) == 1 for mesh in mine)
        primitives = [p for mesh in mine for p in rows(meshes[mesh], "primitives")]
        quantised = [_is_quantised(primitive, accessors) for primitive in primitives]
        if not alone or not any(quantised) or not _is_regular(primitives, accessors):
            continue
        if (size := _size(doc, accessors, nodes, skin)) is not None:
            _Rewriter(doc, accessors, size).skin(skin, primitives)
            found = True
    return found


def _is_quantised(primitive: Row, accessors: Accessors) -> bool:
    position = primitive["attributes"].get("POSITION")
    return position is not None and int(accessors.kind[position]) != FLOAT


def _is_regular(primitives: list[Row], accessors: Accessors) -> bool:
    """Tell whether all that would be rewritten is there, and has the shape it should."""
    for primitive in primitives:
        if _DRACO in (primitive.get("extensions") or {}):
            return False
        for attributes in (primitive["attributes"], *(primitive.get("targets") or ())):
            for name in _SIZED & attributes.keys():
                wanted = (3, 4) if name == "TANGENT" else (3,)
                if int(accessors.components[attributes[name]]) not in wanted:
                    return False
    return True


def _size(doc: Document, accessors: Accessors, nodes: list[Row], skin: Row) -> Transform | None:
    """Return what takes stored positions to the world where the first joint is at rest."""
    if skin.get("inverseBindMatrices") is None or not skin["joints"]:
        return None
    parent = {child: i for i, row in enumerate(nodes) for child in row.get("children") or ()}
    found = _matrices(accessors, skin)[0]
    joint = skin["joints"][0]
    while joint is not None:
        found, joint = _local(nodes[joint]) @ found, parent.get(joint)
    with np.errstate(all="ignore"):
        sound = np.isfinite(found).all() and not singular(found[None, :3, :3])[0]
    return found if sound else None


def _local(node: Row) -> Transform:
    if node.get("matrix") is not None:
        return np.array(node["matrix"], float).reshape(4, 4).T
    defaults = {"translation": (0, 0, 0), "rotation": (0, 0, 0, 1), "scale": (1, 1, 1)}
    own = [np.array(node.get(key) or default, float) for key, default in defaults.items()]
    return compose(*own)


def _matrices(accessors: Accessors, skin: Row) -> np.ndarray:
    values = accessors.resolved(skin["inverseBindMatrices"]).astype(np.float64)
    return values.reshape(-1, 4, 4).swapaxes(1, 2)


class _Rewriter:
    """Gives meshes and matrices of one skin accessors of their own, made by ``size``."""

    def __init__(self, doc: Document, accessors: Accessors, size: Transform) -> None:
        self.doc = doc
        self.accessors = accessors
        self.linear, self.origin = size[:3, :3], size[:3, 3]
        self.back = np.linalg.inv(size)
        self.made: dict[tuple[int, str], int] = {}

    def skin(self, skin: Row, primitives: list[Row]) -> None:
        matrices = _matrices(self.accessors, skin) @ self.back
        skin["inverseBindMatrices"] = self.append(
            matrices.swapaxes(1, 2).reshape(-1, 16), "MAT4"
        )  # fmt: skip
        for primitive in primitives:
            if primitive["attributes"].get("POSITION") is None:
                continue
            self.attributes(primitive["attributes"], whole=True)
            for target in primitive.get("targets") or ():
                self.attributes(target, whole=False)

    def attributes(self, attributes: Row, whole: bool) -> None:
        """Replace what depends on the size; of morph targets, differences (not ``whole``)."""
        for name in sorted(_SIZED & attributes.keys()):
            key = attributes[name], f"{name} {whole}"
            if key not in self.made:
                self.made[key] = self.replaced(name, attributes[name], whole)
            attributes[name] = self.made[key]

    def replaced(self, name: str, index: int, whole: bool) -> int:
        values = self.read(index)
        triple = values[:, :3]
        if name == "POSITION":
            values = triple @ self.linear.T + (self.origin if whole else 0.0)
        else:
            turned = triple @ (self.back[:3, :3] if name == "NORMAL" else self.linear.T)
            if whole:
                length = np.linalg.norm(turned, axis=1, keepdims=True)
                turned = turned / np.where(length > 0, length, 1.0)
            values = np.concatenate([turned, values[:, 3:]], axis=1)
        return self.append(values, f"VEC{values.shape[1]}")

    def read(self, index: int) -> np.ndarray:
        values = self.accessors.resolved(index).astype(np.float64)
        kind = np.dtype(self.accessors.read(index).dtype)
        if kind.kind != "f" and rows(self.doc.json, "accessors")[index].get("normalized") is True:
            values = np.maximum(values / np.iinfo(kind).max, -1.0)
        return values

    def append(self, values: np.ndarray, shape: str) -> int:
        """Add an accessor with a buffer of its own; returns its index."""
        doc, data = self.doc, values.astype("<f4")
        buffer = np.frombuffer(data.tobytes(), np.uint8)
        doc.buffers.append(buffer)
        doc.buffer_bytes.append(len(buffer))
        views, table = doc.json["bufferViews"], doc.json["accessors"]
        views.append({"buffer": len(doc.buffers) - 1, "byteLength": len(buffer)})
        row: dict[str, Any] = {
            "bufferView": len(views) - 1, "componentType": FLOAT, "count": len(data), "type": shape,
        }  # fmt: skip
        if shape == "VEC3" and len(data):
            row |= {"min": data.min(axis=0).tolist(), "max": data.max(axis=0).tolist()}
        table.append(row)
        return len(table) - 1
