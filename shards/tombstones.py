"""Takedown: samples that readers skip from now on, listed in ``RUN/tombstones.json``.

A name is an asset's uid or a sample's key. Copies of the same bytes go with what they are copies
of: those that are there are named too, and for later builds the bytes are (``content_name``).
Readers of a local folder notice a change at the next sample, others within ``EVERY_S``. The tars
keep the bytes until ``orbit4d shards compact``.
"""

import contextlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from shards.errors import ShardError
from shards.files import dump_json, write_atomic
from shards.index import IndexEntry
from shards.objects import Objects, Outdated, Version, is_object_url
from shards.store import LocalStore, Missing, Store

FILE = "tombstones.json"
EVERY_S = 60.0  # how often a list that lies behind a network is fetched again


def read_tombstones(store: Store) -> dict[str, str]:
    """Read the list: uid or key -> reason.

    Raises:
        ShardError: if it is damaged; what was taken down must not come back by accident.
    """
    try:
        data = store.read(FILE)
    except Missing:
        return {}
    return _names_in(data, f"{store.root}/{FILE}")


def _names_in(data: bytes, where: str) -> dict[str, str]:
    try:
        document = json.loads(data)
        names = document["names"]
        if document["schema_version"] != 1 or not isinstance(names, dict):
            raise ValueError("not version 1")
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(
            f"{where}: cannot be read: {error}. Restore it, or write the list again: "
            "orbit4d shards tombstone RUN UID..."
        ) from error
    return {str(name): str(reason) for name, reason in names.items()}


def add_tombstones(run: Path | str, names: dict[str, str]) -> dict[str, str]:
    """Add names to the list, for good; returns the whole list."""
    if is_object_url(run):
        return _add_to_store(Objects(str(run)), names)
    folder = Path(run)
    listed = read_tombstones(LocalStore(folder)) | names
    write_atomic(folder / FILE, _document(listed))
    return listed


def _add_to_store(objects: Objects, names: dict[str, str]) -> dict[str, str]:
    while True:
        version: Version | None = None
        listed: dict[str, str] = {}
        with contextlib.suppress(Missing):
            data, version = objects.read_version(FILE)
            listed = _names_in(data, f"{objects.url}/{FILE}")
        if names.keys() <= listed.keys():
            return listed
        with contextlib.suppress(Outdated):  # somebody added others
            objects.swap(FILE, _document(listed | names), version)
            return listed | names


def _document(listed: dict[str, str]) -> bytes:
    return dump_json({"schema_version": 1, "names": listed})


def is_named(key: str, names: Collection[str]) -> bool:
    """Say whether a list takes down the sample with this key, by its key or by its asset."""
    return key in names or key.rpartition("-")[0] in names


_CONTENT = "sha256:"


def is_content(name: str) -> bool:
    """Say whether a name is one of bytes: see ``content_name``."""
    return name.startswith(_CONTENT)


def content_name(sha256: str, key: str = "") -> str:
    """Name an asset by its file's hash, or with a sample's key that clip of it.

    ``is_named`` knows such a name as it knows a key.
    """
    clip = key.rpartition("-")[2]
    return f"{_CONTENT}{sha256}-{clip}" if clip else f"{_CONTENT}{sha256}"


def is_entry_named(entry: IndexEntry, names: Collection[str]) -> bool:
    """Say whether a list takes down a sample, by its key, its asset or its asset's bytes."""
    if is_named(entry.key, names):
        return True
    return bool(entry.asset_sha256) and is_named(content_name(entry.asset_sha256, entry.key), names)


def with_copies(names: Mapping[str, str], entries: Iterable[IndexEntry]) -> dict[str, str]:
    """Add to names those of the same bytes: of later copies, and of the copies that are there.

    Args:
        names: uid or key -> reason.
        entries: of the index.
    """
    known = [entry for entry in entries if entry.asset_sha256]
    contents = {
        content_name(entry.asset_sha256, part): names[name]
        for entry in known
        for name, part in ((entry.uid, ""), (entry.key, entry.key))
        if name in names
    }
    copies: dict[str, str] = {}
    for entry in known:
        for name, part in ((entry.uid, ""), (entry.key, entry.key)):
            if (reason := contents.get(content_name(entry.asset_sha256, part))) is not None:
                copies[name] = reason
    return contents | copies | dict(names)


class Tombstones:
    """The list as a reader sees it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._stamp = self._stamp_now()
        self._names = read_tombstones(store)

    @property
    def names(self) -> dict[str, str]:
        """The list as it is now: uid or key -> reason."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._names = read_tombstones(self.store)
            self._stamp = stamp
        return self._names

    def hold(self, key: str) -> bool:
        """Say whether the sample with this key was taken down."""
        return is_named(key, self.names)

    def _stamp_now(self) -> tuple[int, int] | None:
        if not isinstance(self.store, LocalStore):
            return int(time.monotonic() / EVERY_S), 0
        try:
            about = (self.store.root / FILE).stat()
        except FileNotFoundError:
            return None
        return about.st_mtime_ns, about.st_ino
