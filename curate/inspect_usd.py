"""USD: layers, packages and what they refer to.

Text layers are searched for asset paths, and layers they name are searched in turn. Binary layers
keep their paths compressed: only their frame is checked, and a warning says so.
"""

import posixpath
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from curate.inspect_images import check_image
from curate.inspect_paths import AssetFolder, check_file_count, is_remote, refuse_escape
from curate.inspect_types import InspectLimits, fault, show

TEXT_MAGIC = b"#usda"
CRATE_MAGIC = b"PXR-USDC"
ZIP_MAGIC = b"PK\x03\x04"
LAYER_SUFFIXES = (".usd", ".usda", ".usdc", ".usdz")
_IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tga", ".tif", ".tiff"),
    *(".exr", ".hdr", ".avif", ".dds", ".gif", ".tx", ".ktx", ".ktx2"),
)
# Strings and comments are matched too, so that an @ inside them is not taken for a path. Every
# alternative also ends at the end of the file: no start is ever tried twice, whatever the bytes.
_TOKEN = re.compile(
    rb'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"""|\Z)'
    rb"|'''(?:[^'\\]++|\\.|'(?!''))*+(?:'''|\Z)"
    rb'|"(?:[^"\\\n]++|\\.)*+(?:"|\n|\\?\Z)'
    rb"|'(?:[^'\\\n]++|\\.)*+(?:'|\n|\\?\Z)"
    rb"|\#[^\n]*+"
    rb"|@@@((?:[^@]++|@(?!@@))*+)(?:@@@|\Z)"
    rb"|@([^@\n]*+)(?:@|\n|\Z)",
    re.DOTALL,
)
_TEMPLATE = re.compile(rb'templateAssetPath"?\s*+=\s*+["\']([^"\'\n]*+)')
_UDIM = "<UDIM>"


@dataclass(slots=True)
class _Layers:
    """Layers still to be searched: (path, content); paths relative to the asset's root."""

    folder: AssetFolder
    package: "dict[str, bytes] | None" = None
    pending: list[tuple[str, bytes]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    named: set[tuple[str, str]] = field(default_factory=set)

    def run(self) -> None:
        while self.pending:
            path, content = self.pending.pop()
            if content.startswith(TEXT_MAGIC):
                for reference in _asset_paths(content):
                    self.follow(reference, posixpath.dirname(path))
                for template in _TEMPLATE.findall(content):
                    refuse_escape(template.decode("utf-8", "replace"), posixpath.dirname(path))
            elif content.startswith(CRATE_MAGIC):
                check_crate(content)
                self.folder.warn(f"binary layer {show(path)}: what it refers to is not checked")
            elif content.startswith(ZIP_MAGIC) and self.package is None:
                self.open_package(path, content)
            else:
                raise fault("bad_usd", f"layer {show(path)} is no USD file; export it again.")

    def open_package(self, path: str, content: bytes) -> None:
        entries = read_package(content, self.folder.limits)
        inner = _Layers(self.folder, entries)
        first = next(iter(entries), "")
        if not first.lower().endswith((".usd", ".usda", ".usdc")):
            raise fault(
                "bad_usdz",
                f"the first entry of {show(path)} is {show(first)}, expected a USD layer.",
            )
        for name, data in entries.items():
            if name.lower().endswith(LAYER_SUFFIXES):
                inner.seen.add(name)
                inner.pending.append((name, data))
            elif name.lower().endswith(_IMAGE_SUFFIXES):
                check_image(data, f"image {show(name)}", self.folder)
        inner.run()

    def follow(self, reference: str, base: str) -> None:
        """Check one asset path, and queue the layer it names."""
        if (reference, base) in self.named:
            return
        self.named.add((reference, base))
        limit = self.folder.limits.references_max
        if len(self.named) > limit:
            raise fault("bad_usd", f"the layers name more than {limit:,} files; split the asset.")
        path = re.sub(r"(:SDF_FORMAT_ARGS:.*|\[[^\[\]]*\])$", "", reference, flags=re.DOTALL)
        if not path:
            return
        if "`" in path:
            raise fault(
                "bad_uri",
                f"asset path {show(path)} is an expression, which cannot be checked; resolve it.",
            )
        relative = self.locate(path, base)
        suffix = posixpath.splitext(relative)[1].lower()
        if is_remote(path):
            if suffix not in _IMAGE_SUFFIXES:
                raise fault(
                    "remote_uri",
                    f"asset path {show(path)} is remote; nothing is fetched over the network. "
                    "Download it and refer to it by a relative path.",
                )
            self.folder.warn(f"image {show(path)} is not fetched over the network")
        elif _UDIM in path:
            self.folder.warn(f"tiles of {show(path)} are not checked")
        elif relative not in self.seen:
            self.seen.add(relative)
            self.visit(relative, suffix)

    def locate(self, path: str, base: str) -> str:
        if self.package is None:
            return self.folder.locate(path, base, percent=False)
        refuse_escape(path, base)
        return posixpath.normpath(posixpath.join(base, path))

    def visit(self, relative: str, suffix: str) -> None:
        packed = self.package
        content = self.folder.read(relative) if packed is None else packed.get(relative)
        if content is None and suffix in LAYER_SUFFIXES:
            raise fault(
                "missing_layer",
                f"no file {show(relative)} beside the asset, which refers to it; copy it there.",
            )
        if content is None:
            self.folder.warn(f"no file {show(relative)} beside the asset")
        elif suffix in LAYER_SUFFIXES:
            self.pending.append((relative, content))
        elif suffix in _IMAGE_SUFFIXES and packed is None:  # packed images were all measured
            check_image(content, f"image {show(relative)}", self.folder)


def check_usd(data: bytes, name: str, folder: AssetFolder) -> None:
    """Check a USD file of any kind and all it refers to.

    Args:
        data: content of the main file: text layer, crate or package.
        name: of the main file, for messages and to notice references back to it.
        folder: the only place layers and textures are read from.

    Raises:
        AssetError: rules ``path_traversal``, ``remote_uri``, ``bad_uri``, ``missing_layer``,
            ``bad_usd``, ``bad_usdz``, ``truncated_file``, ``image_too_large``, ``bad_image``,
            ``file_too_large``.
    """
    _Layers(folder, pending=[(name, data)], seen={name}).run()


def check_crate(data: bytes) -> None:
    """Check that a binary layer's sections lie inside the file.

    Raises:
        AssetError: rules ``truncated_file`` and ``bad_usd``.
    """
    try:
        (table,) = struct.unpack_from("<q", data, 16)
        (count,) = struct.unpack_from("<Q", data, table) if table >= 24 else (0,)
    except (struct.error, OverflowError):
        raise fault("truncated_file", "the USD crate has lost its end; copy it again.") from None
    if not 1 <= count <= 64:  # the format knows six sections
        raise fault("bad_usd", f"the USD crate claims {count:,} sections; export it again.")
    for index in range(count):
        at = table + 8 + 32 * index
        if at + 32 > len(data):
            raise fault("truncated_file", "the USD crate's table is cut off; copy it again.")
        start, size = struct.unpack_from("<qq", data, at + 16)
        if start < 0 or size < 0 or start + size > len(data):
            raise fault(
                "truncated_file", f"section {index} of the USD crate is cut; copy it again."
            )


def read_package(data: bytes, limits: InspectLimits) -> dict[str, bytes]:
    """Take a USDZ apart: a zip whose entries lie uncompressed, one after the other.

    Directory and local headers must agree and leave no gap, because readers differ in which of
    the two they follow.

    Returns:
        Entry name -> content, in file order.

    Raises:
        AssetError: rules ``bad_usdz``, ``too_many_files`` and ``path_traversal``.
    """
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - 65_557))
    if end < 0 or end + 22 > len(data):
        raise _package_fault("it has no zip directory")
    count, size, start, comment = struct.unpack_from("<HIIH", data, end + 10)
    check_file_count(count, "entries", limits)
    if start + size != end or end + 22 + comment != len(data):
        raise _package_fault("its directory does not end the file")
    entries: dict[str, bytes] = {}
    expected = 0
    for offset, name, content, stop in _entries(data, start, start + size, count):
        if offset != expected:
            raise _package_fault(f"a gap before entry {show(name)}")
        if name in entries:
            raise _package_fault(f"entry {show(name)} stands twice")
        refuse_escape(name)
        entries[name] = content
        expected = stop
    if expected != start:
        raise _package_fault("a gap before its directory")
    return entries


