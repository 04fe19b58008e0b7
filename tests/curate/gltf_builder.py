"""Build tiny glTF files by hand, to be broken one property at a time."""

import base64
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.inspect import InspectLimits, inspect_file
from shards.errors import AssetError

_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_CODES = {"f4": 5126, "i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125}


class Tiny:
    """A glTF in the making: ``doc`` is its JSON, ``blob`` the bytes of buffer 0."""

    def __init__(self) -> None:
        self.doc: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "buffers": [{}],
            "bufferViews": [],
            "accessors": [],
        }
        self.blob = bytearray()
        self._noted = -1

    def view(self, data: bytes) -> int:
        """Append bytes as a buffer view of their own; returns its index."""
        self.blob.extend(b"\0" * (-len(self.blob) % 4))
        row = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data)}
        self.doc["bufferViews"].append(row)
        self.blob.extend(data)
        return len(self.doc["bufferViews"]) - 1

    def accessor(self, values: Any, dtype: str = "f4", **more: Any) -> int:
        """Append an array (count,) or (count, components) as an accessor; returns its index."""
        array = np.array(values, "<" + dtype)
        components = array.shape[1] if array.ndim == 2 else 1
        row = {
            "bufferView": self.view(array.tobytes()),
            "componentType": _CODES[dtype],
            "count": len(array),
            "type": _TYPES[components],
        }
        self.doc["accessors"].append(row | more)
        return len(self.doc["accessors"]) - 1

    def clip(self, times: Any, values: Any, path: str = "translation", **sampler: Any) -> dict:
        """Append an animation of node 0 with a single channel; returns its JSON."""
        row = {
            "name": "Up",
            "samplers": [
                {"input": self.accessor(times), "output": self.accessor(values)} | sampler
            ],
            "channels": [{"sampler": 0, "target": {"node": 0, "path": path}}],
        }
        self.doc.setdefault("animations", []).append(row)
        return row

    def gltf(self, path: Path) -> Path:
        """Write as JSON with the buffer inside."""
        self._close()
        for buffer in self.doc["buffers"][:1]:
            content = base64.b64encode(self.blob).decode()
            buffer.setdefault("uri", f"data:application/octet-stream;base64,{content}")
        path.write_text(json.dumps(self.doc))
        return path

    def glb(self, path: Path) -> Path:
        """Write as GLB."""
        self._close()
        path.write_bytes(glb_bytes(json.dumps(self.doc).encode(), bytes(self.blob)))
        return path

    def _close(self) -> None:
        """Note the buffer's length, unless a test has set one of its own."""
        for buffer in self.doc["buffers"][:1]:
            if buffer.get("byteLength") in (None, self._noted):
                self._noted = buffer["byteLength"] = len(self.blob)


def glb_bytes(text: bytes, blob: bytes) -> bytes:
    """Frame JSON text and a binary chunk as GLB."""
    text += b" " * (-len(text) % 4)
    blob += b"\0" * (-len(blob) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(blob), b"BIN\0") + blob
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def tiny() -> Tiny:
    """Make a triangle that rises in 2 s; accessors: positions, indices, times, translations."""
    made = Tiny()
    position = made.accessor([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    indices = made.accessor([0, 1, 2], "u2")
    made.doc |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "Tri"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": position}, "indices": indices}]}],
    }
    made.clip([0.0, 2.0], [[0, 0, 0], [0, 0, 1]])
    return made


def refused(path: Path, limits: InspectLimits | None = None) -> str:
    """Inspect a file that must be refused; returns the rule."""
    with pytest.raises(AssetError, match=re.escape(path.stem)) as caught:
        inspect_file(path, limits or InspectLimits())
    assert caught.value.stage == "inspect"
    return caught.value.rule


def png_header(width: int, height: int) -> bytes:
    """Make the beginning of a PNG; nothing decodes it, so no pixels follow."""
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", width, height) + b"\x08\x06\0\0\0"
    )
