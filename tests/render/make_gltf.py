"""Write small glTF files by hand, so that what Blender must show is known to the last digit."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

# Faces of a cube by the side they look to in Blender's axes (z up, the front camera stands at -y),
# each with a colour of its own: linear RGB that sRGB encodes to multiples of 51.
FACES = {
    "front": ((0, -1, 0), (255, 0, 0)),
    "back": ((0, 1, 0), (0, 255, 0)),
    "right": ((1, 0, 0), (0, 0, 255)),
    "left": ((-1, 0, 0), (255, 255, 0)),
    "top": ((0, 0, 1), (102, 153, 204)),
    "bottom": ((0, 0, -1), (51, 51, 51)),
}


def linear(srgb: float) -> float:
    """Decode one sRGB value in 0..255 to linear 0..1 (IEC 61966-2-1)."""
    value = srgb / 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def to_gltf(vector: Any) -> list[float]:
    """Turn Blender's axes (z up) into glTF's (y up)."""
    x, y, z = (float(value) for value in vector)
    return [x, z, -y]


class Gltf:
    """A glTF document in the making; all vectors are given in Blender's axes."""

    def __init__(self) -> None:
        self.doc: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "materials": [],
            "accessors": [],
            "bufferViews": [],
            "buffers": [],
            "extensionsUsed": ["KHR_materials_unlit"],
        }
        self.blob = bytearray()

    def accessor(self, array: np.ndarray, kind: str) -> int:
        code = {np.dtype("<f4"): 5126, np.dtype("<u2"): 5123, np.dtype("u1"): 5121}[array.dtype]
        self.blob.extend(bytes(-len(self.blob) % 4))
        view = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": array.nbytes}
        self.blob.extend(array.tobytes())
        self.doc["bufferViews"].append(view)
        entry: dict[str, Any] = {
            "bufferView": len(self.doc["bufferViews"]) - 1,
            "componentType": code,
            "count": len(array),
            "type": kind,
        }
        if kind in ("VEC3", "SCALAR") and code == 5126:
            flat = array.reshape(len(array), -1)
            entry |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self.doc["accessors"].append(entry)
        return len(self.doc["accessors"]) - 1

    def material(self, srgb: tuple[int, int, int]) -> int:
        colour = [linear(value) for value in srgb] + [1.0]
        self.doc["materials"].append(
            {
                "pbrMetallicRoughness": {"baseColorFactor": colour, "metallicFactor": 0},
                "extensions": {"KHR_materials_unlit": {}},
            }
        )
        return len(self.doc["materials"]) - 1

    def cube(self, size: float = 1.0, faces: Any = None) -> int:
        """Add a mesh: a cube around the origin, one unlit material a face."""
        primitives = []
        for normal, srgb in (faces or FACES).values():
            axis = np.array(normal, float)
            side = np.array([axis[2], axis[0], axis[1]])
            other = np.cross(axis, side)
            corners = [axis - side - other, axis + side - other, axis + side + other]
            corners.append(axis - side + other)
            points = np.array([to_gltf(c * size / 2) for c in corners], "<f4")
            primitives.append(
                {
                    "attributes": {"POSITION": self.accessor(points, "VEC3")},
                    "indices": self.accessor(np.array([0, 1, 2, 0, 2, 3], "<u2"), "SCALAR"),
                    "material": self.material(srgb),
                }
            )
        self.doc["meshes"].append({"primitives": primitives})
        return len(self.doc["meshes"]) - 1

    def node(self, name: str, mesh: int | None = None, at: Any = (0, 0, 0), **more: Any) -> int:
        """Add a node to the scene."""
        entry: dict[str, Any] = {"name": name, "translation": to_gltf(at)} | more
        if mesh is not None:
            entry["mesh"] = mesh
        self.doc["nodes"].append(entry)
        self.doc["scenes"][0]["nodes"].append(len(self.doc["nodes"]) - 1)
        return len(self.doc["nodes"]) - 1

    def animate(self, name: str, moves: dict[int, tuple[list[float], list[Any]]]) -> None:
        """Add a clip: node -> (times in seconds, positions), linear in between."""
        samplers, channels = [], []
        for node, (times, places) in moves.items():
            samplers.append(
                {
                    "input": self.accessor(np.array(times, "<f4"), "SCALAR"),
                    "output": self.accessor(
                        np.array([to_gltf(place) for place in places], "<f4"), "VEC3"
                    ),
                }
            )
            target = {"node": node, "path": "translation"}
            channels.append({"sampler": len(samplers) - 1, "target": target})
        self.doc.setdefault("animations", []).append(
            {"name": name, "samplers": samplers, "channels": channels}
        )

    def save(self, path: Path) -> Path:
        """Write a .gltf with its buffer inside."""
        data = base64.b64encode(self.blob).decode()
        uri = f"data:application/octet-stream;base64,{data}"
        self.doc["buffers"] = [{"byteLength": len(self.blob), "uri": uri}]
        path.write_text(json.dumps(self.doc))
        return path


def moving_cube(path: Path) -> Path:
    """Write a coloured cube that goes 1 to the right in 1 s, and a second clip that lifts it."""
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.animate("right", {node: ([0.0, 1.0], [(0, 0, 0), (1, 0, 0)])})
    gltf.animate("lift", {node: ([0.0, 0.5], [(0, 0, 0), (0, 0, 2)])})
    return gltf.save(path)
