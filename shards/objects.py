"""An object store that a RUN is written to: S3, Google Cloud Storage or Azure, through obstore.

fsspec, which ``shards.store`` reads with, knows more places (``hf://``, plain http) but cannot say
"only if nobody changed it meanwhile"; obstore can, and that is what commits rest on. Keys come from
the usual places: the environment, a machine's role, and for S3 the profiles of ``~/.aws``.

Requests are tried again until ``patience_s`` has passed, by a clock that nobody can set.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from pydantic import Field

from shards.config import Config
from shards.errors import ConfigError, MachineError
from shards.store import Missing

T = TypeVar("T")
Version = dict[str, Any]  # what a store knows one state of an object by

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_PART_BYTES, _PARTS_AT_ONCE = 8 * 2**20, 4  # of an upload; what it takes in memory
_PAUSE_MAX_S = 15.0
_KEYS_LAST = timedelta(minutes=15)
_ESCAPED = re.compile(r"[?#]|%[0-9A-Fa-f]{2}")
_MAY_PASS = ("408", "409", "429")  # of the statuses that say that a request is wrong
_NO_KEYS = "http://169.254.169.254/"  # where a machine in a cloud asks for the keys of its role
_TRIES_INSIDE = 3  # of obstore for one request, before this module pauses

_log = structlog.get_logger(__name__)


class ObjectsConfig(Config):
    """How a RUN is written to an object store. Local folders need none of it."""

    timeout_s: float = Field(default=60.0, gt=0, description="of one request")
    patience_s: float = Field(
        default=600.0, gt=0, description="a store that stays away this long ends the run"
    )
    pause_s: float = Field(default=0.2, ge=0, description="before the second try; then doubled")
    lease_s: float = Field(
        default=30.0, gt=0, description="a build is taken for dead that gives no sign this long"
    )
    options: dict[str, str] = Field(
        default_factory=dict, exclude=True,
        description="for obstore: endpoint, region, ...; not put on record",
    )  # fmt: skip


class Outdated(Exception):
    """Somebody else changed an object, or made it."""


def is_object_url(run: Path | str) -> bool:
    """Tell whether a RUN is the URL of an object store that can be written to."""
    return urlsplit(str(run)).scheme in SCHEMES


class Objects:
    """The objects below a URL. May be pickled and forked: each process opens its own connections.

    All methods but ``swap`` may be repeated; they raise ``MachineError`` once patience is spent,
    the bucket is missing, or access is refused.
    """

    def __init__(self, url: str, config: ObjectsConfig | None = None) -> None:
        """Name a place.

        Raises:
            ConfigError: if it is no URL of an object store, or holds what URLs escape.
        """
        if not is_object_url(url):
            raise ConfigError(
                f"{url}: expected a folder, or a URL that begins with {', '.join(SCHEMES)} (://)"
            )
        if _ESCAPED.search(url):
            raise ConfigError(
                f"{url}: expected the names of objects as they are, without ?, # and escapes such "
                "as %20: what writes and what reads would not take them alike"
            )
        self.url = url.rstrip("/")
        self.config = config or ObjectsConfig()
        self._opened: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections behind."""
        return self.__dict__ | {"_opened": None}

    def read(self, name: str) -> bytes:
        """Read an object whole.

        Raises:
            Missing: if there is none.
        """
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, Version]:
        """Read an object, and what its state is known by."""

        def call(store: Any) -> tuple[bytes, Version]:
            found = _obstore().get(store, name)
            return found.bytes().to_bytes(), _version(found.meta)

        return self._patiently(name, "read", call)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Read part of an object."""

        def call(store: Any) -> bytes:
            return _obstore().get_range(store, name, start=offset, length=length).to_bytes()

        return self._patiently(name, "read", call)

    def list(self, prefix: str) -> dict[str, int]:
        """List the objects below a folder: name -> bytes."""

        def call(store: Any) -> dict[str, int]:
            pages = _obstore().list(store, prefix=prefix, chunk_size=1000)
            return {one["path"]: one["size"] for page in pages for one in page}

        return self._patiently(prefix, "listed", call)

    def write(self, name: str, data: bytes) -> None:
        """Write an object whole, whatever was there."""
        self._patiently(name, "written", lambda store: _obstore().put(store, name, data))

    def swap(self, name: str, data: bytes, expected: Version | None) -> Version:
        """Write an object if its state is still this one; None: if there is no such object.

        Tried again like everything else. So ``Outdated`` may also mean that an earlier try went
        well and its answer was lost: who needs to know reads the object.

        Raises:
            Outdated: if its state is another.
        """
        mode = "create" if expected is None else expected

        def call(store: Any) -> Version:
            return _version(_obstore().put(store, name, data, mode=mode))

        return self._patiently(name, "written", call)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        names = list(names)
        for start in range(0, len(names), 1000):
            some = names[start : start + 1000]

            def call(store: Any, some: list[str] = some) -> None:
                try:
                    _obstore().delete(store, some)
                except FileNotFoundError:  # of some stores, and not before the others are gone
                    for name in some:
                        try:
                            _obstore().delete(store, name)
                        except FileNotFoundError:
                            continue

            self._patiently(some[0], "removed", call)

    def upload(self, name: str, make: Callable[[Callable[[bytes], object]], T]) -> T:
        """Write a large object in parts, from the beginning again where that has to be.

        Args:
            name: of the object; it appears when all of it is there.
            make: called with a function that takes the bytes one after the other.

        Returns:
            What ``make`` returned.
        """

        def call(store: Any) -> T:
            writer = _obstore().open_writer(
                store, name, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
            made = make(writer.write)
            writer.close()  # not where ``make`` fails: that would publish a part of it
            return made

        return self._patiently(name, "written", call, is_long=True)

    def _patiently(
        self, name: str, done: str, call: Callable[[Any], T], *, is_long: bool = False
    ) -> T:
        """Try until it is done; patience with what takes long begins with its first failure."""
        until, pause_s, tries = time.monotonic() + self.config.patience_s, self.config.pause_s, 0
        base = _obstore().exceptions.BaseError
        while True:
            tries += 1
            try:
                return call(self._store())
            except (base, OSError) as error:  # an upload in parts ends with a plain OSError
                if getattr(error, "errno", None) is not None:  # a file of this machine
                    raise
                if (final := self._final(name, done, error)) is not None:
                    raise final from error
                if is_long and tries == 1:
                    until = time.monotonic() + self.config.patience_s
                if time.monotonic() + pause_s > until:
                    raise MachineError(
                        f"{self.url}/{name}: could not be {done} in {tries} tries over "
                        f"{self.config.patience_s:.0f} s: {gist(error)}. Once the store answers, "
                        "the same command goes on from here"
                    ) from error
                _log.warning("store", name=name, tries=tries, reason=gist(error))
            # others failed at the same moment: come back at different ones
            time.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _final(self, name: str, done: str, error: Exception) -> Exception | None:
        """Turn an error that trying again does not mend into ours; None: it may pass."""
        errors, said = _obstore().exceptions, str(error)
        if isinstance(error, errors.AlreadyExistsError | errors.PreconditionError):
            return Outdated(name)
        if isinstance(error, errors.PermissionDeniedError | errors.UnauthenticatedError):
            return MachineError(
                f"{self.url}/{name}: access refused: {gist(error)}. Check this machine's keys for "
                "the store, their rights (read, write, list, delete) and its clock; then the same "
                "command goes on from here"
            )
        missing = isinstance(error, FileNotFoundError)
        if "NoSuchBucket" in said or (missing and done != "read" and "NoSuchUpload" not in said):
            return MachineError(
                f"{self.url}: there is no such bucket: {gist(error)}. Make it, or give another "
                "URL; then the same command goes on from here"
            )
        if missing and done == "read":
            return Missing(name)
        if _NO_KEYS in said:
            return MachineError(
                f"{self.url}: this machine has no keys for the store: neither in the environment "
                "(AWS_ACCESS_KEY_ID, ...) nor in ~/.aws nor by a role of its own"
            )
        status = re.search(r"status code: (4\d\d)", said)
        if status and status[1] not in _MAY_PASS and "RequestTimeout" not in said:
            return MachineError(
                f"{self.url}/{name}: the store refuses this: {gist(error)}. Check the URL, region "
                "and endpoint (AWS_REGION, AWS_ENDPOINT_URL); then the same command goes on"
            )
        return None

    def _store(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            from obstore.store import from_url

            endpoint = self.config.options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL", "")
            pause = timedelta(seconds=self.config.pause_s)
            self._opened = (
                os.getpid(),
                from_url(
                    self.url,
                    config=self.config.options,  # type: ignore[arg-type]
                    client_options={
                        "timeout": timedelta(seconds=self.config.timeout_s),
                        "allow_http": endpoint.startswith("http://"),  # only where one was named
                    },
                    retry_config={
                        "max_retries": _TRIES_INSIDE - 1,
                        "backoff": {"init_backoff": pause, "max_backoff": 10 * pause, "base": 2},
                        "retry_timeout": timedelta(seconds=self.config.patience_s),
                    },
                    **_credentials(self.url, self.config.options),
                ),
            )
        return self._opened[1]


def _version(meta: Any) -> Version:
    """Take what a condition is made of: an ETag, and in some stores a version."""
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}


def gist(error: Exception) -> str:
    """Shorten what a store says: its own code and sentence where there are such."""
    text = str(error)
    code = re.search(r"<Code>(.*?)</Code>", text)
    said = re.search(r"<Message>(.*?)</Message>", text)
    if code:
        return f"{code[1]}: {said[1]}" if said else code[1]
    return " ".join(text.partition("\n\nDebug source")[0].split())[:400]


def _obstore() -> Any:
    try:
        import obstore
        import obstore.exceptions
    except ImportError as error:
        raise ConfigError(f"{error}; pip install 'orbit4d[remote]'") from error
    return obstore


def _credentials(url: str, options: dict[str, str]) -> dict[str, Any]:
    """Let S3 have the keys of a profile: obstore itself knows the environment and roles."""
    named = {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"}
    if urlsplit(url).scheme not in ("s3", "s3a") or not named.isdisjoint(os.environ):
        return {}
    if any("key" in name or "signature" in name for name in options):
        return {}
    try:
        from botocore.session import Session
    except ImportError:
        return {}
    session = Session()
    if session.get_config_variable("profile") is None and not session.available_profiles:
        return {}
    keys = session.get_credentials()
    if keys is None:
        return {}

    def provide() -> dict[str, Any]:
        frozen = keys.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _KEYS_LAST,
        }

    region = session.get_config_variable("region")
    return {"credential_provider": provide} | ({"region": region} if region else {})
