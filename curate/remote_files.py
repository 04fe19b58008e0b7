"""Files behind URLs, through fsspec: what lies there, and what was announced about it."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from curate.config import FetchConfig
from curate.sources import FORMATS, About, Remote, Source, uid_for
from curate.tables import suffix_of
from shards.errors import ConfigError

_ASKED_AT_ONCE = 16
_NAME_MAX = 60  # characters of a file name, from its end: the format is told by it


def options_for(url: str, config: FetchConfig) -> dict[str, Any]:
    """Return fsspec's options for a URL's store."""
    protocol = url.partition("://")[0]
    options = dict(config.options.get(protocol, {}))
    if protocol in ("http", "https") and "client_kwargs" not in options:
        import aiohttp

        limit = aiohttp.ClientTimeout(total=config.asset_timeout_s, sock_read=config.timeout_s)
        options["client_kwargs"] = {"timeout": limit}
    return options


def filesystem(url: str, config: FetchConfig) -> tuple[Any, str]:
    """Open the store of a URL; returns it and the path in it.

    Raises:
        ConfigError: no such kind of store is known, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        return cast("tuple[Any, str]", url_to_fs(mirrored(url, config), **options_for(url, config)))
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{shown(url)}: {error}; pip install 'orbit4d[remote]', or the package named"
        ) from error


def mirrored(url: str, config: FetchConfig) -> str:
    """Put a mirror's address in the place of the one that it stands for."""
    for beginning, other in config.mirrors.items():
        if url.startswith(beginning):
            return other + url[len(beginning) :]
    return url


def shown(url: str) -> str:
    """Return a URL as it may stand in a ledger: without a password."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def url_source(url: str, about: About, uid: str = "", sha256: str = "") -> Source:
    """Make the source of one URL."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    file = re.sub(r"[^\w.\- ]", "_", name)[-_NAME_MAX:].strip(". ") or "asset"
    remote = Remote("url", url)
    return Source(
        uid or uid_for(shown(url)), shown(url), Path(file), Path(), sha256.lower(), remote, about
    )


def find_urls(url: str, config: FetchConfig) -> list[Source]:
    """List the assets behind a URL: a file, a folder to search through, or a glob.

    Raises:
        ConfigError: the store cannot be listed, or holds no asset there.
    """
    about = About(source=url.partition("://")[0])
    if suffix_of(url) in FORMATS and not _is_glob(url):
        return announced([url_source(url, about)], config)
    store, path = filesystem(url, config)
    try:
        if _is_glob(url):
            found = cast("dict[str, dict[str, Any]]", store.glob(path, detail=True))
        else:
            found = cast("dict[str, dict[str, Any]]", store.find(path, detail=True))
        if not found:  # searching leaves out what cannot be read; asked for itself, it says why
            store.ls(re.split(r"[^/]*[*\[]", path)[0])
    except Exception as error:  # every store has errors of its own
        raise ConfigError(
            f"{shown(url)}: cannot be listed: {type(error).__name__}: {error}"
        ) from error
    sources = [
        _with_info(url_source(store.unstrip_protocol(name), about), info)
        for name, info in sorted(found.items())
        if suffix_of(store.unstrip_protocol(name)) in FORMATS
    ]
    if not sources:
        raise ConfigError(f"{shown(url)}: no file ends in {' '.join(FORMATS)}")
    return sources


def announced(sources: Iterable[Source], config: FetchConfig) -> list[Source]:
    """Ask the stores what they announce about files whose hash is not known.

    A store that does not answer now is no error: fetching the file will tell.

    Raises:
        ConfigError: no such kind of store is known, or its package is not installed.
    """
    sources = list(sources)
    urls = [s.remote.address for s in sources if s.remote is not None and s.remote.client == "url"]
    for url in {url.partition("://")[0]: url for url in urls}.values():
        filesystem(url, config)

    def asked(source: Source) -> Source:
        if source.remote is None or source.remote.client != "url" or source.stamp:
            return source
        try:
            store, path = filesystem(source.remote.address, config)
            limit = {"timeout": config.timeout_s} if store.async_impl else {}
            return _with_info(source, store.info(path, **limit))
        except Exception:
            return source

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return list(pool.map(asked, sources))


def _is_glob(url: str) -> bool:
    return "*" in url or "[" in url  # a question mark begins a query


def _with_info(source: Source, info: dict[str, Any]) -> Source:
    assert source.remote is not None
    etag = next((info[name] for name in ("ETag", "etag", "md5Hash") if info.get(name)), "")
    remote = replace(source.remote, etag=str(etag).strip('"'), bytes=info.get("size"))
    return replace(source, remote=remote)
