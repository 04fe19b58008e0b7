"""What an input is, and where local ones come from: files, folders, globs.

``curate.catalogue`` knows the other kinds of inputs; they all end as a ``Source``.
"""

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from shards.errors import ConfigError

FORMATS = (".glb", ".gltf", ".fbx", ".usd", ".usda", ".usdc", ".usdz", ".blend")
REFUSALS = ("denied", "not_allowed", "taken_down")  # rules of assets that lists keep out
IsNew = Callable[[bytes], bool]
_SLUG_MAX = 40
_NO_SLUG = re.compile(r"[^A-Za-z0-9]+")
_PUBLISHED_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class About:
    """What a source says about an asset; empty where it says nothing."""

    source: str = "local"
    licence: str = ""
    attribution: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()

    def fields(self) -> dict[str, str]:
        """Return what is said, as columns of the ledger."""
        said = {"licence": self.licence, "attribution": self.attribution, "name": self.name}
        said["tags"] = ";".join(self.tags)
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where an asset that is not here can be fetched, and what was announced about it.

    Attributes:
        client: ``url`` for all that fsspec reads, else the catalogue whose client fetches it.
        address: URL, path in the Objaverse 1.0 repository, or Objaverse-XL file identifier.
        collection: of Objaverse-XL: github, sketchfab, thingiverse, smithsonian.
        etag, bytes: as the store gives them; empty and None where it does not.
    """

    client: Literal["url", "objaverse", "objaverse-xl"]
    address: str
    collection: str = ""
    etag: str = ""
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One input file.

    Attributes:
        uid: readable and stable: made from the path relative to the input root, so that it
            survives a changed file, a moved root, added inputs and another machine.
        path: as the ledger gives it, relative to the input root, with forward slashes.
        file: where it is now; absolute, and under its own name where it is a symlink. Of a remote
            asset only the name counts, until ``curate.fetch`` has put it somewhere.
        root: the input root; nothing outside it may be read.
        sha256: announced hash of the file; empty if none was.
        remote: where to fetch it; None for a local file.
        about: what the source says about it.
        refusal: ``denied``, ``not_allowed`` or ``taken_down``; empty if the lists let it pass.
    """

    uid: str
    path: str
    file: Path
    root: Path
    sha256: str = ""
    remote: Remote | None = None
    about: About = About()
    refusal: Literal["", "denied", "not_allowed", "taken_down"] = ""

    @property
    def stamp(self) -> str:
        """What was announced about a remote file's content; empty if nothing was."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        if self.remote is None:
            return ""
        if self.remote.etag:
            return f"etag:{self.remote.etag}"
        return "" if self.remote.bytes is None else f"bytes:{self.remote.bytes}"

    def names(self) -> set[str]:
        """Return all names by which a list may mean this asset."""
        return names_of(self.uid, self.path, self.sha256)


def names_of(uid: str, path: str, sha256: str | None) -> set[str]:
    """Return what a list may call an asset: uid, path or URL, hash, the id that its path ends in.

    That last one lets lists of published ids find files that were downloaded under such names.
    """
    names = {uid, path, sha256 or ""}
    stem = path.rstrip("/").rpartition("/")[2].partition(".")[0].lower()
    if _PUBLISHED_ID.fullmatch(stem):
        names.add(stem)
    return names - {""}


def find_sources(inputs: Iterable[Path]) -> list[Source]:
    """List the assets in files, folders and globs, ordered by path; see ``each_source``.

    Raises:
        ConfigError: an input does not exist, or no asset was found, or two have one uid.
    """
    inputs = list(inputs)
    places: set[bytes] = set()
    taken: set[bytes] = set()

    def is_new(known: set[bytes], place: bytes) -> bool:
        before = len(known)
        known.add(place)
        return len(known) > before

    found = list(each_source(inputs, partial(is_new, places), partial(is_new, taken)))
    if not found:
        raise ConfigError(nothing_in(inputs))
    refuse_equal_uids(found)
    return sorted(found, key=lambda source: (source.path, source.uid))


def nothing_in(inputs: Iterable[Path]) -> str:
    """Say that inputs hold no assets."""
    given = ", ".join(str(path) for path in inputs) or "no input"
    return f"{given}: no file ends in {' '.join(FORMATS)}"


def each_source(inputs: Iterable[Path], is_new: IsNew, is_free: IsNew) -> Iterator[Source]:
    """Find the assets in files, folders and globs, one after the other.

    Folders are searched through; files in them with other endings are no assets. A file that is
    named itself is always taken, whatever its ending, so that nobody wonders where it went. A
    file reached twice counts once, under the path by which it is reached first. Links to files are
    taken, links to folders are not followed.

    Args:
        inputs: files, folders, globs.
        is_new: notes a file's place; tells whether it was not noted before.
        is_free: notes an asset's path in its root; tells whether none had it before.

    Raises:
        ConfigError: an input does not exist.
    """
    for given in inputs:
        root, files = _expand(given)
        real_root = root.resolve()
        for path, real in files:
            if not is_new(real):
                continue
            # Two roots may hold files of the same relative path: the later root's name tells them
            # apart, so that the assets of a run keep their names when a root is added.
            address = path if is_free(os.fsencode(path)) else f"{real_root.name}/{path}"
            yield Source(uid_for(address), as_text(path), real_root / path, real_root)


def _expand(given: Path) -> tuple[Path, Iterable[tuple[str, bytes]]]:
    """Return an input's root, and its files: their paths in it, and where they really lie."""
    if given.is_dir():
        return given, _assets_in(str(given), "")
    if given.exists():
        return given.parent, [(given.name, _real(given))]
    if not glob.has_magic(str(given)):
        raise ConfigError(f"{given}: no such file or folder")
    fixed = list(given.parts[:-1])
    while any(glob.has_magic(part) for part in fixed):
        fixed.pop()
    root = Path(*fixed)
    matched = (Path(path) for path in glob.iglob(str(given), recursive=True))
    found = [path for path in sorted(matched) if path.suffix.lower() in FORMATS]
    return root, [(str(path.relative_to(root)), _real(path)) for path in found]


