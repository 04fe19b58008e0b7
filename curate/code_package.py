"""The code that workers run, as one small archive that Ray hands to every node.

Each build sends an archive of its own: Ray deletes an archive with the build that sent it, also
where the next one, begun at once after a kill, was told that the same bytes are there. The digest
of the code tells whether a node that has code of its own has the same.
"""

import functools
import hashlib
import importlib
import uuid
import zipfile
from pathlib import Path

from shards.errors import ConfigError

PACKAGES = ("curate", "render", "shards")  # what is trained and tested stays here
ARCHIVE_MAX_MB = 16  # the head keeps it in memory, and sends it to each node
_NEVER = ("__pycache__", "templates")  # compiled for one machine; pages are written by the driver
_MARK = "orbit4d-build"  # member with this build's name
_EARLY = (1980, 1, 1, 0, 0, 0)  # a zip knows no time before


def code_files() -> dict[str, Path]:
    """Return the files that a worker needs, by their place in the archive, in order."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        root = Path(str(module.__file__)).parent
        for file in sorted(root.rglob("*")):
            inside = file.relative_to(root)
            if file.is_file() and not any(part in _NEVER for part in inside.parts):
                found[f"{package}/{inside.as_posix()}"] = file
    return dict(sorted(found.items()))


def _read() -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in code_files().items()}


@functools.cache
def _contents() -> dict[str, bytes]:
    """Read the files once: what is sent stays what was digested, whatever happens to them."""
    return _read()


def code_digest() -> str:
    """Digest the code that this process sends."""
    return _digest(_contents())


def code_on_disk() -> str:
    """Digest the code as it lies there now; "none" where files come and go."""
    try:
        return _digest(_read())
    except FileNotFoundError:
        return "none"


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in files.items():
        if name.endswith(".py"):
            digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]


def pack_code(folder: Path) -> Path:
    """Write the archive into a folder, and return its path.

    Raises:
        ConfigError: it is larger than ``ARCHIVE_MAX_MB``: something lies there that is no code.
    """
    archive = folder / f"orbit4d-{code_digest()}.zip"
    files = _contents()
    size_mb = sum(map(len, files.values())) / 2**20
    if size_mb > ARCHIVE_MAX_MB:
        largest = max(files, key=lambda name: len(files[name]))
        raise ConfigError(
            f"{code_files()[largest]}: the code for the workers has {size_mb:.0f} MB with it, at "
            f"most {ARCHIVE_MAX_MB} MB are sent; move it out of the package, or give --code image"
        )
    with zipfile.ZipFile(archive, "w") as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name, _EARLY), data, zipfile.ZIP_DEFLATED)
        packed.writestr(zipfile.ZipInfo(_MARK, _EARLY), uuid.uuid4().hex)
    return archive
