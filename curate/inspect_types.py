"""What an inspection may spend, what it finds, and how it refuses.

Shared by every format's inspector. A new rule is one word in ``Rule``; pyright then holds all
callers of ``fault`` to the list.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from render.image_size import PIXELS_MAX, PIXELS_TOTAL_MAX
from shards.errors import AssetError

if TYPE_CHECKING:
    from curate.gltf_parts import GltfParts

Rule = Literal[
    # the file itself
    "missing_file",
    "not_a_file",
    "unreadable_file",
    "empty_file",
    "file_too_large",
    "too_many_files",
    "unsupported_type",
    "wrong_type",
    "truncated_file",
    "inspector_fault",
    # what it points at
    "missing_buffer",
    "truncated_buffer",
    "missing_layer",
    "path_traversal",
    "remote_uri",
    "bad_uri",
    "bad_data_uri",
    # glTF
    "bad_glb",
    "bad_json",
    "json_too_large",
    "gltf_version",
    "bad_schema",
    "bad_reference",
    "buffer_view_range",
    "accessor_range",
    "bad_accessor",
    "too_many_values",
    "attribute_count",
    "index_range",
    "joint_range",
    "bad_draco",
    "bad_meshopt",
    "non_finite_vertices",
    "non_finite_keyframes",
    "non_finite_matrices",
    "bad_transform",
    "node_cycle",
    "node_two_parents",
    "hierarchy_too_deep",
    "too_many_nodes",
    "too_many_vertices",
    "too_many_triangles",
    "too_many_clips",
    "bad_interpolation",
    "keyframe_count",
    # images
    "image_too_large",
    "bad_image",
    # other formats
    "bad_fbx",
    "bad_usd",
    "bad_usdz",
]


@dataclass(frozen=True, slots=True)
class InspectLimits:
    """Bounds beyond which a file is refused before anything of that size is allocated.

    ``file_bytes_max`` holds for the asset as a whole: main file and companions together.
    ``json_values_max`` bounds the objects that parsing makes of the JSON text, ``values_max`` the
    numbers that all glTF accessors together claim to hold, and so the time spent reading them,
    ``decoded_bytes_max`` what compressed buffer views may become.
    Pixel limits are per image and for all images of the asset.
    """

    file_bytes_max: int = 2 * 1024**3
    json_bytes_max: int = 256 * 1024**2
    json_values_max: int = 10_000_000
    values_max: int = 500_000_000
    decoded_bytes_max: int = 256 * 1024**2
    vertices_max: int = 5_000_000
    triangles_max: int = 10_000_000
    nodes_max: int = 100_000
    depth_max: int = 500  # Blender's importer walks the hierarchy by recursion
    clips_max: int = 10_000
    files_max: int = 10_000  # buffers, images, entries of a package: each of them
    references_max: int = 100_000  # distinct asset paths in USD layers
    image_pixels_max: int = PIXELS_MAX
    image_pixels_total_max: int = PIXELS_TOTAL_MAX
    duration_s_max: float = 3600.0  # for later rules about clips; inspection reports, never refuses
    warnings_max: int = 50


DEFAULT_LIMITS = InspectLimits()


@dataclass(frozen=True, slots=True)
class ClipHeader:
    """One animation as the file declares it: 0-based index, name, length in seconds."""

    index: int
    name: str  # "" when the file gives none; names may repeat
    duration_s: float  # from t = 0 to the last keyframe of any channel


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a sound asset before Blender sees it.

    Attributes:
        format: ``glb``, ``gltf``, ``fbx``, ``usd``, ``usda``, ``usdc``, ``usdz`` or ``blend``.
        sha256: of the main file, hex.
        companions: (POSIX path relative to the main file's folder, sha256) of each file that the
            asset points at and that exists, sorted by path.
        clips: in file order; None where only Blender can tell (all formats but glTF).
        vertices: of meshes that the default scene reaches, counted once per use; None as above.
        triangles: likewise.
        pixels: of all images, by their headers; None as above.
        missing_images: that are not there, or cannot be read; None as above.
        warnings: what is amiss but does not stop the asset, one sentence each.
        licence: as the file declares it, "" when it doesn't.
        attribution: author or copyright line, "" when absent.
        generator: the exporting program, "" when absent.
        parts: a glTF's checked content, for ``curate.gltf_pose``; None for other formats.
    """

    format: str
    sha256: str
    companions: tuple[tuple[str, str], ...] = ()
    clips: tuple[ClipHeader, ...] | None = None
    vertices: int | None = None
    triangles: int | None = None
    pixels: int | None = None
    missing_images: int | None = None
    warnings: tuple[str, ...] = ()
    licence: str = ""
    attribution: str = ""
    generator: str = ""
    parts: "GltfParts | None" = field(default=None, compare=False, repr=False)


def fault(rule: Rule, message: str) -> AssetError:
    """Make the error that refuses an asset at this gate; the caller raises it."""
    return AssetError(message, rule=rule, stage="inspect")


def show(value: Any, length: int = 80) -> str:
    """Quote a value found in a file: plain ASCII, at most ``length`` characters."""
    if isinstance(value, str):
        text = ascii(value[: length + 1])
    elif isinstance(value, list | dict):  # ascii() of deep nesting recurses
        text = "a list" if isinstance(value, list) else "an object"
    elif isinstance(value, int) and value.bit_length() > 200:
        text = "an enormous number"
    else:
        text = ascii(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def clean_text(value: Any) -> str:
    """Take a string from a file so that it can be encoded as UTF-8; anything else gives ""."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
