"""The first look at a glTF: its header alone, to sort out what holds nothing of interest.

Most 3D files in the wild are not animated. Reading the JSON and nothing else says so at hundreds of
files a second. What is said here is what the file claims; ``curate.inspect`` proves it.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.gltf_file import parse_json, references, rows
from curate.inspect_types import DEFAULT_LIMITS, InspectLimits, fault
from shards.errors import AssetError

_HEADER = struct.Struct("<4sIII4s")


@dataclass(frozen=True, slots=True)
class Glance:
    """What a header claims.

    Attributes:
        clips: animations.
        longest_s: length of the longest, by the largest key time that its accessors declare.
        meshes, skins: how many.
        vertices: of all meshes, as often as nodes show them.
        image_bytes: of the images inside the file.
        morphs: whether any mesh has morph targets.
        required: extensions that a reader must know.
    """

    clips: int
    longest_s: float
    meshes: int
    skins: int
    morphs: bool
    required: tuple[str, ...]
    vertices: int = 0
    image_bytes: int = 0


def glance(path: Path, limits: InspectLimits = DEFAULT_LIMITS) -> Glance:
    """Read a glTF's header: of a GLB the JSON chunk, nothing of the binary one.

    Raises:
        AssetError: it is no glTF, or its JSON does not hold together.
    """
    try:
        root = parse_json(_text(path, limits), limits)
        meshes = rows(root, "meshes")
        return Glance(
            clips=len(rows(root, "animations")),
            longest_s=_longest_s(root),
            meshes=len(meshes),
            skins=len(rows(root, "skins")),
            morphs=any(p.get("targets") for mesh in meshes for p in rows(mesh, "primitives")),
            required=tuple(n for n in root.get("extensionsRequired") or () if isinstance(n, str)),
            vertices=_vertices(root),
            image_bytes=_image_bytes(root),
        )
    except AssetError:
        raise
    except OSError as error:
        raise fault("unreadable_file", f"it cannot be read: {error.strerror or error}.") from error
    except (TypeError, AttributeError) as error:
        raise fault("bad_schema", f"the header does not hold together: {error}.") from error


def _text(path: Path, limits: InspectLimits) -> bytes:
    with path.open("rb") as stream:
        if path.suffix.lower() != ".glb":
            return stream.read(limits.json_bytes_max + 1)
        head = stream.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise fault("truncated_file", "a GLB needs 20 bytes; copy it again.")
        magic, version, _, length, kind = _HEADER.unpack(head)
        if magic != b"glTF" or kind != b"JSON":
            raise fault("bad_glb", "it does not begin as a GLB with a JSON chunk.")
        if version != 2:
            raise fault("gltf_version", f"GLB version is {version}, expected 2; export it again.")
        text = stream.read(min(length, limits.json_bytes_max + 1))
        if len(text) < min(length, limits.json_bytes_max + 1):
            raise fault("truncated_file", "its JSON chunk is cut off; copy it again.")
        return text


def _longest_s(root: dict[str, Any]) -> float:
    accessors = rows(root, "accessors")
    samplers = [s for animation in rows(root, "animations") for s in rows(animation, "samplers")]
    inputs = references(samplers, "input", "sampler", len(accessors), required=True)
    longest_s = 0.0
    for index in set(inputs.tolist()):
        largest = accessors[index].get("max")
        if isinstance(largest, list) and largest and type(largest[0]) in (int, float):
            longest_s = max(longest_s, float(largest[0]))
    return longest_s


def _vertices(root: dict[str, Any]) -> int:
    accessors = rows(root, "accessors")
    counts = [
        sum(
            _count(accessors, primitive.get("attributes", {}).get("POSITION"), "count")
            for primitive in rows(mesh, "primitives")
        )
        for mesh in rows(root, "meshes")
    ]
    shown = [node.get("mesh") for node in rows(root, "nodes")]
    return sum(counts[place] for place in shown if type(place) is int and 0 <= place < len(counts))


def _image_bytes(root: dict[str, Any]) -> int:
    views = rows(root, "bufferViews")
    return sum(
        _count(views, image.get("bufferView"), "byteLength") for image in rows(root, "images")
    )


def _count(table: list[dict[str, Any]], place: Any, name: str) -> int:
    """Return a number of a row that may be named wrongly; then there is none."""
    if type(place) is not int or not 0 <= place < len(table):
        return 0
    number = table[place].get(name)
    return number if type(number) is int and number > 0 else 0
