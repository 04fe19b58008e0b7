"""glTF images, textures and materials: references in range, pictures measured, nothing fetched."""

from typing import Any

from curate.gltf_accessors import Accessors
from curate.gltf_file import Document, Row, data_uri, extension, reference, references, rows
from curate.inspect_images import HEAD_MAX, check_image
from curate.inspect_paths import check_file_count, is_remote
from curate.inspect_types import fault, show

_TEXTURE_SOURCES = ("EXT_texture_webp", "KHR_texture_basisu", "MSFT_texture_dds")


def check_images(doc: Document, accessors: Accessors) -> None:
    """Measure every image, and note those that are missing.

    An absent or remote picture only warns: the geometry is fine without it.

    Raises:
        AssetError: rules ``image_too_large``, ``bad_image``, ``path_traversal``, ``bad_uri``,
            ``bad_data_uri``, ``bad_reference``, ``bad_schema``, ``file_too_large``,
            ``too_many_files``.
    """
    table = rows(doc.json, "images")
    check_file_count(len(table), "images", doc.limits)
    views = references(table, "bufferView", "image", len(accessors.views.buffer)).tolist()
    for index, (row, view) in enumerate(zip(table, views, strict=True)):
        uri = row.get("uri")
        if uri is not None and not isinstance(uri, str):
            raise fault("bad_schema", f"image {index}: uri is {show(uri)}, expected a string.")
        data = _fetch_image(doc, uri, index) if uri else _stored_image(doc, accessors, view, index)
        if data is not None:
            check_image(data, f"image {index}", doc.folder)


def check_materials(doc: Document) -> None:
    """Check that materials name existing textures, and textures existing images.

    Raises:
        AssetError: rules ``bad_reference`` and ``bad_schema``.
    """
    images = len(rows(doc.json, "images"))
    textures = rows(doc.json, "textures")
    references(textures, "source", "texture", images)
    references(textures, "sampler", "texture", len(rows(doc.json, "samplers")))
    for index, row in enumerate(textures):
        if row.get("extensions") is not None:
            for name in _TEXTURE_SOURCES:
                other = extension(row, name, f"texture {index}")
                references([other], "source", f"texture {index} {name}", images)
    for index, row in enumerate(rows(doc.json, "materials")):
        _check_material(row, f"material {index}", len(textures))


def _check_material(material: Row, what: str, textures: int) -> None:
    """Look through a material, extensions included, for objects named ``...Texture``."""
    pending: list[Any] = [material]
    while pending:
        value = pending.pop()
        for key, child in value.items():
            if not isinstance(child, dict) or key == "extras":
                continue
            if key.endswith("Texture"):
                reference(child, "index", f"{what}: {show(key)}", textures)
            pending.append(child)


def _stored_image(doc: Document, accessors: Accessors, view: int, index: int) -> bytes | None:
    data = None
    if view >= 0:
        views = accessors.views
        data = doc.buffers[int(views.buffer[view])]
        if data is not None:
            start, length = int(views.start[view]), int(views.length[view])
            return data[start : start + min(length, HEAD_MAX)].tobytes()
    doc.folder.miss_image(f"image {index} has no content; it will look untextured")
    return None


def _fetch_image(doc: Document, uri: str, index: int) -> bytes | None:
    data = data_uri(uri)
    if data is not None:
        return data
    relative = doc.folder.locate(uri, percent=True)
    data = doc.folder.read(relative)
    if data is None and is_remote(uri):
        reason = f"lies at {show(uri)}; it is not fetched over the network"
        doc.folder.miss_image(f"image {index} {reason}")
    elif data is None:
        doc.folder.miss_image(f"image {index}: no file {show(relative)} beside the asset")
    return data
