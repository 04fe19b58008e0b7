"""Where the bytes of a RUN lie: a folder, or anything that fsspec can read by ranges.

``s3://``, ``gs://``, ``hf://``, ``http(s)://`` and the rest of fsspec's names work once their
package is installed (``pip install orbit4d[remote]`` brings http and S3). Remote reads are retried
with growing pauses; samples are kept in a bounded folder on disk, by their sha256, if one is given.
"""

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import Field

from shards.config import Config
from shards.errors import ShardError
from shards.files import publish, temporary_for

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class StoreConfig(Config):
    """How remote bytes are fetched and kept. Local folders need none of it."""

    options: dict[str, Any] = Field(
        default_factory=dict, description="given to fsspec.filesystem: endpoint_url, key, ..."
    )
    timeout_s: float = Field(default=30.0, gt=0, description="of one request")
    attempts: int = Field(default=5, ge=1, description="tries per request before it is an error")
    pause_s: float = Field(default=0.5, ge=0, description="before the second try; then doubled")
    cache: Path | None = Field(default=None, description="folder for samples; none: no cache")
    cache_mb: float = Field(default=10_000.0, gt=0, description="bound of that folder")
    connections: int = Field(default=8, ge=1, description="samples of a batch fetched at once")


class Missing(Exception):
    """There is no such file."""


@dataclass(slots=True)
class LocalStore:
    """A folder."""

    root: Path
    remote = False

    def read(self, name: str) -> bytes:
        """Read a file whole."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise Missing(name) from None

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Read part of a file; less than ``length`` bytes where it ends."""
        try:
            # Opened each time: 10 us beside a megabyte, and no state to share or to limit.
            with (self.root / name).open("rb", buffering=0) as stream:
                return os.pread(stream.fileno(), length, offset)
        except FileNotFoundError:
            raise Missing(name) from None

    def size(self, name: str) -> int:
        """Count a file's bytes."""
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            raise Missing(name) from None


class RemoteStore:
    """A folder behind fsspec. May be pickled and forked: each process opens its own connections."""

    remote = True

    def __init__(self, url: str, config: StoreConfig) -> None:
        self.root = url.rstrip("/")
        self.config = config
        self._opened: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections behind."""
        return self.__dict__ | {"_opened": None}

    def read(self, name: str) -> bytes:
        """Read a file whole."""

        def call(fs: Any, path: str, **limit: Any) -> bytes:
            fs.invalidate_cache(path)  # it may have come into being since its folder was listed
            return fs.cat_file(path, **limit)

        return self._patiently(name, call)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Read part of a file; less than ``length`` bytes where it ends."""

        def call(fs: Any, path: str, **more: Any) -> bytes:
            if fs.protocol == "hf":  # its files read 5 MB ahead otherwise
                more["cache_type"] = "none"
            return fs.cat_file(path, start=offset, end=offset + length, **more)

        data = self._patiently(name, call)
        return data if len(data) <= length else data[offset : offset + length]  # range ignored

    def size(self, name: str) -> int:
        """Count a file's bytes."""
        return self._patiently(name, lambda fs, path, **limit: fs.info(path, **limit)["size"])

    def _patiently(self, name: str, call: Callable[..., T]) -> T:
        path, pause_s = f"{self.root}/{name}", self.config.pause_s
        for attempt in range(1, self.config.attempts + 1):
            filesystem = self._filesystem()
            limit = {"timeout": self.config.timeout_s} if filesystem.async_impl else {}
            try:
                return call(filesystem, path, **limit)
            except FileNotFoundError:
                raise Missing(path) from None
            except PermissionError as error:
                raise ShardError(f"{path}: access refused: {error}") from error
            except Exception as error:  # every backend has exceptions of its own
                if attempt == self.config.attempts:
                    raise ShardError(
                        f"{path}: could not be read in {attempt} attempts: "
                        f"{type(error).__name__}: {error}. Check the connection, or raise "
                        "store.attempts or store.timeout_s"
                    ) from error
                _log.warning("remote read failed", path=path, attempt=attempt, reason=repr(error))
                # other workers failed at the same moment: come back at different ones
                time.sleep(pause_s * (0.5 + random.random()))
                pause_s *= 2
        raise AssertionError("unreachable")

    def _filesystem(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                import fsspec
                from fsspec.core import url_to_fs

                filesystem, _ = url_to_fs(
                    self.root, skip_instance_cache=True, **self.config.options
                )
            except ImportError as error:
                raise ShardError(
                    f"{self.root}: {error}; pip install 'orbit4d[remote]', or the package named"
                ) from error
            del fsspec
            self._opened = os.getpid(), filesystem
        return self._opened[1]


Store = LocalStore | RemoteStore


def open_store(run: Path | str, config: StoreConfig | None = None) -> Store:
    """Open a RUN by path or URL."""
    text = re.sub(r"^([a-z][a-z0-9]+):/(?=[^/])", r"\1://", str(run))  # a Path folds slashes
    if "://" not in text:
        return LocalStore(Path(run))
    if text.startswith("file://"):
        return LocalStore(Path(text.removeprefix("file://")))
    return RemoteStore(text, config or StoreConfig())


class SampleCache:
    """A folder of samples by sha256, no larger than a bound; processes may share it.

    Names are contents, so an entry is never stale. The least recently used go first.
    """

    def __init__(self, folder: Path, bytes_max: float) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self._until_swept = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str) -> bytes | None:
        """Recall a sample; the caller verifies it."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        return data

    def put(self, sha256: str, data: bytes) -> None:
        """Keep a sample, and let go of others if there are too many bytes."""
        self._until_swept -= len(data)
        if self._until_swept < 0:  # looked at once per hundredth of the bound
            self._sweep(len(data))
        path = self._path(sha256)
        temporary = temporary_for(path)
        temporary.write_bytes(data)
        publish(temporary, path)

    def drop(self, sha256: str) -> None:
        """Let go of an entry that turned out damaged."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.tar"

    def _sweep(self, room: int) -> None:
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.tar"):
            try:
                about = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            found.append((about.st_mtime, about.st_size, path))
        slack = self.bytes_max / 100
        over = sum(size for _, size, _ in found) + room + slack - self.bytes_max
        for _, size, path in sorted(found):
            if over <= 0:
                break
            path.unlink(missing_ok=True)
            over -= size
        self._until_swept = slack