def _entries(
    data: bytes, position: int, end: int, count: int
) -> Iterator[tuple[int, str, bytes, int]]:
    """Walk a zip directory: local header's offset, name, content, end of content."""
    for _ in range(count):
        if position + 46 > end or data[position : position + 4] != b"PK\x01\x02":
            raise _package_fault("its directory is damaged")
        flags, method = struct.unpack_from("<HH", data, position + 8)
        packed, size, name_size, extra, comment = struct.unpack_from("<IIHHH", data, position + 20)
        (offset,) = struct.unpack_from("<I", data, position + 42)
        raw = data[position + 46 : position + 46 + name_size]
        name = raw.decode("utf-8", "replace")
        if method != 0 or flags & 1 or packed != size:
            raise _package_fault(f"entry {show(name)} is compressed or encrypted")
        local = data[offset : offset + 30]
        if len(local) < 30 or local[:4] != ZIP_MAGIC:
            raise _package_fault(f"entry {show(name)} has no header")
        begin = offset + 30 + sum(struct.unpack_from("<HH", local, 26))
        same = struct.unpack_from("<HH", local, 6) == (flags, method)
        sized = struct.unpack_from("<II", local, 18) == (size, size)
        if not same or not sized or data[offset + 30 : offset + 30 + name_size] != raw:
            raise _package_fault(f"entry {show(name)} differs between directory and header")
        if begin + size > len(data):
            raise _package_fault(f"entry {show(name)} is cut off")
        yield offset, name, data[begin : begin + size], begin + size
        position += 46 + name_size + extra + comment


def _package_fault(found: str) -> Exception:
    return fault("bad_usdz", f"the package is unsound: {found}. Pack it again with usdzip.")


def _asset_paths(content: bytes) -> Iterator[str]:
    for match in _TOKEN.finditer(content):
        path = match[1] if match[1] is not None else match[2]
        if path:
            yield path.decode("utf-8", "replace").strip()
