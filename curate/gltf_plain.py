"""A checked glTF as Blender can open it, where the file itself is beyond its importer."""

import json
import shutil
import struct
from pathlib import Path

from curate.gltf_file import Document, data_uri, rows
from curate.inspect_types import Inspection

_MIME = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"RIFF", "image/webp"))


def importable(file: Path, inspection: Inspection, scratch: Path) -> tuple[Path, str]:
    """Name the file to import, and its format: the asset itself, or a plain copy of it.

    Args:
        file: the asset.
        inspection: of it.
        scratch: where a copy may be left, until the next.
    """
    if inspection.parts is None or not inspection.parts.doc.rewritten:
        return file, inspection.format
    folder = scratch / "plain"  # of its own: a name that it refers to must not be found here
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_plain(inspection.parts.doc, folder / "asset.glb")
    return folder / "asset.glb", "glb"


def write_plain(doc: Document, path: Path) -> None:
    """Write a document as a GLB with all its buffers and images inside."""
    chunks: list[memoryview | bytes] = []
    starts: list[int] = []
    size = 0

    def append(content: memoryview | bytes) -> int:
        nonlocal size
        start = size
        padding = bytes(-len(content) % 8)
        chunks.extend((content, padding))
        size += len(content) + len(padding)
        return start

    starts = [append(b"" if data is None else data.data) for data in doc.buffers]
    views = [
        row | {"buffer": 0, "byteOffset": starts[row["buffer"]] + (row.get("byteOffset") or 0)}
        for row in rows(doc.json, "bufferViews")
    ]
    images = list(rows(doc.json, "images"))
    for index, row in enumerate(images):
        content = _picture(doc, row.get("uri"))
        if content is not None:
            start, length = append(content), len(content)
            views.append({"buffer": 0, "byteOffset": start, "byteLength": length})
            mime = next((name for head, name in _MIME if content.startswith(head)), "image/png")
            rest = {key: value for key, value in row.items() if key != "uri"}
            images[index] = rest | {"bufferView": len(views) - 1, "mimeType": mime}
    root = doc.json | {"buffers": [{"byteLength": size}], "bufferViews": views}
    if images:
        root["images"] = images
    text = json.dumps(root).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + size))
        stream.write(struct.pack("<I4s", len(text), b"JSON") + text)
        stream.write(struct.pack("<I4s", size, b"BIN\0"))
        stream.writelines(chunks)


def _picture(doc: Document, uri: object) -> bytes | None:
    """Read an image beside the asset; None for one that is inside, or missing."""
    if not isinstance(uri, str) or not uri or data_uri(uri) is not None:
        return None
    path = doc.folder.root / doc.folder.locate(uri, percent=True)
    return path.read_bytes() if path.is_file() else None
