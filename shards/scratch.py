"""Tables on disk that belong to one process: what is too much to keep in memory.

SQLite gives them a file without a name: nobody else sees it, and it is gone when the process is,
however that ends. Nothing in it is a truth: it is made anew from shards, ledger and inputs. The
file lies where ``SQLITE_TMPDIR`` or ``TMPDIR`` says, else in ``/var/tmp``.
"""

import sqlite3
from collections.abc import Iterator, MutableMapping

_CACHE_KB = 8192  # of each database; beyond that, pages go to the file


def open_scratch() -> sqlite3.Connection:
    """Open an empty database on disk."""
    scratch = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KB}"):
        scratch.execute(f"PRAGMA {pragma}")
    scratch.execute("BEGIN")  # never ended: nothing here has to outlive the process
    return scratch


class ScratchMap(MutableMapping[str | int, str]):
    """A mapping in a scratch database; iterates in the order of its keys."""

    def __init__(self, scratch: sqlite3.Connection, name: str) -> None:
        """Make an empty one under a name of its own."""
        self._scratch = scratch
        scratch.execute(f"CREATE TABLE {name} (key PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self._get = f"SELECT value FROM {name} WHERE key = ?"
        self._set = f"INSERT OR REPLACE INTO {name} VALUES (?, ?)"
        self._delete = f"DELETE FROM {name} WHERE key = ?"
        self._all = f"SELECT key FROM {name} ORDER BY key"
        self._count = f"SELECT count(*) FROM {name}"

    def __getitem__(self, key: str | int) -> str:
        """Return the value, or raise KeyError."""
        row = self._scratch.execute(self._get, (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return row[0]

    def __setitem__(self, key: str | int, value: str) -> None:
        """Set a value."""
        self._scratch.execute(self._set, (key, value))

    def __delitem__(self, key: str | int) -> None:
        """Remove a key, or raise KeyError."""
        if not self._scratch.execute(self._delete, (key,)).rowcount:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str | int]:
        """Iterate over the keys as they are now."""
        return (row[0] for row in self._scratch.execute(self._all).fetchall())

    def __len__(self) -> int:
        """Count the keys."""
        return self._scratch.execute(self._count).fetchone()[0]


class ScratchSet:
    """A set on disk, of which nothing is asked but whether an item is new."""

    def __init__(self) -> None:
        self._scratch = open_scratch()
        self._scratch.execute("CREATE TABLE item (name PRIMARY KEY) WITHOUT ROWID")

    def add(self, item: bytes | str) -> bool:
        """Add an item; tells whether it was not there before."""
        insert = "INSERT OR IGNORE INTO item VALUES (?)"
        return self._scratch.execute(insert, (item,)).rowcount > 0

    def __contains__(self, item: bytes | str) -> bool:
        """Tell whether an item is there."""
        query = "SELECT 1 FROM item WHERE name = ?"
        return self._scratch.execute(query, (item,)).fetchone() is not None
