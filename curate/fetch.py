"""Bring a remote asset here for as long as it is worked on.

A worker asks for the asset it needs. It comes into a folder of its own under a cache that all
workers of a machine share and that is bounded; afterwards the folder goes. Failed tries are
repeated with growing pauses where that can help, and end as an ``AssetError`` of stage ``fetch``
whose rule names the cause. Nothing is handed on that does not match its announced hash.
"""

import atexit
import errno
import functools
import json
import os
import random
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import unquote

from curate.clones import clone_of, lent, remove_forgotten, remove_unused
from curate.config import FetchConfig
from curate.inspect_paths import is_remote, refuse_escape
from curate.objaverse_process import ask, bytes_in
from curate.remote_files import filesystem
from curate.sources import Source
from shards.errors import AssetError, ConfigError, RunError
from shards.files import sha256_of

_REPOSITORIES = ("objaverse-xl", "github")
_OWNED = "asset-"  # then host, process id, uid
_COMPANIONS_MAX = 1000
_LONGEST_PAUSE_S = 60.0
_LOOK_EVERY_BYTES = 16 * 2**20
# Another try may help with these, and with servers that are busy or broken.
_PASSING = {
    "fetch_timeout",
    "truncated_download",
    "connection_failed",
    "cache_full",
    "disk_full",
    "http_408",
    "http_425",
    "http_429",
}
_HTTP_OF = {FileNotFoundError: "http_404", PermissionError: "http_403"}


def cache_folder(config: FetchConfig) -> Path:
    """Name the folder that downloads go through; workers and Blender must agree on it."""
    if config.cache is not None:
        return config.cache.expanduser().absolute()
    return Path(tempfile.gettempdir()) / f"orbit4d-cache-{os.getuid()}"


def make_cache(config: FetchConfig) -> Path:
    """Make the folder; it must be there when Blender starts, or Blender may not read it.

    Raises:
        RunError: it belongs to somebody else, or cannot be made.
    """
    cache = cache_folder(config)
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = config.cache is not None or cache.lstat().st_uid == os.getuid()
    except OSError as error:
        raise RunError(f"{cache}: cannot be made: {error}; set fetch.cache") from error
    if not mine:
        raise RunError(f"{cache}: belongs to another user; set fetch.cache")
    return cache


@contextmanager
def fetched(source: Source, config: FetchConfig) -> Iterator[Source]:
    """Give a source whose file is here; what was downloaded goes when the block is left.

    Raises:
        AssetError: stage ``fetch``: it could not be had.
    """
    if source.remote is None:
        yield source
        return
    cache = make_cache(config)
    _clear_orphans(cache)
    if (clone := _clone_of(source)) is not None:
        _tidy_at_exit(cache)
        with lent(cache, clone[0], lambda place: _clone(source, place, config)) as place:
            yield _in_clone(source, place, clone[1])
        return
    with _folder(cache) as folder:
        yield _patiently(source, folder, config)


@functools.cache
def _tidy_at_exit(folder: Path) -> None:
    atexit.register(remove_unused, folder)


def _clone_of(source: Source) -> tuple[str, Path] | None:
    remote = source.remote
    in_one = remote is not None and (remote.client, remote.collection) == _REPOSITORIES
    return clone_of(remote.address) if remote is not None and in_one else None


def _clone(source: Source, place: Path, config: FetchConfig) -> None:
    """Download the repository that an asset lies in, and the asset as it was announced."""
    with _folder(place.parent) as folder:
        _patiently(source, folder, config)
        folder.rename(place)


def _in_clone(source: Source, place: Path, path: Path) -> Source:
    """Find an asset in a repository that is here, perhaps for the sake of another asset."""
    file = place / path
    if not file.is_file():
        wrong = "dead_commit", f"{path.name}: the repository lives, this file in it is gone"
    elif source.sha256 and (found := sha256_of(file)) != source.sha256:
        wrong = "hash_mismatch", f"sha256 {found}, announced was {source.sha256}; not kept"
    else:
        root = place.joinpath(*path.parts[:4])
        return replace(source, file=file, root=root.resolve())
    raise _fault(wrong[0], f"{source.path}: could not be fetched: {wrong[1]}")


@contextmanager
def _folder(cache: Path) -> Iterator[Path]:
    owner = f"{_OWNED}{socket.gethostname()}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=owner, dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _patiently(source: Source, folder: Path, config: FetchConfig) -> Source:
    pause_s = config.pause_s
    for attempt in range(1, config.attempts + 1):
        try:
            return _try_once(source, folder, config)
        except AssetError as error:
            passes = error.rule in _PASSING or error.rule.startswith("http_5")
            if not passes or attempt == config.attempts:
                tries = f" after {attempt} tries" if attempt > 1 else ""
                raise AssetError(
                    f"{source.path}: could not be fetched{tries}: {error}",
                    rule=error.rule, stage="fetch", detail=error.detail,
                ) from error  # fmt: skip
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        time.sleep(pause_s * (0.5 + random.random()))  # others failed at the same moment
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    raise AssertionError("unreachable")


def _try_once(source: Source, folder: Path, config: FetchConfig) -> Source:
    remote = source.remote
    assert remote is not None
    _wait_for_room(folder.parent, remote.bytes or 0, config)
    if remote.client == "url":
        file, root = _Download(folder, config).asset(source), folder
    elif not remote.address:
        raise _fault("unknown_uid", f"the catalogue has no asset {source.uid}")
    else:
        request = {
            "op": "fetch" if remote.client == "objaverse" else "fetch-xl",
            "address": remote.address,
            "collection": remote.collection,
            "sha256": source.sha256,
            "folder": str(folder),
        }
        answers = ask(
            request, config, folder=folder, timeout_s=config.asset_timeout_s,
            bytes_max=min(config.asset_max_mb, config.cache_mb) * 2**20,
        )  # fmt: skip
        *_, answer = answers
        file, root = Path(answer["file"]), Path(answer["root"])
    if source.sha256 and (found := sha256_of(file)) != source.sha256:
        raise _fault("hash_mismatch", f"sha256 {found}, announced was {source.sha256}; not kept")
    return replace(source, file=file, root=root.resolve())


