"""glTF accessors: every range checked by arithmetic before a byte is looked at.

Views and accessors are held as columns, so that thousands of animation accessors cost a handful
of numpy calls.
"""

from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from curate.gltf_file import Document, Row, references, rows, whole_numbers
from curate.inspect_types import fault, show

FLOAT = 5126
_COMPONENT_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", FLOAT: "<f4"}
INDEX_TYPES = (5121, 5123, 5125)
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
# Columns of small matrices start at multiples of 4 bytes: (type, component bytes) -> element bytes
_PADDED = {("MAT2", 1): 8, ("MAT3", 1): 12, ("MAT3", 2): 24}
_BLOCK = 1 << 24  # floats scanned at a time
_SUSPECTS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Sparse:
    """Replacements of single elements: ``count`` indices and values, both in buffer views."""

    count: int
    index_type: int
    index_view: int
    index_offset: int
    value_view: int
    value_offset: int


@dataclass(slots=True)
class Views:
    """Buffer views as columns, int64 (n,): buffer, first byte in it, bytes, stride (0: packed)."""

    buffer: np.ndarray
    start: np.ndarray
    length: np.ndarray
    stride: np.ndarray


@dataclass(slots=True)
class Accessors:
    """Accessors as columns, int64 (n,), and the means to read them.

    Attributes:
        view: buffer view, -1 for none (zeros, or data that only a codec can supply).
        offset: first byte in the view.
        count: elements.
        kind: glTF component type.
        components: numbers per element.
        element: bytes of a packed element.
        stride: bytes from element to element.
        sparse: by accessor index.
    """

    doc: Document
    views: Views
    view: np.ndarray
    offset: np.ndarray
    count: np.ndarray
    kind: np.ndarray
    components: np.ndarray
    element: np.ndarray
    stride: np.ndarray
    sparse: dict[int, Sparse] = field(default_factory=dict)
    _bad_words: dict[int, np.ndarray | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.count)

    def read(self, index: int) -> np.ndarray:
        """View an accessor's own data, (count, components), without copying or sparse values.

        Without a view, or over a buffer that only an extension could fill, it reads as zeros.
        """
        shape = (int(self.count[index]), int(self.components[index]))
        dtype = np.dtype(_COMPONENT_TYPES[int(self.kind[index])])
        view = int(self.view[index])
        data = None if view < 0 else self.doc.buffers[int(self.views.buffer[view])]
        if data is None or not shape[0]:
            return np.broadcast_to(np.zeros((), dtype), shape)
        start = int(self.views.start[view] + self.offset[index])
        strides = (int(self.stride[index]), dtype.itemsize)
        return np.ndarray(shape, dtype, data, start, strides)

    def read_sparse(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """View an accessor's replacements: indices (k,) and values (k, components)."""
        sparse = self.sparse[index]
        components = int(self.components[index])
        indices = self._packed(sparse.index_view, sparse.index_offset, sparse.index_type, 1, sparse)
        kind = int(self.kind[index])
        values = self._packed(sparse.value_view, sparse.value_offset, kind, components, sparse)
        return indices[:, 0], values

    def _packed(
        self, view: int, offset: int, kind: int, components: int, sparse: Sparse
    ) -> np.ndarray:
        dtype = np.dtype(_COMPONENT_TYPES[kind])
        data = self.doc.buffers[int(self.views.buffer[view])]
        if data is None or not sparse.count:
            return np.zeros((0, components), dtype)
        start = int(self.views.start[view]) + offset
        strides = (components * dtype.itemsize, dtype.itemsize)
        return np.ndarray((sparse.count, components), dtype, data, start, strides)

    def resolved(self, index: int) -> np.ndarray:
        """Read an accessor with its sparse values in place, (count, components); may copy."""
        values = self.read(index)
        if index not in self.sparse:
            return values
        values = values.copy()
        indices, replacements = self.read_sparse(index)
        values[indices] = replacements
        return values

    def largest(self, index: int) -> int:
        """Find the largest number in an accessor of unsigned integers, 0 for an empty one."""
        values = self.read(index)
        stored = values.size and self.view[index] >= 0
        largest = int(values.max()) if stored else 0
        if index in self.sparse:
            replaced = self.read_sparse(index)[1]
            largest = max(largest, int(replaced.max()) if replaced.size else 0)
        return largest

    def non_finite(self, indices: np.ndarray) -> np.ndarray:
        """Pick the accessors that hold NaN or infinity, int64 (k,), out of those given (n,).

        Each buffer is scanned once; an accessor is looked at by itself only when its stretch of
        bytes has a suspicious word, or isn't aligned to words.
        """
        floats = indices[(self.kind[indices] == FLOAT) & (self.count[indices] > 0)]
        sparse = [i for i in floats.tolist() if i in self.sparse]
        stored = floats[self.view[floats] >= 0]
        suspects = stored[self._suspicious(stored)].tolist() if len(stored) else []
        bad = {i for i in suspects if not np.isfinite(self.read(i)).all()}
        bad |= {i for i in sparse if not np.isfinite(self.read_sparse(i)[1]).all()}
        return np.array(sorted(bad), np.int64)

    def _suspicious(self, indices: np.ndarray) -> np.ndarray:
        view = self.view[indices]
        buffer = self.views.buffer[view]
        first = self.views.start[view] + self.offset[indices]
        last = first + self.stride[indices] * (self.count[indices] - 1) + self.element[indices]
        found = (first % 4 != 0) | (self.stride[indices] % 4 != 0)
        for number in np.unique(buffer).tolist():
            words = self._bad_words_of(number)
            here = buffer == number
            if words is None:
                found |= here
                continue
            hits = np.searchsorted(words, last // 4) - np.searchsorted(words, first // 4)
            found |= here & (hits > 0)
        return found

    def _bad_words_of(self, buffer: int) -> np.ndarray | None:
        """Positions of 4-byte words that aren't finite floats; None when too many to keep."""
        if buffer not in self._bad_words:
            self._bad_words[buffer] = _scan(self.doc.buffers[buffer])
        return self._bad_words[buffer]


def _scan(data: np.ndarray | None) -> np.ndarray | None:
    if data is None:
        return np.empty(0, np.int64)
    words = data[: len(data) // 4 * 4].view("<f4")
    found: list[np.ndarray] = []
    total = 0
    for start in range(0, len(words), _BLOCK):
        positions = np.flatnonzero(~np.isfinite(words[start : start + _BLOCK])) + start
        total += len(positions)
        if total > _SUSPECTS_MAX:
            return None
        found.append(positions)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def read_accessors(doc: Document) -> Accessors:
    """Check all buffer views and accessors against the bytes they claim.

    Raises:
        AssetError: rules ``buffer_view_range``, ``accessor_range``, ``bad_accessor``,
            ``bad_reference``, ``too_many_values``, ``bad_schema``.
    """
    views = _read_views(doc)
    table = rows(doc.json, "accessors")
    count = whole_numbers(table, "count", "accessor", rule="accessor_range")
    offset = whole_numbers(table, "byteOffset", "accessor", 0, rule="accessor_range")
    view = references(table, "bufferView", "accessor", len(views.buffer))
    kinds = whole_numbers(table, "componentType", "accessor", rule="bad_accessor").tolist()
    shapes = [(row.get("type"), kind) for row, kind in zip(table, kinds, strict=True)]
    known: dict[Any, tuple[int, int, int]] = {}
    layouts = [
        known.get(shape) or known.setdefault(shape, _layout(*shape, i))
        if type(shape[0]) is str
        else _layout(*shape, i)
        for i, shape in enumerate(shapes)
    ]
    kind, components, element = np.array(layouts, np.int64).reshape(-1, 3).T
    stride = element
    if len(views.buffer):
        own = np.where(view >= 0, views.stride[view], 0)
        stride = np.where(own > 0, own, element)
    accessors = Accessors(doc, views, view, offset, count, kind, components, element, stride)
    _check_ranges(accessors)
    _check_budget(accessors)
    for index in (i for i, row in enumerate(table) if row.get("sparse") is not None):
        accessors.sparse[index] = _read_sparse(accessors, index, table[index])
    return accessors


def _read_views(doc: Document) -> Views:
    table = rows(doc.json, "bufferViews")
    buffer = references(table, "buffer", "bufferView", len(doc.buffers), required=True)
    start = whole_numbers(table, "byteOffset", "bufferView", 0, rule="buffer_view_range")
    length = whole_numbers(table, "byteLength", "bufferView", rule="buffer_view_range")
    stride = whole_numbers(table, "byteStride", "bufferView", 0, rule="buffer_view_range")
    held = np.array(doc.buffer_bytes, np.int64)[buffer] if len(buffer) else buffer
    beyond = np.flatnonzero(start + length > held)
    if len(beyond):
        at = int(beyond[0])
        raise fault(
            "buffer_view_range",
            f"bufferView {at} covers bytes {start[at]:,} to {start[at] + length[at]:,} of a buffer "
            f"of {held[at]:,}; export it again.",
        )
    wide = np.flatnonzero(stride > 65_535)
    if len(wide):
        raise fault(
            "buffer_view_range",
            f"bufferView {wide[0]}: byteStride is {stride[wide[0]]:,}, expected 4 to 252.",
        )
    return Views(buffer, start, length, stride)


def _layout(shape: Any, kind: int, index: int) -> tuple[int, int, int]:
    """Component type, numbers per element, bytes per packed element."""
    components = _COMPONENTS.get(shape) if isinstance(shape, str) else None
    if components is None or kind not in _COMPONENT_TYPES:
        raise fault(
            "bad_accessor",
            f"accessor {index} has type {show(shape)} of component type {kind}, "
            "which glTF does not know; export it again.",
        )
    size = 1 << ((kind - 5120) >> 1) if kind < 5124 else 4
    return kind, components, _PADDED.get((str(shape), size), components * size)


def _check_ranges(accessors: Accessors) -> None:
    stored = np.flatnonzero(accessors.view >= 0)
    if not len(stored):
        return
    count = accessors.count[stored]
    span = accessors.stride[stored] * (count - 1) + accessors.element[stored]
    stop = np.where(count > 0, accessors.offset[stored] + span, 0)
    held = accessors.views.length[accessors.view[stored]]
    beyond = np.flatnonzero(stop > held)
    if len(beyond):
        at = beyond[0]
        index = int(stored[at])
        raise fault(
            "accessor_range",
            f"accessor {index} ({count[at]:,} elements at byte {accessors.offset[index]:,}) ends "
            f"at byte {stop[at]:,} of bufferView {accessors.view[index]}, which has {held[at]:,}; "
            "export it again.",
        )


def _check_budget(accessors: Accessors) -> None:
    """Bound the work of all later reads, and what an importer allocates for absent data."""
    limits = accessors.doc.limits
    total = float((accessors.count.astype(float) * accessors.components).sum())
    if total > limits.values_max:
        raise fault(
            "too_many_values",
            f"the accessors hold {total:,.0f} numbers, the limit is {limits.values_max:,}; "
            "split or simplify the asset.",
        )
    absent_max = max(limits.vertices_max, 3 * limits.triangles_max)
    absent = np.flatnonzero((accessors.view < 0) & (accessors.count > absent_max))
    if len(absent):
        at = int(absent[0])
        raise fault(
            "too_many_values",
            f"accessor {at} claims {accessors.count[at]:,} elements without storing any, "
            f"the limit is {absent_max:,}; export it again.",
        )


def _read_sparse(accessors: Accessors, index: int, row: Row) -> Sparse:
    what = f"accessor {index}: sparse"
    (sparse,) = rows({"sparse": [row["sparse"]]}, "sparse", what)
    count = int(whole_numbers([sparse], "count", what, rule="accessor_range")[0])
    parts = rows({"parts": [sparse.get("indices"), sparse.get("values")]}, "parts", what)
    views = accessors.views
    view = references(parts, "bufferView", what, len(views.buffer), required=True).tolist()
    offset = whole_numbers(parts, "byteOffset", what, 0, rule="accessor_range").tolist()
    (kind,) = whole_numbers(parts[:1], "componentType", what, rule="bad_accessor").tolist()
    if kind not in INDEX_TYPES:
        raise fault("bad_accessor", f"{what} indices are of component type {kind}.")
    sizes = (np.dtype(_COMPONENT_TYPES[kind]).itemsize, int(accessors.element[index]))
    stops = [offset[i] + count * sizes[i] for i in (0, 1)]
    if count > accessors.count[index] or any(stops[i] > views.length[view[i]] for i in (0, 1)):
        raise fault("accessor_range", f"{what} replaces {count:,} elements past the data's end.")
    found = Sparse(count, kind, view[0], offset[0], view[1], offset[1])
    accessors.sparse[index] = found
    positions = accessors.read_sparse(index)[0]
    if len(positions) and int(positions.max()) >= accessors.count[index]:
        raise fault(
            "accessor_range",
            f"{what} replaces element {positions.max()} of {accessors.count[index]:,}.",
        )
    return found


def attribute_table(table: list[Row], what: str, count: int) -> list[dict[str, int]]:
    """Check objects that map attribute names to accessor indices.

    Raises:
        AssetError: rule ``bad_reference``.
    """
    flat = [{"value": value} for value in chain.from_iterable(row.values() for row in table)]
    references(flat, "value", what, count, required=True)
    return table
