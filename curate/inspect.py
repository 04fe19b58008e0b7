"""The gate every file passes before Blender may touch it.

``inspect_file`` tells a file's kind from its bytes, never from its name alone, and hands it to the
inspector of that kind. It reads nothing outside the asset's folder and fetches nothing. To add a
format: its suffix in ``_KINDS``, its magic in ``sniff``, and a branch in ``_dispatch``.
"""

import hashlib
import os
import stat
import traceback
from pathlib import Path
from typing import BinaryIO

from curate.gltf import inspect_gltf
from curate.inspect_fbx import BINARY_MAGIC, check_fbx
from curate.inspect_paths import AssetFolder
from curate.inspect_types import (
    DEFAULT_LIMITS,
    ClipHeader,
    Inspection,
    InspectLimits,
    fault,
    show,
)
from curate.inspect_usd import CRATE_MAGIC, TEXT_MAGIC, ZIP_MAGIC, check_usd
from shards.errors import AssetError

__all__ = ["ClipHeader", "InspectLimits", "Inspection", "inspect_file", "sniff"]

# suffix -> kinds of content it may hold; the suffix without its dot is the format
_KINDS = {
    ".glb": ("glTF binary",),
    ".gltf": ("JSON text",),
    ".fbx": ("FBX",),
    ".usd": ("USD text", "USD crate"),
    ".usda": ("USD text",),
    ".usdc": ("USD crate",),
    ".usdz": ("zip archive",),
    ".blend": ("Blender file", "gzip data", "zstd data"),
}
_MAGICS = (
    (b"glTF", "glTF binary"),
    (BINARY_MAGIC, "FBX"),
    (b"BLENDER", "Blender file"),
    (CRATE_MAGIC, "USD crate"),
    (TEXT_MAGIC, "USD text"),
    (ZIP_MAGIC, "zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
)
_HEAD = 4096


def sniff(head: bytes) -> str:
    """Name the kind of content from a file's first bytes; ``unknown data`` for all others."""
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"; FBX"):
        return "FBX"
    return "JSON text" if text.startswith(b"{") else "unknown data"


def inspect_file(path: Path, limits: InspectLimits = DEFAULT_LIMITS) -> Inspection:
    """Check an asset without Blender and say what it holds.

    Args:
        path: the main file; companions are looked for in its folder only. The main file itself
            may be a symlink.
        limits: bounds beyond which the asset is refused.

    Returns:
        The inspection; clips and counts are None for formats that only Blender can read.

    Raises:
        AssetError: stage ``inspect``, with the rule that refuses the file, whatever its bytes.
            Rule ``inspector_fault`` means a defect of this program; its traceback is in ``detail``.
    """
    path = Path(path)
    try:
        return _inspect(path, limits)
    except AssetError as error:
        raise AssetError(
            f"{show(path.name)}: {error}", rule=error.rule, stage="inspect", detail=error.detail
        ) from None
    except OSError as error:
        raise fault(
            "unreadable_file",
            f"{show(path.name)} cannot be read: {error.strerror or error}; check its permissions.",
        ) from error
    except Exception as error:
        # One strange file among a million must not stop the run, but it must be seen.
        raise AssetError(
            f"{show(path.name)}: the inspector itself failed ({type(error).__name__}); "
            "please report it with the file.",
            rule="inspector_fault",
            stage="inspect",
            detail=traceback.format_exc(limit=-10),
        ) from error


def _inspect(path: Path, limits: InspectLimits) -> Inspection:
    suffix = path.suffix.lower()
    if suffix not in _KINDS:
        known = ", ".join(_KINDS)
        raise fault("unsupported_type", f"file type {show(suffix)} is not one of {known}.")
    try:
        info = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise fault("missing_file", "there is no such file; check the path.") from None
    if not stat.S_ISREG(info.st_mode):
        raise fault("not_a_file", "it is not a regular file; give the file itself.")
    if info.st_size == 0:
        raise fault("empty_file", "the file has 0 bytes; copy it again.")
    folder = AssetFolder(Path(os.path.realpath(path.parent)), limits)
    folder.spend(info.st_size, path.name)
    with path.open("rb") as stream:
        kind = sniff(stream.read(_HEAD))
        if kind not in _KINDS[suffix]:
            wanted = " or ".join(_KINDS[suffix])
            raise fault(
                "wrong_type",
                f"a {suffix} file should hold {wanted}, this one holds {kind}; rename it.",
            )
        stream.seek(0)
        return _dispatch(stream, info.st_size, suffix[1:], path.name, folder)


def _dispatch(
    stream: BinaryIO, size: int, format: str, name: str, folder: AssetFolder
) -> Inspection:
    if format in ("fbx", "blend"):  # only looked at here and there: never held as a whole
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        if format == "fbx":
            check_fbx(stream, size)
    else:
        data = stream.read(size)
        sha256 = hashlib.sha256(data).hexdigest()
        if format in ("glb", "gltf"):
            return inspect_gltf(data, folder, format, sha256)
        check_usd(data, name, folder)
    return Inspection(
        format=format,
        sha256=sha256,
        companions=tuple(sorted(folder.companions.items())),
        warnings=tuple(folder.warnings),
    )
