"""From what the command line names to a list of sources.

An input is a local file, folder or glob; a URL of a file, folder or glob; a list or table of paths
and URLs; or a catalogue (``objaverse:``, ``objaverse-xl:``). Nothing is dropped without a trace:
what lists refuse becomes a source with a refusal, and so a row of the ledger. Only of a catalogue,
which holds millions, an allow list selects; what it leaves is counted.
"""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from curate.config import FetchConfig
from curate.id_lists import marked, read_id_list
from curate.objaverse_sources import PREFIXES, find_in_catalogue
from curate.remote_files import announced, find_urls, options_for, url_source
from curate.source_table import SourceTable
from curate.sources import About, Source, each_source, nothing_in, uid_for
from curate.tables import LISTS, is_url, read_rows, suffix_of
from shards.errors import ConfigError
from shards.scratch import ScratchSet

_UID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_ASKED_AT_ONCE = 4096  # rows of a list that are in memory


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found.

    Attributes:
        sources: ordered by path.
        left_out: what catalogues hold and was not selected, by reason.
        not_found: entries of allow lists that no input has.
    """

    sources: SourceTable
    left_out: Counter[str]
    not_found: int = 0


def gather(
    inputs: Sequence[str | Path],
    config: FetchConfig,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
) -> Gathered:
    """List the assets of all inputs; what is in memory does not grow with their number.

    Args:
        inputs: as the command line takes them.
        config: how stores are reached.
        allow: lists of what to take; none: everything.
        deny: lists of what to leave.

    Raises:
        ConfigError: an input or a list cannot be read, or two assets have one uid.
    """
    allowed = [read_id_list(path) for path in allow]
    denied = {name for path in deny for name in read_id_list(path).names()}
    allowed_names = {name for listed in allowed for name in listed.names()} if allow else None
    texts = [str(given) for given in inputs]
    left_out: Counter[str] = Counter()
    present: set[str] = set()  # of the allowed names
    sources, places = SourceTable(), ScratchSet()
    repeats = len(texts) != 1 or not os.path.isdir(texts[0])  # in one folder all is there once
    for source in _each(texts, config, allowed_names, left_out):
        # a file that several inputs name counts once, as the first one names it
        if not repeats or places.add(_place(source)):
            sources.add(marked(source, allowed_names, denied))
            if allowed_names is not None:
                present |= source.names() & allowed_names
    if not sources and not left_out:
        raise ConfigError(f"{', '.join(texts)}: no asset found")
    not_found = sum(present.isdisjoint(entry) for listed in allowed for entry in listed.entries)
    return Gathered(sources, left_out, not_found)


def _each(
    texts: Sequence[str],
    config: FetchConfig,
    allowed: set[str] | None,
    left_out: Counter[str],
) -> Iterator[Source]:
    local: list[Path] = []
    for text in texts:
        if text.startswith(PREFIXES):
            yield from find_in_catalogue(text, config, allowed, left_out)
        elif suffix_of(text) in LISTS and (is_url(text) or Path(text).is_file()):
            yield from _listed(text, config)
        elif is_url(text):
            yield from find_urls(text, config)
        else:
            local.append(Path(text))
    if local or not texts:
        yield from _local(local)


def _local(inputs: list[Path]) -> Iterator[Source]:
    places, paths = ScratchSet(), ScratchSet()
    empty = True
    is_free = paths.add if len(inputs) > 1 else _always  # in one root no path is there twice
    for source in each_source(inputs, places.add, is_free):
        empty = False
        yield source
    if empty:
        raise ConfigError(nothing_in(inputs))


def _always(_: bytes) -> bool:
    return True


def _place(source: Source) -> bytes:
    """Name where a source lies."""
    if source.remote is None:
        return b"file " + os.fsencode(source.file)
    return f"{source.remote.client} {source.remote.address}".encode("utf-8", "surrogateescape")


def _listed(path: str, config: FetchConfig) -> Iterator[Source]:
    """Make a source of every row of a list or table."""
    options = options_for(path, config) if is_url(path) else {}
    rows = enumerate(read_rows(path, "path", options), 1)
    empty = True
    while some := list(islice(rows, _ASKED_AT_ONCE)):
        empty = False
        yield from announced([_row_source(row, path, number) for number, row in some], config)
    if empty:
        raise ConfigError(f"{path}: the list is empty; expected a path or URL per line")


def _row_source(row: dict[str, str], path: str, number: int) -> Source:
    where = f"{path}: entry {number}"
    given = row.get("url") or row.get("path") or row.get("file") or ""
    if not given:
        raise ConfigError(
            f"{where}: expected a column url or path with a value, found {', '.join(row)}"
        )
    uid, sha256 = row.get("uid", ""), row.get("sha256", "")
    if uid and not _UID.fullmatch(uid):
        raise ConfigError(f"{where}: uid {uid!r} may hold letters, digits, - and _ only")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ConfigError(f"{where}: sha256 {sha256!r} is no hash of 64 hex digits")
    about = About(
        licence=row.get("licence") or row.get("license") or "",
        attribution=row.get("attribution") or row.get("author") or "",
        name=row.get("name", ""),
        tags=tuple(tag.strip() for tag in re.split("[;,|]", row.get("tags", "")) if tag.strip()),
        source=given.partition("://")[0] if is_url(given) else "local",
    )
    if is_url(path) and not is_url(given):
        given = posixpath.join(path.rpartition("/")[0], given)
        about = replace(about, source=path.partition("://")[0])
    if is_url(given):
        return url_source(given, about, uid, sha256)
    folder = Path(path).resolve().parent
    file = folder / given
    root = folder if file.is_relative_to(folder) and ".." not in file.parts else file.parent
    return Source(uid or uid_for(given), given, file, root, sha256.lower(), about=about)