class _Download:
    """One asset behind a URL, with the files that a glTF document names."""

    def __init__(self, folder: Path, config: FetchConfig) -> None:
        self.folder = folder
        self.config = config
        self.deadline = time.monotonic() + config.asset_timeout_s
        self.bytes = 0
        self.unlooked = 0

    def asset(self, source: Source) -> Path:
        """Download the file and its companions."""
        assert source.remote is not None
        file = self.folder / source.file.name
        self._file(source.remote.address, file, source.remote.bytes)
        if file.suffix.lower() == ".gltf":
            self._companions(source.remote.address, file)
        return file

    def _companions(self, url: str, document: Path) -> None:
        """Download what a document names; what is not there is for the gate to judge."""
        is_http = url.startswith("http")  # elsewhere names are not quoted
        base = (url.partition("?")[0] if is_http else url).rpartition("/")[0]
        for name in _names_in(document):
            place = self.folder / unquote(name)
            try:
                if place.exists():
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
            except OSError:  # no file can have this name: the gate says so
                continue
            try:
                self._file(f"{base}/{name if is_http else unquote(name)}", place, None)
            except AssetError as error:
                if error.rule != "http_404":
                    raise

    def _file(self, url: str, place: Path, announced: int | None) -> None:
        from fsspec.callbacks import Callback

        count = self._count

        class Watch(Callback):
            def relative_update(self, inc: int = 1) -> None:
                count(inc)

        try:
            store, path = filesystem(url, self.config)
            left_s = max(self.deadline - time.monotonic(), 0.001)
            limit = {"timeout": left_s} if store.async_impl else {}
            store.get_file(path, str(place), callback=Watch(), **limit)
        except (AssetError, ConfigError):
            raise
        except Exception as error:  # every store has errors of its own
            raise _named(error) from error
        size = place.stat().st_size
        if announced is not None and size < announced:
            raise _fault("truncated_download", f"{size} of {announced} bytes")

    def _count(self, more: int) -> None:
        self.bytes += more
        if self.bytes > self.config.asset_max_mb * 2**20:
            limit_mb = self.config.asset_max_mb
            raise _fault("too_large", f"more than {limit_mb:g} MB; raise fetch.asset_max_mb")
        self.unlooked += more
        if self.unlooked > _LOOK_EVERY_BYTES:
            self.unlooked = 0
            cache = self.folder.parent
            while (full := bytes_in(cache) > self.config.cache_mb * 2**20) and remove_unused(
                cache, most=1
            ):
                pass
            if full:
                raise _fault("cache_full", "the cache is full; raise fetch.cache_mb")
        if time.monotonic() > self.deadline:
            raise _fault("fetch_timeout", f"took longer than {self.config.asset_timeout_s:g} s")


def _names_in(document: Path) -> list[str]:
    """Return the relative URIs of a glTF document that stay in its folder."""
    try:
        tree: Any = json.loads(document.read_bytes())
        parts = [*tree.get("buffers", []), *tree.get("images", [])]
        names = [part["uri"] for part in parts if isinstance(part.get("uri"), str)]
    except (ValueError, AttributeError, TypeError):
        return []  # the gate says what is wrong with it
    inside: dict[str, None] = {}
    for name in cast("list[str]", names)[:_COMPANIONS_MAX]:
        if name.startswith("data:") or is_remote(name) or not PurePosixPath(name).name:
            continue
        try:
            refuse_escape(name)
        except AssetError:
            continue
        inside[name] = None
    return list(inside)


def _named(error: Exception) -> AssetError:
    """Give the error of a store a name that stays the same."""
    message = f"{type(error).__name__}: {error}"
    if getattr(error, "errno", None) == errno.ENOSPC:
        return _fault("disk_full", message)
    status = getattr(error, "status", None)  # aiohttp
    if isinstance(status, int) and status >= 400:
        return _fault(f"http_{status}", message)
    for kind, rule in _HTTP_OF.items():
        if isinstance(error, kind):
            return _fault(rule, message)
    if isinstance(error, TimeoutError) or re.search("[Tt]imed? ?out", message):
        return _fault("fetch_timeout", message)
    if re.search("Payload|Incomplete|ContentLength", message):
        return _fault("truncated_download", message)
    return _fault("connection_failed", message)


def _wait_for_room(cache: Path, needed: int, config: FetchConfig) -> None:
    """Wait until other workers have let go of enough.

    Raises:
        AssetError: rule ``cache_full``; the try is repeated, which gives room to others meanwhile.
    """
    bound = config.cache_mb * 2**20
    if needed > bound:
        raise _fault("too_large", f"{needed} bytes do not fit into fetch.cache_mb at all")
    deadline = time.monotonic() + config.timeout_s
    while (used := bytes_in(cache)) + needed > bound:
        if remove_unused(cache, most=1):
            continue
        if time.monotonic() > deadline:
            raise _fault("cache_full", f"{cache} holds {used} bytes; raise fetch.cache_mb")
        time.sleep(0.1)


def _clear_orphans(cache: Path) -> None:
    """Remove downloads of workers of this machine that were killed."""
    remove_forgotten(cache)
    prefix = f"{_OWNED}{socket.gethostname()}-"
    for folder in cache.glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _fault(rule: str, message: str) -> AssetError:
    return AssetError(message, rule=rule, stage="fetch")
