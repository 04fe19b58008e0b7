"""glTF meshes: attributes, indices, morph targets, Draco streams, and how much there is."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.gltf_accessors import INDEX_TYPES, Accessors, attribute_table
from curate.gltf_file import Document, Row, extension, mapping, reference, rows
from curate.inspect_types import fault, show

_FLOAT3 = (3, "three numbers")
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DRACO = "KHR_draco_mesh_compression"
_DRACO_HEADER = 11  # magic 5, version 2, encoder type, method, flags 2
_DRACO_METADATA = 0x80


@dataclass(slots=True)
class Meshes:
    """What each mesh amounts to, as Python ints: instancing multiplies them without bound.

    ``positions`` lists the accessors of vertex and morph target positions of all meshes,
    ``joints`` those of skin joint numbers, mesh by mesh.
    """

    vertices: list[int] = field(default_factory=list)
    triangles: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    joints: list[list[int]] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    """One pass over all primitives, remembering the largest index of each index accessor."""

    doc: Document
    accessors: Accessors
    materials: int
    found: Meshes = field(default_factory=Meshes)
    largest: dict[int, int] = field(default_factory=dict)

    def mesh(self, row: Row, what: str) -> None:
        primitives = rows(row, "primitives", what)
        vertices = triangles = 0
        self.found.joints.append([])
        for number, primitive in enumerate(primitives):
            more = self.primitive(primitive, f"{what} primitive {number}")
            vertices, triangles = vertices + more[0], triangles + more[1]
        targets = len(primitives[0].get("targets") or []) if primitives else 0
        self.found.vertices.append(vertices)
        self.found.triangles.append(triangles)
        self.found.targets.append(targets)

    def primitive(self, row: Row, what: str) -> tuple[int, int]:
        """Check one primitive; returns its vertices and triangles."""
        if row.get("material") is not None:
            reference(row, "material", what, self.materials)
        attributes = row.get("attributes")
        if not isinstance(attributes, dict):
            raise fault("bad_schema", f"{what} has no attributes object; export it again.")
        targets = rows(row, "targets", what)
        table = attribute_table([attributes, *targets], what, len(self.accessors))
        vertices = self.attributes(table, what)
        corners = vertices
        if row.get("indices") is not None:
            corners = self.indices(row, vertices, what)
        triangles = _triangle_count(row.get("mode"), corners, what)
        draco = extension(row, _DRACO, what)
        if draco:
            triangles = max(triangles, self.draco(draco, what))
        return vertices, triangles

    def attributes(self, table: list[dict[str, int]], what: str) -> int:
        """Check that all attributes of a primitive and its targets have one length: the vertices.

        Without positions there is nothing to draw, and the primitive counts as empty.
        """
        position = table[0].get("POSITION")
        if position is None:
            return 0
        vertices = int(self.accessors.count[position])
        joints = {index for name, index in table[0].items() if name.startswith("JOINTS_")}
        if any(int(self.accessors.kind[index]) not in INDEX_TYPES for index in joints):
            raise fault("bad_accessor", f"{what}: joints are not unsigned integers.")
        self.found.joints[-1].extend(joints)
        for attributes in table:
            for name, index in attributes.items():
                if self.accessors.count[index] != vertices:
                    raise fault(
                        "attribute_count",
                        f"{what}: attribute {show(name)} has {self.accessors.count[index]:,} "
                        f"elements, POSITION has {vertices:,}; export it again.",
                    )
            own = attributes.get("POSITION")
            if own is not None:
                components, meaning = _FLOAT3
                if self.accessors.components[own] != components:
                    raise fault("bad_accessor", f"{what}: POSITION is not {meaning} per vertex.")
                self.found.positions.append(own)
        return vertices

    def indices(self, row: Row, vertices: int, what: str) -> int:
        """Check a primitive's indices against its vertices; returns how many there are."""
        index = reference(row, "indices", f"{what}", len(self.accessors))
        accessors = self.accessors
        if accessors.components[index] != 1 or int(accessors.kind[index]) not in INDEX_TYPES:
            raise fault("bad_accessor", f"{what}: indices are not unsigned integers.")
        if index not in self.largest:
            self.largest[index] = accessors.largest(index)
        if vertices and self.largest[index] >= vertices:
            raise fault(
                "index_range",
                f"{what} uses vertex {self.largest[index]:,} of {vertices:,}; export it again.",
            )
        return int(accessors.count[index])

    def draco(self, row: Row, what: str) -> int:
        """Check the head of a Draco stream; returns the triangles it announces, 0 if unknown."""
        views = self.accessors.views
        view = reference(row, "bufferView", f"{what} Draco", len(views.buffer))
        mapping(row, "attributes", f"{what} Draco")
        data = self.doc.buffers[int(views.buffer[view])]
        if data is None:
            return 0
        start = int(views.start[view])
        head = data[start : start + min(int(views.length[view]), 64)].tobytes()
        if not head.startswith(b"DRACO") or len(head) < _DRACO_HEADER or head[7] != 1:
            raise fault(
                "bad_draco",
                f"{what}: bufferView {view} is not a Draco mesh (it begins {show(head[:8])}); "
                "export it again.",
            )
        return _draco_faces(head)


def read_meshes(doc: Document, accessors: Accessors) -> Meshes:
    """Check all meshes, those that no node uses included.

    Raises:
        AssetError: rules ``bad_reference``, ``bad_schema``, ``bad_accessor``, ``attribute_count``,
            ``index_range``, ``bad_draco``, ``non_finite_vertices``.
    """
    reader = _Reader(doc, accessors, len(rows(doc.json, "materials")))
    for number, row in enumerate(rows(doc.json, "meshes")):
        reader.mesh(row, f"mesh {number}")
    bad = accessors.non_finite(np.unique(np.array(reader.found.positions, np.int64)))
    if len(bad):
        raise fault(
            "non_finite_vertices",
            f"accessor {bad[0]} holds vertex positions that are NaN or infinite; "
            "clean the mesh and export it again.",
        )
    return reader.found


def _triangle_count(mode: Any, corners: int, what: str) -> int:
    if mode is None:
        mode = _TRIANGLES
    if type(mode) is not int or not 0 <= mode <= _FAN:
        raise fault(
            "bad_schema", f"{what}: mode is {show(mode)}, expected 0 to 6; export it again."
        )
    if mode == _TRIANGLES:
        return corners // 3
    return max(corners - 2, 0) if mode in (_STRIP, _FAN) else 0


def _draco_faces(head: bytes) -> int:
    """Read the face count that follows the header; 0 where the layout is another."""
    if head[5:7] != b"\x02\x02" or head[10] & _DRACO_METADATA:
        return 0
    edgebreaker = head[8] == 1
    position = _DRACO_HEADER + edgebreaker  # a byte says which traversal
    first, position = _varint(head, position)
    second, _ = _varint(head, position)
    return second if edgebreaker else first  # vertices, faces; or faces, points


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for step in range(5):
        if position >= len(data):
            return 0, position
        byte = data[position]
        value |= (byte & 0x7F) << (7 * step)
        position += 1
        if byte < 0x80:
            break
    return value, position
