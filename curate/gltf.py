"""glTF without Blender: prove a file sound, and say what it holds.

Everything is checked by arithmetic on declared numbers before the bytes are read, so that a
hostile file costs little. What passes here can be opened by an importer without reading past a
buffer, recursing without end, decoding a gigantic picture or touching other people's files.

The parts: ``gltf_file`` (chunks, JSON, buffers), ``gltf_meshopt``, ``gltf_accessors``,
``gltf_meshes``, ``gltf_scene``, ``gltf_clips``, ``gltf_images``. A new check belongs to the part
whose data it reads, with a rule in ``inspect_types.Rule`` and a case in
``tests/curate/test_gltf.py``.
"""

from curate.gltf_accessors import read_accessors
from curate.gltf_clips import read_clips
from curate.gltf_file import Document, load_buffers, mapping, parse_json, split_glb
from curate.gltf_images import check_images, check_materials
from curate.gltf_meshes import read_meshes
from curate.gltf_meshopt import decompress
from curate.gltf_parts import GltfParts
from curate.gltf_scene import count_geometry, read_nodes
from curate.gltf_unquantise import unquantise
from curate.inspect_paths import AssetFolder
from curate.inspect_types import Inspection, clean_text, fault, show

# What Blender's importer handles, or is made plain before; it refuses what requires anything else.
_SUPPORTED = frozenset(
    [
        "EXT_mesh_gpu_instancing",
        "EXT_meshopt_compression",
        "EXT_texture_webp",
        "KHR_animation_pointer",
        "KHR_draco_mesh_compression",
        "KHR_lights_punctual",
        "KHR_materials_anisotropy",
        "KHR_materials_clearcoat",
        "KHR_materials_emissive_strength",
        "KHR_materials_ior",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_sheen",
        "KHR_materials_specular",
        "KHR_materials_transmission",
        "KHR_materials_unlit",
        "KHR_materials_variants",
        "KHR_materials_volume",
        "KHR_mesh_quantization",
        "KHR_meshopt_compression",
        "KHR_texture_transform",
    ]
)


def inspect_gltf(data: bytes, folder: AssetFolder, format: str, sha256: str) -> Inspection:
    """Check a whole glTF asset.

    Args:
        data: content of the main file.
        folder: where its companions lie; collects hashes and warnings.
        format: ``glb`` or ``gltf``.
        sha256: of ``data``, passed through.

    Returns:
        Clips in file order with their lengths in seconds, counts as the default scene shows them.

    Raises:
        AssetError: with the rule that refuses the asset.
    """
    binary = None
    if format == "glb":
        data, binary = split_glb(data)
    doc = Document(parse_json(data, folder.limits), folder, [], [])
    _check_extensions(doc)
    load_buffers(doc, binary)
    decompress(doc)
    accessors = read_accessors(doc)
    check_materials(doc)
    check_images(doc, accessors)
    meshes = read_meshes(doc, accessors)
    nodes = read_nodes(doc, accessors, meshes)
    vertices, triangles = count_geometry(doc, nodes, meshes)
    clips = read_clips(doc, accessors, nodes, meshes)
    if unquantise(doc, accessors):
        doc.rewritten = True
        accessors = read_accessors(doc)
        meshes = read_meshes(doc, accessors)
    asset = doc.json["asset"]
    extras = asset.get("extras")
    extras = extras if isinstance(extras, dict) else {}
    return Inspection(
        format=format,
        sha256=sha256,
        companions=tuple(sorted(folder.companions.items())),
        clips=clips,
        vertices=vertices,
        triangles=triangles,
        pixels=folder.pixels,
        missing_images=folder.missing_images,
        warnings=tuple(folder.warnings),
        licence=clean_text(extras.get("license")) or clean_text(extras.get("licence")),
        attribution=clean_text(extras.get("author")) or clean_text(asset.get("copyright")),
        generator=clean_text(asset.get("generator")),
        parts=GltfParts(doc, accessors, meshes, nodes),
    )


def _check_extensions(doc: Document) -> None:
    mapping(doc.json, "extensions", "the file")
    required = doc.json.get("extensionsRequired") or []
    used = doc.json.get("extensionsUsed") or []
    for names in (required, used):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise fault("bad_schema", "extensionsRequired and extensionsUsed must list strings.")
    for name in required:
        if name not in _SUPPORTED:
            doc.folder.warn(f"requires extension {show(name)}, which Blender may not support")
