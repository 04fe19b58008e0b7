"""glTF files compressed as gltfpack does it: buffer views are streams, their buffer is empty."""

from typing import Any

import meshopt
import numpy as np

from tests.curate.gltf_builder import Tiny

NAME = "EXT_meshopt_compression"
_INDICES = {5121: "u1", 5123: "u2", 5125: "u4"}


def compress(made: Tiny, name: str = NAME, filters: dict[int, str] | None = None) -> Tiny:
    """Compress all accessors of a file in the making.

    Args:
        made: whose accessors have a buffer view each; read, not changed.
        name: of the extension.
        filters: by accessor; its values have gone through that filter already.
    """
    packed = Tiny()
    packed.doc |= {key: value for key, value in made.doc.items() if key != "buffers"}
    views = [dict(row) for row in made.doc["bufferViews"]]
    rows: list[dict[str, Any]] = []
    length = 0
    corners = {p["indices"] for m in made.doc["meshes"] for p in m["primitives"] if "indices" in p}
    packed.doc |= {"accessors": [dict(row) for row in made.doc["accessors"]], "bufferViews": []}
    for index, accessor in enumerate(packed.doc["accessors"]):
        view = views[accessor["bufferView"]]
        data = np.frombuffer(made.blob, np.uint8)[view["byteOffset"] :][: view["byteLength"]]
        count = accessor["count"]
        if index in corners:
            indices = data.view("<" + _INDICES[accessor["componentType"]]).astype(np.uint32)
            mode, size = ("TRIANGLES" if count % 3 == 0 else "INDICES"), 4
            accessor["componentType"] = 5125
            stream = meshopt.encode_gltf_buffer(indices, mode)
        else:
            values = data.reshape(count, -1)
            values = np.pad(values, ((0, 0), (0, -values.shape[1] % 4)))
            mode, size = "ATTRIBUTES", values.shape[1]
            stream = meshopt.encode_gltf_buffer(values, mode)
        start = packed.doc["bufferViews"][packed.view(stream)]["byteOffset"]
        about = {
            "buffer": 0, "byteOffset": start, "byteLength": len(stream), "byteStride": size,
            "count": count, "mode": mode,
        }  # fmt: skip
        if filters and index in filters:
            about["filter"] = filters[index]
        accessor["bufferView"] = index
        row = {"buffer": 1, "byteOffset": length, "byteLength": count * size}
        if mode == "ATTRIBUTES":
            row["byteStride"] = size
        rows.append(row | {"extensions": {name: about}})
        length += count * size
    packed.doc["bufferViews"] = rows
    placeholder = {"byteLength": length, "extensions": {name: {"fallback": True}}}
    packed.doc["buffers"] = [{}, placeholder]
    for key in ("extensionsUsed", "extensionsRequired"):
        packed.doc[key] = [*made.doc.get(key, ()), name]
    return packed
