"""Buffer views under EXT_meshopt_compression, made plain before anything else reads them.

KHR_meshopt_compression is the same with one more filter. Blender knows neither, so an asset that
needs them is handed to it as a plain copy (``curate.gltf_plain``).
"""

import numpy as np

from curate.decoders import MeshoptLayout, decode_meshopt
from curate.gltf_file import Document, Row, extension, reference, rows, whole_numbers
from curate.inspect_types import fault, show

EXTENSIONS = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_INDEX_SIZES = (2, 4)
_SIZE_MAX = 256
# mode -> filter -> sizes of an element that it takes; none: those of the mode
_FILTERS: dict[str, dict[str, tuple[int, ...]]] = {
    "ATTRIBUTES": {
        "NONE": (), "OCTAHEDRAL": (4, 8), "QUATERNION": (8,), "EXPONENTIAL": (), "COLOR": (4, 8),
    },
    "TRIANGLES": {"NONE": ()},
    "INDICES": {"NONE": ()},
}  # fmt: skip


def decompress(doc: Document) -> None:
    """Put what compressed views hold into buffers of their own, and forget the extension.

    A view whose buffer is there uncompressed as well stays as it is where the file does not insist
    on the extension: that is what Blender reads.

    Raises:
        AssetError: rules ``bad_meshopt``, ``missing_buffer``, ``bad_reference``, ``bad_schema``,
            ``too_many_values``.
    """
    views = rows(doc.json, "bufferViews")
    required = not {*(doc.json.get("extensionsRequired") or ())}.isdisjoint(EXTENSIONS)
    decoded = 0
    for index, row in enumerate(views):
        if row.get("extensions") is None:
            continue
        what = f"bufferView {index}"
        about, name = _extension(row, what)
        own = reference(row, "buffer", what, len(doc.buffers)) if about else 0
        if not about or not (required or doc.buffers[own] is None):
            continue
        stream, layout = _stream(doc, about, f"{what} {name}")
        decoded += layout.count * layout.size
        if decoded > doc.limits.decoded_bytes_max:
            raise fault(
                "too_many_values",
                f"decompressed, the buffer views hold over {doc.limits.decoded_bytes_max:,} bytes, "
                "the limit; split or simplify the asset.",
            )
        doc.buffers.append(decode_meshopt(stream, layout))
        doc.buffer_bytes.append(layout.count * layout.size)
        views[index] = {key: value for key, value in row.items() if key != "extensions"} | {
            "buffer": len(doc.buffers) - 1, "byteOffset": 0, "byteLength": doc.buffer_bytes[-1],
        }  # fmt: skip
    if decoded:
        _forget(doc, views)


def _extension(row: Row, what: str) -> tuple[Row, str]:
    found = ((extension(row, name, what), name) for name in EXTENSIONS)
    return next(((about, name) for about, name in found if about), ({}, ""))


def _stream(doc: Document, about: Row, what: str) -> tuple[bytes, MeshoptLayout]:
    """Check what is said of a stream, and cut it out of its buffer."""
    buffer = reference(about, "buffer", what, len(doc.buffers))
    start, length, count, size = (
        int(whole_numbers([about], key, what, default)[0])
        for key, default in (("byteOffset", 0), ("byteLength", None), ("count", None),
                             ("byteStride", None))
    )  # fmt: skip
    mode, filter = about.get("mode"), about.get("filter", "NONE")
    filters = _FILTERS.get(mode) if isinstance(mode, str) else None
    if filters is None or not isinstance(filter, str) or filter not in filters:
        found = f"mode {show(mode)} and filter {show(filter)}"
        raise fault("bad_meshopt", f"{what} has {found}, which is no such pair; export it again.")
    sizes = filters[filter] or (range(4, _SIZE_MAX + 1, 4) if len(filters) > 1 else _INDEX_SIZES)
    if size not in sizes or (mode == "TRIANGLES" and count % 3) or not count:
        found = f"{count:,} elements of {size:,} bytes in mode {mode} with filter {filter}"
        raise fault("bad_meshopt", f"{what} has {found}; export it again.")
    data = doc.buffers[buffer]
    if data is None or start + length > len(data):
        held = "nothing" if data is None else f"{len(data):,} bytes"
        raise fault(
            "bad_meshopt",
            f"{what} lies at bytes {start:,} to {start + length:,} of buffer {buffer}, which "
            f"holds {held}; export it again.",
        )
    return data[start : start + length].tobytes(), MeshoptLayout(count, size, mode or "", filter)


def _forget(doc: Document, views: list[Row]) -> None:
    """Let the document say what it now is."""
    absent = {i for i, data in enumerate(doc.buffers) if data is None}
    for index, row in enumerate(views):
        if row.get("buffer") in absent:
            raise fault(
                "missing_buffer",
                f"bufferView {index} lies in buffer {row['buffer']}, which is but a placeholder "
                "for compressed views; export it again.",
            )
    for index in absent:
        doc.buffers[index], doc.buffer_bytes[index] = np.zeros(0, np.uint8), 0
    doc.json["bufferViews"] = views
    for key in ("extensionsUsed", "extensionsRequired"):
        if key in doc.json:
            doc.json[key] = [name for name in doc.json[key] or () if name not in EXTENSIONS]
    doc.rewritten = True