def _real(file: Path | str) -> bytes:
    return os.fsencode(os.path.realpath(file))  # resolve() raises at a loop of links


def uid_for(address: str) -> str:
    """Name an asset: a readable stem and ten hex digits of the hash of its path."""
    stem = _NO_SLUG.sub("_", _stem(address)).strip("_")[:_SLUG_MAX] or "asset"
    digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{stem}-{digest[:10]}"


def _stem(address: str) -> str:
    """Return what ``Path(address).stem`` is, mostly without making one: there are a million."""
    name = address.rpartition("/")[2]
    if name in ("", ".", ".."):
        return Path(address).stem
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def as_text(path: str) -> str:
    """Show the bytes of a file name that are not UTF-8 as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _assets_in(folder: str, below: str) -> Iterator[tuple[str, bytes]]:
    """Search a folder through, in the order of the paths; what begins with a dot is left out.

    Paths are texts and not ``Path``: there are a million.
    """
    real = _real(folder)
    try:
        with os.scandir(folder) as entries:
            found = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
    except PermissionError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _assets_in(entry.path, f"{below}{entry.name}/")
        elif os.path.splitext(entry.name)[1].lower() in FORMATS:
            if not entry.is_symlink():
                if entry.is_file():
                    yield below + entry.name, os.path.join(real, os.fsencode(entry.name))
            elif os.path.isfile(entry.path) or not os.path.exists(entry.path):
                # what leads nowhere fails as missing; left out, nobody would know
                yield below + entry.name, _real(entry.path)


def refuse_equal_uids(sources: list[Source]) -> None:
    """Raise ConfigError if two assets have one name."""
    by_uid: dict[str, Source] = {}
    for source in sources:
        other = by_uid.setdefault(source.uid, source)
        if other is source:
            continue
        if source.remote is None and other.remote is None and source.path == other.path:
            raise ConfigError(
                f"{other.file} and {source.file} have the same path under folders of the same "
                "name; give their common parent folder instead"
            )
        raise ConfigError(
            f"{other.path} and {source.path} both have the uid {source.uid}; give each its own"
        )
