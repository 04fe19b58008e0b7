"""Gather a ledger's parts into one, sorted on disk: it may be larger than memory."""

import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from curate import ledger
from shards.files import publish, temporary_for

_MEMORY = "512MB"  # beyond that DuckDB sorts on disk
_ROW_GROUP = 8192  # rows that are read together when one asset's are asked for
_FEW_ROWS = 2000  # up to here sorting in memory takes a few MB and a fifth of the time


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
        _sort_on_disk(run)
    for part in old:
        part.unlink()


def _sort_on_disk(run: Path) -> None:
    from curate import sql  # a second to import, and most builds do not come here

    path = ledger.ledger_dir(run) / f"part-{ledger.next_number(run):06d}.parquet"
    temporary = temporary_for(path)
    with tempfile.TemporaryDirectory() as spill, sql.connect(run) as connection:
        connection.execute("SET memory_limit = ?", [_MEMORY])
        connection.execute("SET temp_directory = ?", [spill])
        connection.execute(
            "COPY (SELECT * FROM ledger ORDER BY path, uid, clip_index) TO "
            f"{sql.text_of(str(temporary))} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})"
        )
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    publish(temporary, path)
