"""The sources of a build, on disk in input order: one at a time is in memory."""

import os
import pickle
import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from curate.sources import About, Remote, Source, refuse_equal_uids
from shards.scratch import open_scratch

_CHUNK = 512  # sources that are read at once
Place = tuple[str, str]  # path and uid: where a source stands in the order
FIRST: Place = ("", "")  # before all


class SourceTable:
    """Sources ordered by path and uid; each uid once.

    Of each it is noted in which state it was found done: at first none is. ``roots`` are those of
    local files, each with a source in it.
    """

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        """Start with these.

        Raises:
            ConfigError: two have one uid.
        """
        self._scratch = open_scratch()
        self._scratch.execute(
            "CREATE TABLE source (path TEXT, uid TEXT UNIQUE, data BLOB, done TEXT, "
            "PRIMARY KEY (path, uid)) WITHOUT ROWID"
        )
        self._count = 0
        self.roots: dict[Path, Source] = {}
        for source in sources:
            self.add(source)

    def add(self, source: Source) -> None:
        """Add one.

        Raises:
            ConfigError: another one has its uid.
        """
        try:
            self._scratch.execute(
                "INSERT INTO source VALUES (?, ?, ?, '')",
                (source.path, source.uid, _packed(source)),
            )
        except sqlite3.IntegrityError:
            row = self._scratch.execute(
                "SELECT path, uid, data FROM source WHERE uid = ?", (source.uid,)
            ).fetchone()
            refuse_equal_uids([_unpacked(*row), source])
            raise
        self._count += 1
        if source.remote is None:
            self.roots.setdefault(source.root, source)

    def __len__(self) -> int:
        """Count the sources."""
        return self._count

    def __iter__(self) -> Iterator[Source]:
        """Iterate in input order."""
        return (source for source, _ in self.after(FIRST))

    def after(self, place: Place, *, undone: bool = False) -> Iterator[tuple[Source, str]]:
        """Iterate over what comes after a place, each with the state that it was done in.

        Args:
            place: of the last one that is not wanted.
            undone: leave out what is done.
        """
        which = "AND done = '' " if undone else ""
        query = (
            "SELECT path, uid, data, done FROM source WHERE (path, uid) > (?, ?) "
            f"{which}ORDER BY path, uid LIMIT {_CHUNK}"
        )
        while rows := self._scratch.execute(query, place).fetchall():
            for path, uid, data, done in rows:
                yield _unpacked(path, uid, data), done
            place = rows[-1][0], rows[-1][1]

    def set_done(self, found: Iterable[tuple[str, str, str]]) -> None:
        """Note the (state, path, uid) of sources that are done."""
        self._scratch.executemany("UPDATE source SET done = ? WHERE path = ? AND uid = ?", found)

    def place_of(self, uid: str) -> Place | None:
        """Return where a source stands; None if it is not there."""
        query = "SELECT path, uid FROM source WHERE uid = ?"
        row = self._scratch.execute(query, (uid,)).fetchone()
        return None if row is None else (row[0], row[1])


def place_of(source: Source) -> Place:
    """Return where a source stands in the order."""
    return source.path, source.uid


def _packed(source: Source) -> bytes:
    remote, about = source.remote, source.about
    return pickle.dumps(
        (
            os.fsencode(source.file),
            os.fsencode(source.root),
            source.sha256,
            remote
            and (remote.client, remote.address, remote.collection, remote.etag, remote.bytes),
            None
            if about == _NOTHING
            else (about.source, about.licence, about.attribution, about.name, about.tags),
            source.refusal,
        ),
        pickle.HIGHEST_PROTOCOL,
    )


_NOTHING = About()


def _unpacked(path: str, uid: str, data: bytes) -> Source:
    file, root, sha256, remote, about, refusal = pickle.loads(data)
    return Source(
        uid,
        path,
        Path(os.fsdecode(file)),
        _root(root),
        sha256,
        remote and Remote(*remote),
        _NOTHING if about is None else About(*about),
        refusal,
    )


@lru_cache(maxsize=64)
def _root(name: bytes) -> Path:
    return Path(os.fsdecode(name))
