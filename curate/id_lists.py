"""Published lists of assets: which to take, which to leave, and how a run compares with one.

A list is a text file with one name a line, or a CSV or Parquet table. A name is a uid, a path or
URL, a sha256. An entry of a table has several: its columns uid, save_uid, fileIdentifier, sha256,
path and url, and the ``save_uid`` inside the column ``meta`` of Diffusion4D's tables.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from curate.sources import Source, names_of
from curate.tables import read_rows
from shards.errors import ConfigError

_COLUMNS = ("uid", "save_uid", "fileIdentifier", "file_identifier", "sha256", "url", "path", "file")
_SAVE_UID = re.compile(r"""['"]save_uid['"]\s*:\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True, slots=True)
class IdList:
    """A list: its entries, each with all of its names."""

    title: str
    entries: tuple[tuple[str, ...], ...]

    def names(self) -> set[str]:
        """Return every name of every entry."""
        return {name for entry in self.entries for name in entry}


@dataclass(frozen=True, slots=True)
class Overlap:
    """How a list compares with a ledger, in entries of the list.

    Attributes:
        kept: at least one clip of it was kept.
        rules: why the dropped ones were dropped: the rule of their first clip.
        unknown: the ledger does not have it.
        not_listed: assets of the ledger that the list does not have.
    """

    kept: int
    dropped: int
    unknown: int
    not_listed: int
    rules: Counter[str]


def read_id_list(path: str, options: Mapping[str, Any] | None = None) -> IdList:
    """Read a list from a file or URL; an entry that stands twice counts once.

    Raises:
        ConfigError: it cannot be read, or a table has none of the columns.
    """
    entries: dict[tuple[str, ...], None] = {}
    for number, row in enumerate(read_rows(path, "uid", options)):
        if number == 0 and not {*_COLUMNS, "meta"} & row.keys():
            raise ConfigError(
                f"{path}: expected one of the columns {', '.join(_COLUMNS)}, found {', '.join(row)}"
            )
        names = [row.get(name, "") for name in _COLUMNS]
        if (found := _SAVE_UID.search(row.get("meta", ""))) is not None:
            names.append(found[1])
        if entry := tuple(name for name in names if name):
            entries[entry] = None
    return IdList(path, tuple(entries))


def overlap(rows: Iterable[Mapping[str, Any]], listed: IdList) -> Overlap:
    """Compare a list with the rows of a ledger."""
    assets: dict[str, tuple[set[str], list[str]]] = {}  # uid -> names, rules; "" is kept
    for row in rows:
        names, rules = assets.setdefault(row["uid"], (set(), []))
        names |= names_of(row["uid"], row["path"], row["sha256"])
        rules.append("" if row["verdict"] == "kept" else row["rule"])
    by_name = {name: uid for uid, (names, _) in assets.items() for name in names}
    found = [next((by_name[n] for n in entry if n in by_name), None) for entry in listed.entries]
    dropped = Counter(assets[uid][1][0] for uid in found if uid and "" not in assets[uid][1])
    unknown = found.count(None)
    return Overlap(
        kept=len(found) - unknown - dropped.total(),
        dropped=dropped.total(),
        unknown=unknown,
        not_listed=len(assets.keys() - set(found)),
        rules=dropped,
    )


def marked(source: Source, allow: set[str] | None, deny: set[str]) -> Source:
    """Mark an asset that lists refuse; denial goes before permission. None allows all."""
    if not deny and allow is None:
        return source
    names = source.names()
    if names & deny:
        return replace(source, refusal="denied")
    if allow is not None and not names & allow:
        return replace(source, refusal="not_allowed")
    return source
