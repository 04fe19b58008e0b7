"""What of a glTF is not geometry: how its surface looks, and what its cameras and lights do."""

import hashlib
import json
from typing import Any

import numpy as np

from curate.gltf_file import Document, Row, data_uri, extension, rows
from curate.gltf_parts import GltfParts, HandOver
from curate.gltf_values import read_floats
from curate.inspect_paths import clean_path

_LIGHTS = "KHR_lights_punctual"
_DRACO = "KHR_draco_mesh_compression"
_SOURCES = ("KHR_texture_basisu", "EXT_texture_webp", "MSFT_texture_dds")
_UNNAMED = ("name", "extras")
_STEPS = 4096  # of a texture coordinate or a colour: sums of whole numbers know no order


def opacities(doc: Document) -> np.ndarray:
    """Tell how opaque each material is, (materials + 1,); the last stands for none.

    Only the plain factor counts. A texture may be opaque anywhere, and so may a material that a
    clip changes.
    """
    changing = any("/materials/" in pointer for pointer in _pointers(doc))
    found = [1.0 if changing else _opacity(row) for row in rows(doc.json, "materials")]
    return np.array([*found, 1.0])


def _opacity(material: Row) -> float:
    mode = material.get("alphaMode")
    if mode not in ("BLEND", "MASK"):
        return 1.0
    factor = (material.get("pbrMetallicRoughness") or {}).get("baseColorFactor")
    alpha = factor[3] if isinstance(factor, list) and len(factor) == 4 else 1.0
    if type(alpha) not in (int, float):
        return 1.0
    if mode == "BLEND":
        return float(np.clip(alpha, 0.0, 1.0))
    cutoff = material.get("alphaCutoff", 0.5)
    return float(alpha >= cutoff) if type(cutoff) in (int, float) else 1.0


def camera_tracks(parts: GltfParts, clip: int) -> int:
    """Count the tracks of a clip that move cameras or lights, or the nodes that hold them."""
    nodes = rows(parts.doc.json, "nodes")
    holders = {
        i
        for i, row in enumerate(nodes)
        if row.get("camera") is not None or _LIGHTS in (row.get("extensions") or {})
    }
    parent = {child: i for i, row in enumerate(nodes) for child in row.get("children") or ()}
    carriers: set[int] = set()
    for node in holders:
        while node not in carriers:
            carriers.add(node)
            node = parent.get(node, node)
    try:
        nodes_moved = parts.clips[clip].node.tolist()
    except HandOver:
        nodes_moved = []
    moved = sum(node in carriers for node in nodes_moved)
    pointers = _pointers_of(rows(parts.doc.json, "animations")[clip])
    return moved + sum(p.startswith(("/cameras/", f"/extensions/{_LIGHTS}/")) for p in pointers)


def _pointers(doc: Document) -> list[str]:
    return [text for clip in rows(doc.json, "animations") for text in _pointers_of(clip)]


def _pointers_of(clip: Row) -> list[str]:
    """List the addresses that KHR_animation_pointer moves in a clip."""
    found: list[str] = []
    for channel in clip.get("channels") or ():
        about = ((channel.get("target") or {}).get("extensions") or {}).get("KHR_animation_pointer")
        pointer = about.get("pointer") if isinstance(about, dict) else None
        if isinstance(pointer, str):
            found.append(pointer)
    return found


def look_digest(parts: GltfParts) -> str:
    """Hash what the surface looks like: materials, images, and where they lie on the triangles.

    Names and order do not matter. Of two assets with one geometry, those of one digest are copies
    and the others recolours.
    """
    doc = parts.doc
    images = [_image_hash(parts, row) for row in rows(doc.json, "images")]
    textures = [_texture(row, images) for row in rows(doc.json, "textures")]
    materials = [_resolved(row, textures) for row in rows(doc.json, "materials")]
    shown = {int(i) for i in np.flatnonzero(parts.nodes.reached)}
    used = [parts.nodes.mesh[i] for i in sorted(shown) if parts.nodes.mesh[i] >= 0]
    meshes = rows(doc.json, "meshes")
    signed: dict[int, list[Any]] = {}
    for mesh in used:
        if int(mesh) not in signed:
            primitives = rows(meshes[int(mesh)], "primitives")
            signed[int(mesh)] = [_surface(parts, p, materials) for p in primitives]
    text = sorted(json.dumps(one, sort_keys=True) for mesh in used for one in signed[int(mesh)])
    return "gltf:" + hashlib.sha256("\n".join(text).encode()).hexdigest()[:32]


def _surface(parts: GltfParts, primitive: Row, materials: list[Any]) -> Any:
    """Describe a primitive: its material, and sums of its coordinates and colours."""
    number = primitive.get("material")
    found: dict[str, Any] = {"material": None if number is None else materials[int(number)]}
    draco = extension(primitive, _DRACO, "a primitive")
    attributes = primitive["attributes"]
    for name in sorted(attributes):
        if not name.startswith(("TEXCOORD_", "COLOR_")):
            continue
        if draco:
            found[name] = _stream_hash(parts, int(draco["bufferView"]))
            continue
        try:
            values = read_floats(parts, attributes[name])
        except HandOver:
            continue
        values = np.where(np.isfinite(values), values, 0.0)
        whole = np.round(np.clip(values, -1e6, 1e6) * _STEPS)
        found[name] = whole.sum(axis=0).tolist()
    return found


def _texture(row: Row, images: list[str]) -> str:
    source = row.get("source")
    for name in _SOURCES:
        about = (row.get("extensions") or {}).get(name)
        if isinstance(about, dict) and about.get("source") is not None:
            source = about["source"]
    return "" if source is None else images[int(source)]


def _image_hash(parts: GltfParts, row: Row) -> str:
    uri = row.get("uri")
    if isinstance(uri, str) and uri:
        data = data_uri(uri)
        if data is not None:
            return hashlib.sha256(data).hexdigest()
        relative = parts.doc.folder.locate(uri, percent=True)
        return parts.doc.folder.companions.get(clean_path(relative), "")
    view = row.get("bufferView")
    return "" if view is None else _stream_hash(parts, int(view))


def _stream_hash(parts: GltfParts, view: int) -> str:
    views = parts.accessors.views
    data = parts.doc.buffers[int(views.buffer[view])]
    if data is None:
        return ""
    start = int(views.start[view])
    return hashlib.sha256(data[start : start + int(views.length[view])].tobytes()).hexdigest()


def _resolved(value: Any, textures: list[str], depth: int = 0) -> Any:
    """Copy a material without names, its textures by content instead of by number."""
    if isinstance(value, dict) and depth < 20:
        found = {
            key: _resolved(child, textures, depth + 1)
            for key, child in value.items()
            if key not in _UNNAMED
        }
        index = found.get("index")
        if type(index) is int and 0 <= index < len(textures):
            found["index"] = textures[index]
        return found
    if isinstance(value, list):
        return [_resolved(child, textures, depth + 1) for child in value] if depth < 20 else None
    return value
