"""Which sample lies in which shard, on disk: for runs of more samples than fit in memory."""

from collections.abc import Iterator, MutableMapping
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa

from shards import index
from shards.index import IndexEntry
from shards.scratch import open_scratch

_COLUMNS = tuple(index.empty_table().column_names)


class SampleKeys(MutableMapping[str, IndexEntry]):
    """The index of a run's committed shards by key, in a scratch database."""

    def __init__(self) -> None:
        self._scratch = open_scratch()
        names = ", ".join(f'"{name}"' for name in _COLUMNS)
        self._scratch.execute(f"CREATE TABLE entry ({names}, PRIMARY KEY (key)) WITHOUT ROWID")
        self._scratch.execute("CREATE INDEX by_shard ON entry (shard)")
        self._insert = f"INSERT OR REPLACE INTO entry VALUES ({', '.join('?' * len(_COLUMNS))})"

    def add_table(self, table: pa.Table) -> None:
        """Take the entries of an index part."""
        columns = [table[name].to_pylist() for name in _COLUMNS]
        self._scratch.executemany(self._insert, zip(*columns, strict=True))

    def of_shard(self, shard: str) -> list[IndexEntry]:
        """Return a shard's entries."""
        query = 'SELECT * FROM entry WHERE shard = ? ORDER BY "offset"'
        return [IndexEntry(*row) for row in self._scratch.execute(query, (shard,)).fetchall()]

    def note_found(self) -> None:
        """Keep what is there now for ``found``, whatever is changed afterwards."""
        self._scratch.execute(
            "CREATE TABLE found (uid, key, fingerprint, PRIMARY KEY (uid, key)) WITHOUT ROWID"
        )
        self._scratch.execute("INSERT INTO found SELECT uid, key, fingerprint FROM entry")

    def found(self, uid: str) -> dict[str, str]:
        """Return key -> fingerprint of an asset's samples at the time of ``note_found``."""
        query = "SELECT key, fingerprint FROM found WHERE uid = ?"
        return dict(self._scratch.execute(query, (uid,)).fetchall())

    def __getitem__(self, key: str) -> IndexEntry:
        """Return the entry of a key, or raise KeyError."""
        row = self._scratch.execute("SELECT * FROM entry WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return IndexEntry(*row)

    def __setitem__(self, key: str, entry: IndexEntry) -> None:
        """Note an entry under its own key."""
        assert key == entry.key
        self._scratch.execute(self._insert, astuple(entry))

    def __delitem__(self, key: str) -> None:
        """Forget a key, or raise KeyError."""
        if not self._scratch.execute("DELETE FROM entry WHERE key = ?", (key,)).rowcount:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        """Tell whether a sample is in a shard."""
        query = "SELECT 1 FROM entry WHERE key = ?"
        return self._scratch.execute(query, (key,)).fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys as they are now, in their order."""
        rows = self._scratch.execute("SELECT key FROM entry ORDER BY key").fetchall()
        return (key for (key,) in rows)

    def __len__(self) -> int:
        """Count the samples."""
        return self._scratch.execute("SELECT count(*) FROM entry").fetchone()[0]


def read_keys(run: Path) -> SampleKeys:
    """Read which samples a run's committed shards hold.

    Raises:
        ShardError: if a tar has no index part, or a part is damaged.
    """
    keys = SampleKeys()
    for part in index.committed_parts(run):
        keys.add_table(index.read_table(part))
    return keys
