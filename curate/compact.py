"""Gather a ledger's parts into one, in bounded memory: it may be larger than that.

What is sorted are places of rows, in a scratch database. The rows themselves are copied a row group
at a time. Parts are written in about the order that they end in, so each is read about once.
"""

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate import ledger
from shards.files import publish, temporary_for
from shards.scratch import open_scratch

_ROW_GROUP = 8192  # rows that are read together when one asset's are asked for
_ROWS_HELD = 4 * _ROW_GROUP  # of the row groups that were read last
_FEW_ROWS = 2000  # up to here sorting in memory takes a few MB and a fifth of the time
_Group = tuple[int, int]  # which part, which row group of it


def compact(run: Path) -> None:
    """Gather all parts into one, ordered by (path, uid, clip_index); a single part is left alone.

    The new part has the highest number, so a kill between writing it and removing the others
    leaves a ledger that still reads the same through ``ledger.load``.
    """
    old = ledger.parts(run)
    if len(old) < 2:
        return
    if sum(pq.read_metadata(part).num_rows for part in old) <= _FEW_ROWS:
        ledger.append(run, ledger.load(run), ledger.next_number(run))
    else:
        _copy_in_order(run, old)
    for part in old:
        part.unlink()


def _copy_in_order(run: Path, old: Sequence[Path]) -> None:
    path = ledger.ledger_dir(run) / f"part-{ledger.next_number(run):06d}.parquet"
    temporary = temporary_for(path)
    places = _newest(old).execute(
        "SELECT part, row_group, place FROM row ORDER BY path, uid, clip_index"
    )
    groups = _Groups(old)
    with pq.ParquetWriter(temporary, ledger.SCHEMA, compression="zstd") as writer:
        while some := places.fetchmany(_ROW_GROUP):
            writer.write_table(groups.take(some), row_group_size=_ROW_GROUP)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    publish(temporary, path)


def _newest(old: Sequence[Path]) -> sqlite3.Connection:
    """Note where the newest rows of each asset are: those of the last part that has any."""
    scratch = open_scratch()
    scratch.execute(
        "CREATE TABLE row (path, uid, clip_index, part, row_group, place, "
        "PRIMARY KEY (uid, clip_index)) WITHOUT ROWID"
    )
    for part, path in enumerate(old):
        file = pq.ParquetFile(path)
        groups = [
            file.read_row_group(group, ["path", "uid", "clip_index"]).to_pydict()
            for group in range(file.num_row_groups)
        ]
        if part:
            uids = {uid for rows in groups for uid in rows["uid"]}
            scratch.executemany("DELETE FROM row WHERE uid = ?", ((uid,) for uid in uids))
        for group, rows in enumerate(groups):
            scratch.executemany(
                "INSERT INTO row VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (*key, part, group, place)
                    for place, key in enumerate(
                        zip(rows["path"], rows["uid"], rows["clip_index"], strict=True)
                    )
                ),
            )
    return scratch


class _Groups:
    """The row groups of some parts; those that were read last are in memory."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._parts = parts
        self._held: OrderedDict[_Group, pa.Table] = OrderedDict()
        self._rows = 0

    def take(self, places: Sequence[tuple[int, int, int]]) -> pa.Table:
        """Return the rows at (part, row group, place), in this order."""
        wanted: dict[_Group, list[int]] = {}  # row group -> which of the places are in it
        for number, (part, group, _) in enumerate(places):
            wanted.setdefault((part, group), []).append(number)
        found = [
            self._read(group).take([places[number][2] for number in numbers])
            for group, numbers in wanted.items()
        ]
        came = [number for numbers in wanted.values() for number in numbers]
        back = sorted(range(len(came)), key=came.__getitem__)
        return pa.concat_tables(found).take(back)

    def _read(self, group: _Group) -> pa.Table:
        if (table := self._held.get(group)) is not None:
            self._held.move_to_end(group)
            return table
        table = _complete(pq.ParquetFile(self._parts[group[0]]).read_row_group(group[1]))
        while self._held and self._rows + table.num_rows > _ROWS_HELD:
            self._rows -= self._held.popitem(last=False)[1].num_rows
        self._held[group] = table
        self._rows += table.num_rows
        return table


def _complete(table: pa.Table) -> pa.Table:
    """Give a table of an older version the columns that it lacks."""
    there = set(table.column_names)
    columns = [
        table[field.name].cast(field.type)
        if field.name in there
        else pa.nulls(table.num_rows, field.type)
        for field in ledger.SCHEMA
    ]
    return pa.table(columns, schema=ledger.SCHEMA)
