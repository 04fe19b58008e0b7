"""What earlier builds left, looked up by asset: rows of the ledger, samples of shards.

Ledger and index are the truth; this is made from them when a build begins, on disk, so that memory
does not grow with the number of clips. Of a row it holds what decides whether the row still stands
and whether its clip is a copy (``COLUMNS``); a whole row is read from its ledger part when it is
asked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import ledger
from shards.keys import SampleKeys
from shards.scratch import open_scratch

COLUMNS = (
    "uid", "clip_index", "path", "verdict", "rule", "value", "limit", "unit", "stage", "error",
    "settings", "licence", "attribution", "name", "tags", "sha256", "stamp", "bytes",
    "modified_ns", "companions", "sample_key", "fingerprint", "content", "geometry", "look",
    "clip_sketch", "family", "duplicate_of", "recolour_of",
)  # fmt: skip
Row = dict[str, Any]


class _Group:
    """A row group of a ledger part, and where in it an asset's rows are."""

    def __init__(self, part: int, number: int, path: Path) -> None:
        self.part, self.number = part, number
        self._table = pq.ParquetFile(path).read_row_group(number)
        self._places: dict[str, list[int]] = {}
        for place, uid in enumerate(self._table["uid"].to_pylist()):
            self._places.setdefault(uid, []).append(place)

    def rows(self, uid: str) -> list[Row]:
        return self._table.take(self._places.get(uid, [])).to_pylist()


class Records:
    """The newest word on each asset, and its samples, as a build found them."""

    def __init__(self) -> None:
        self._scratch = open_scratch()
        names = ", ".join(f'"{name}"' for name in COLUMNS)
        self._scratch.execute(
            f"CREATE TABLE row ({names}, part, row_group, PRIMARY KEY (uid, clip_index)) "
            "WITHOUT ROWID"
        )
        self._parts: list[Path] = []
        self._group: _Group | None = None  # the row group that was read last
        self._near: dict[str, list[Row]] = {}
        self._keys: SampleKeys | None = None
        self._added: dict[str, dict[str, str]] = {}  # uid -> key -> fingerprint

    def read_ledger(self, run: Path) -> None:
        """Take all rows of a run's ledger."""
        marks = ", ".join("?" * (len(COLUMNS) + 2))
        for path in ledger.parts(run):
            file = pq.ParquetFile(path)
            present = [name for name in COLUMNS if name in file.schema_arrow.names]
            if self._parts:  # a later part is a newer word
                for uids in (file.read_row_group(i, ["uid"]) for i in range(file.num_row_groups)):
                    self._forget(uids)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, present)
                blank = [None] * table.num_rows
                columns = [
                    table[name].to_pylist() if name in present else blank for name in COLUMNS
                ]
                place = [len(self._parts)] * table.num_rows, [group] * table.num_rows
                self._scratch.executemany(
                    f"INSERT OR REPLACE INTO row VALUES ({marks})",
                    zip(*columns, *place, strict=True),
                )
            self._parts.append(path)

    def _forget(self, uids: pa.Table) -> None:
        known = ((uid,) for uid in set(uids["uid"].to_pylist()))
        self._scratch.executemany("DELETE FROM row WHERE uid = ?", known)

    def read_samples(self, keys: SampleKeys) -> None:
        """Take all samples of shards, as they are now."""
        keys.note_found()
        self._keys = keys

    def add_sample(self, uid: str, key: str, fingerprint: str) -> None:
        """Take a sample that is in no shard just now."""
        self._added.setdefault(uid, {})[key] = fingerprint

    def rows(self, uid: str) -> list[Row]:
        """Return ``COLUMNS`` of an asset's rows, in the order of its clips."""
        if (near := self._near.get(uid)) is None:
            near = self._look_up([uid])[uid]
        return [row.copy() for row in near]

    def bring_near(self, uids: Sequence[str]) -> None:
        """Look up the rows of some assets together, which are asked for next."""
        self._near = self._look_up(uids)

    def _look_up(self, uids: Sequence[str]) -> dict[str, list[Row]]:
        marks = ", ".join("?" * len(uids))
        query = f"SELECT * FROM row WHERE uid IN ({marks}) ORDER BY uid, clip_index"
        found: dict[str, list[Row]] = {uid: [] for uid in uids}
        for row in self._scratch.execute(query, uids):
            found[row[0]].append(dict(zip(COLUMNS, row, strict=False)))
        return found

    def whole_rows(self, uid: str) -> list[Row]:
        """Read an asset's rows with all their columns, in the order of its clips."""
        places = self._scratch.execute(
            "SELECT DISTINCT part, row_group FROM row WHERE uid = ?", (uid,)
        ).fetchall()
        found = [row for place in places for row in self._read_group(*place).rows(uid)]
        blank = dict.fromkeys(ledger.SCHEMA.names)  # parts of an older version may lack columns
        return sorted((blank | row for row in found), key=lambda row: row["clip_index"])

    def _read_group(self, part: int, number: int) -> "_Group":
        """Read a row group; assets that follow each other mostly lie in one."""
        if self._group is None or (self._group.part, self._group.number) != (part, number):
            self._group = _Group(part, number, self._parts[part])
        return self._group

    def samples(self, uid: str) -> Mapping[str, str]:
        """Return key -> fingerprint of an asset's samples."""
        found = {} if self._keys is None else self._keys.found(uid)
        return found | self._added.get(uid, {})
