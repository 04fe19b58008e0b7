"""Where assets come from: files and folders."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shards.errors import ConfigError

FORMATS = (".glb", ".gltf", ".fbx", ".usd", ".usda", ".usdc", ".usdz", ".blend")
_SLUG_MAX = 40


@dataclass(frozen=True, slots=True)
class Source:
    """One input file.

    Attributes:
        uid: readable and stable: made from the path relative to the input root, so that it
            survives a changed file, a moved root, added inputs and another machine.
        path: as the ledger gives it, relative to the input root, with forward slashes.
        file: where it is now; absolute, and under its own name where it is a symlink.
        root: the input root; nothing outside it may be read.
    """

    uid: str
    path: str
    file: Path
    root: Path


def find_sources(inputs: Iterable[Path]) -> list[Source]:
    """List the assets in files and folders, ordered by path.

    Folders are searched through; files in them with other endings are no assets. A file that is
    named itself is always taken, whatever its ending, so that nobody wonders where it went. A
    file reached twice counts once, under the path by which it is reached first. Links to files are
    taken, links to folders are not followed.

    Raises:
        ConfigError: an input does not exist, or no asset was found.
    """
    inputs = list(inputs)
    found: dict[Path, tuple[str, Path]] = {}
    for given in inputs:
        if not given.exists():
            raise ConfigError(f"{given}: no such file or folder")
        root = given if given.is_dir() else given.parent
        files = sorted(_assets_in(given)) if given.is_dir() else [given]
        for file in files:
            real = Path(os.path.realpath(file))  # resolve() raises at a loop of links
            found.setdefault(real, (str(file.relative_to(root)), root.resolve()))
    if not found:
        given_text = ", ".join(str(path) for path in inputs) or "no input"
        raise ConfigError(f"{given_text}: no file ends in {' '.join(FORMATS)}")
    sources: list[Source] = []
    taken: set[str] = set()
    for path, root in found.values():
        # Two roots may hold files of the same relative path: the later root's name tells them
        # apart, so that the assets of a run keep their names when a root is added.
        address = f"{root.name}/{path}" if path in taken else path
        taken.add(path)
        sources.append(Source(uid_for(address), _as_text(path), root / path, root))
    _refuse_equal_uids(sources)
    return sorted(sources, key=lambda source: (source.path, source.uid))


def uid_for(address: str) -> str:
    """Name an asset: a readable stem and ten hex digits of the hash of its path."""
    stem = re.sub(r"[^A-Za-z0-9]+", "_", Path(address).stem).strip("_")[:_SLUG_MAX] or "asset"
    digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{stem}-{digest[:10]}"


def _as_text(path: str) -> str:
    """Show the bytes of a file name that are not UTF-8 as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _assets_in(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in FORMATS
        and (path.is_file() or _leads_nowhere(path))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()  # fails as missing; left out, nobody would know


def _refuse_equal_uids(sources: list[Source]) -> None:
    by_uid: dict[str, Source] = {}
    for source in sources:
        other = by_uid.setdefault(source.uid, source)
        if other is not source:
            raise ConfigError(
                f"{other.file} and {source.file} have the same path under folders of the same "
                "name; give their common parent folder instead"
            )
