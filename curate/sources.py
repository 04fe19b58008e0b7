"""Where assets come from: files and folders."""

import hashlib
import re
from collections import Counter
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
            survives a changed file, a moved root and another machine.
        path: as the ledger gives it, relative to the input root, with forward slashes.
        file: where it is now.
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
    file reached twice counts once.

    Raises:
        ConfigError: an input does not exist, or no asset was found.
    """
    found: dict[Path, tuple[str, Path]] = {}
    for given in inputs:
        if not given.exists():
            raise ConfigError(f"{given}: no such file or folder")
        root = given if given.is_dir() else given.parent
        files = sorted(_assets_in(given)) if given.is_dir() else [given]
        for file in files:
            found.setdefault(file.resolve(), (file.relative_to(root).as_posix(), root.resolve()))
    if not found:
        given_text = ", ".join(str(path) for path in inputs) or "no input"
        raise ConfigError(f"{given_text}: no file ends in {' '.join(FORMATS)}")
    repeated = {path for path, n in Counter(path for path, _ in found.values()).items() if n > 1}
    sources = []
    for file, (path, root) in found.items():
        # Two roots may hold files of the same relative path: the root's name tells them apart.
        address = f"{root.name}/{path}" if path in repeated else path
        sources.append(Source(uid_for(address), path, file, root))
    _refuse_equal_uids(sources)
    return sorted(sources, key=lambda source: (source.path, source.uid))


def uid_for(address: str) -> str:
    """Name an asset: a readable stem and ten hex digits of the hash of its path."""
    stem = re.sub(r"[^A-Za-z0-9]+", "_", Path(address).stem).strip("_")[:_SLUG_MAX] or "asset"
    return f"{stem}-{hashlib.sha256(address.encode()).hexdigest()[:10]}"


def _assets_in(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in FORMATS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _refuse_equal_uids(sources: list[Source]) -> None:
    by_uid: dict[str, Source] = {}
    for source in sources:
        other = by_uid.setdefault(source.uid, source)
        if other is not source:
            raise ConfigError(
                f"{other.file} and {source.file} have the same path under folders of the same "
                "name; give their common parent folder instead"
            )
