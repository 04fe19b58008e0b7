"""Files an asset points at: only inside its own folder, never over the network.

The rule is checked on what Blender would open as well as on what the text says: Blender joins
even ``http://host/../../../x`` to the folder, so a remote address can climb out of it too.
"""

import hashlib
import os
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from curate.inspect_types import InspectLimits, fault, show

_URI_LENGTH_MAX = 4096  # PATH_MAX; also keeps path resolution cheap
_DECODINGS = 3
_DRIVE = re.compile(r"[A-Za-z]:")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


def is_remote(uri: str) -> bool:
    """Tell whether a URI names a scheme (http:, file:, s3:, ...); drive letters don't count."""
    return _SCHEME.match(unquote(uri)) is not None


def refuse_escape(uri: str, base: str = "") -> None:
    """Refuse a URI that, read as a path from ``base``, is absolute or climbs out of the folder.

    Args:
        uri: as written in the file; percent-encoded and backslash spellings are seen through.
        base: POSIX path of the referring file's folder, relative to the asset's folder.

    Raises:
        AssetError: rule ``path_traversal``, or ``bad_uri`` for what no file system takes.
    """
    if len(uri) > _URI_LENGTH_MAX or "\0" in uri:
        raise fault("bad_uri", f"URI {show(uri)} cannot be a file name; expected a relative path.")
    form = uri
    for _ in range(_DECODINGS):
        path = form.replace("\\", "/")
        joined = posixpath.normpath(posixpath.join(base, path))
        if path.startswith("/") or _DRIVE.match(path) or joined.split("/", 1)[0] == "..":
            raise fault(
                "path_traversal",
                f"URI {show(uri)} leads outside the asset's folder; "
                "put the file beside the asset and refer to it by a relative path.",
            )
        form = unquote(path)


@dataclass(slots=True)
class AssetFolder:
    """The only place an asset may read from, with what was read and what was odd about it.

    Attributes:
        root: real path of the main file's folder.
        limits: ``file_bytes_max`` bounds everything read, the main file included.
        bytes_read: so far.
        companions: relative POSIX path -> sha256.
        warnings: sentences, in the order found.
        pixels: of all images so far.
        missing_images: how many are not there, or cannot be read.
    """

    root: Path
    limits: InspectLimits
    bytes_read: int = 0
    companions: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    pixels: int = 0
    missing_images: int = 0

    def locate(self, uri: str, base: str = "", *, percent: bool) -> str:
        """Turn a URI into a path relative to the folder, checked not to leave it.

        Args:
            uri: as written in the file.
            base: folder of the referring file, relative to the asset's folder.
            percent: whether %20 and its kind are to be decoded (glTF: yes, USD: no).

        Raises:
            AssetError: rules ``path_traversal`` and ``bad_uri``; a symlink that leads out counts.
        """
        refuse_escape(uri, base)
        path = uri.replace("\\", "/")
        path = unquote(path) if percent else path
        relative = posixpath.normpath(posixpath.join(base, path))
        try:
            real = os.path.realpath(self.root / relative)
        except (OSError, ValueError) as error:
            raise fault("bad_uri", f"URI {show(uri)} cannot be a file name: {error}.") from None
        if not Path(real).is_relative_to(self.root):
            raise fault(
                "path_traversal",
                f"URI {show(uri)} is a link that leads outside the asset's folder; "
                "put the file itself beside the asset.",
            )
        return relative

    def read(self, relative: str) -> bytes | None:
        """Read a companion and note its hash; None when there is no such regular file.

        Raises:
            AssetError: rule ``file_too_large`` when the asset as a whole passes the limit.
        """
        path = self.root / relative
        try:
            if not path.is_file():  # also keeps off pipes and devices, which block
                return None
            size = path.stat().st_size
        except OSError:
            return None
        self.spend(size, relative)
        with path.open("rb") as stream:
            content = stream.read(size)
        self.companions[clean_path(relative)] = hashlib.sha256(content).hexdigest()
        return content

    def spend(self, size: int, name: str) -> None:
        """Count bytes about to be read against the asset's limit."""
        self.bytes_read += size
        if self.bytes_read > self.limits.file_bytes_max:
            raise fault(
                "file_too_large",
                f"with {show(name)} the asset has {self.bytes_read:,} bytes, "
                f"the limit is {self.limits.file_bytes_max:,}; raise the limit or leave it out.",
            )

    def miss_image(self, message: str) -> None:
        """Note an image that there is nothing to show of."""
        self.missing_images += 1
        self.warn(message)

    def warn(self, message: str) -> None:
        """Note something that does not stop the asset; a flood is cut off."""
        if len(self.warnings) < self.limits.warnings_max:
            self.warnings.append(message)
        elif len(self.warnings) == self.limits.warnings_max:
            self.warnings.append("more warnings were left out")


def check_file_count(count: int, what: str, limits: InspectLimits) -> None:
    """Bound how many files, embedded ones included, one asset may make us look at."""
    if count > limits.files_max:
        raise fault(
            "too_many_files",
            f"the asset has {count:,} {what}, the limit is {limits.files_max:,}; split the asset.",
        )


def clean_path(relative: str) -> str:
    """Spell a path so that it can be stored as UTF-8."""
    return relative.encode("utf-8", "replace").decode()
