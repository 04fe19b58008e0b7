"""Which sample lies where: one Parquet part per shard, merged into ``index.parquet`` and its head.

A shard is committed when both ``index/NAME.parquet`` and ``shards/NAME.tar`` exist. The part is
written first and the tar's rename is the commit, so a part without its tar is a leftover of a
killed run and is removed by the next.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ShardError
from shards.files import (
    clear_temporaries,
    dump_json,
    publish,
    sha256_of,
    temporary_for,
    write_atomic,
)

_GROUP_ROWS = 65_536  # of the merged index; memory holds about so many
REBUILD = "Delete index.json and run the same build again: it is written anew"

_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("uid", pa.string()),
        ("clip_index", pa.int32()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("sha256", pa.string()),
        ("frames", pa.int32()),
        ("fingerprint", pa.string()),
        ("motion_magnitude", pa.float64()),
        ("scores", pa.string()),
        ("asset_sha256", pa.string()),
        ("geometry", pa.string()),
    ]
)
_LATER = (
    "asset_sha256",
    "geometry",
)  # columns that came after the first version; empty where they are not


_PLACE = ("key", "uid", "clip_index", "shard", "offset", "length", "sha256")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One sample: its bytes are ``shard[offset : offset + length]``, hashed by ``sha256``."""

    key: str
    uid: str
    clip_index: int
    shard: str
    offset: int
    length: int
    sha256: str
    frames: int
    fingerprint: str
    motion_magnitude: float | None
    scores: str  # JSON object: score name -> value
    asset_sha256: str = ""  # of the 3D file; equal files are one asset
    geometry: str = ""  # what copies of the shape are known by: shards.likeness.Sketch

    def as_row(self) -> dict[str, Any]:
        """Return the entry as a row of ``index.parquet``."""
        return {name: getattr(self, name) for name in _COLUMNS.names}


def shard_dir(run: Path) -> Path:
    """Folder of the tars."""
    return run / "shards"


def tars(run: Path) -> list[Path]:
    """List the committed tars in the order of their names, without a writer's temporary files."""
    return sorted(shard_dir(run).glob("[!.]*.tar"))


def part_dir(run: Path) -> Path:
    """Folder of the index parts, one per shard."""
    return run / "index"


def write_part(
    run: Path, shard: str, entries: list[IndexEntry], about: Mapping[str, str] | None = None
) -> None:
    """Write the index part of a shard; the shard counts once its tar has its final name too."""
    write_atomic(part_dir(run) / f"{shard}.parquet", part_bytes(entries, about))


def part_bytes(entries: list[IndexEntry], about: Mapping[str, str] | None = None) -> bytes:
    """Return an index part as Parquet, with words about its shard (see ``about_part``)."""
    table = pa.Table.from_pylist([entry.as_row() for entry in entries], schema=_COLUMNS)
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(dict(about or {})), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def about_part(path: Path) -> dict[str, str]:
    """Return the words about its shard that an index part holds."""
    words = pq.read_schema(path).metadata or {}
    return {name.decode(): value.decode() for name, value in words.items()}


def committed(run: Path) -> dict[str, list[IndexEntry]]:
    """Read the committed shards: name -> entries in tar order.

    Raises:
        ShardError: if a tar has no index part; nothing here makes such a state.
    """
    return {part.stem: read_entries(part) for part in committed_parts(run)}


def committed_parts(run: Path) -> Iterator[Path]:
    """List the index parts of the committed shards, in the order of the shards' names.

    Raises:
        ShardError: if a tar has no index part; nothing here makes such a state.
    """
    for tar in tars(run):
        yield _part_of(run, tar)


def _part_of(run: Path, tar: Path) -> Path:
    part = part_dir(run) / f"{tar.stem}.parquet"
    if not part.exists():
        raise ShardError(
            f"{tar}: has no index part {part}. Shards are written with one; if this tar was "
            "copied here, move it out of the folder"
        )
    return part


def committed_table(run: Path) -> pa.Table:
    """Read the committed shards of a run that is still being built, as one table."""
    parts = [part_dir(run) / f"{tar.stem}.parquet" for tar in tars(run)]
    # the tar's rename is the commit; a part is there before it
    return pa.concat_tables([_COLUMNS.empty_table(), *(read_table(part) for part in parts)])


def recover(run: Path) -> None:
    """Remove what a killed writer left: temporary files, and parts whose tar never appeared."""
    for directory in (shard_dir(run), part_dir(run)):
        directory.mkdir(parents=True, exist_ok=True)
        clear_temporaries(directory)
    for part in part_dir(run).glob("*.parquet"):
        if not (shard_dir(run) / f"{part.stem}.tar").exists():
            part.unlink()


def read_entries(path: Path) -> list[IndexEntry]:
    """Read an index part or a merged index as entries.

    Raises:
        ShardError: if the file is damaged or no index.
    """
    return [IndexEntry(**row) for row in read_table(path).to_pylist()]


def read_places(path: Path) -> list[IndexEntry]:
    """Read where samples lie and nothing else: scores, sketches and names stay empty.

    Of 150,000 samples this takes a tenth of the memory that all of it takes.

    Raises:
        ShardError: if the file is damaged or no index.
    """
    blank: dict[str, Any] = {"frames": 0, "fingerprint": "", "motion_magnitude": None, "scores": ""}
    rows = table_of(path, str(path), _PLACE).to_pylist()
    shards: dict[str, str] = {}  # one text for all samples of a shard
    for row in rows:
        row["shard"] = shards.setdefault(row["shard"], row["shard"])
    return [IndexEntry(**row, **blank) for row in rows]


def read_table(path: Path) -> pa.Table:
    """Read an index part or a merged index as a table with the columns of ``IndexEntry``.

    Raises:
        ShardError: if the file is damaged or no index.
    """
    return table_of(path, str(path))


def table_of(
    source: Path | bytes, where: str, names: Sequence[str] = tuple(_COLUMNS.names)
) -> pa.Table:
    """Read an index from a file, or from its bytes fetched from elsewhere.

    Args:
        source: file or bytes.
        where: what messages call it.
        names: the columns that are wanted.

    Raises:
        ShardError: if it is damaged or no index.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source)
        there = set(file.schema_arrow.names)
        table = file.read([name for name in names if name in there])
        for name in set(_LATER) & set(names) - there:
            table = table.append_column(name, pa.array([""] * table.num_rows, pa.string()))
        return table.select(names)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ShardError(
            f"{where}: not a readable shard index: {error}. Copy the folder again, or delete "
            "index.parquet and run the same build again: it is written anew"
        ) from error


def empty_table() -> pa.Table:
    """Return an index without entries: its columns and their types."""
    return _COLUMNS.empty_table()


def merge(run: Path, next_number: int) -> None:
    """Write ``index.parquet`` (all samples) and ``index.json`` (bytes and sha256 per shard)."""
    known = {shard["name"]: shard for shard in head(run).get("shards", [])}
    shards: list[dict[str, Any]] = []
    with _merged(run / "index.parquet") as add:
        for tar in tars(run):
            part = _part_of(run, tar)
            size, old = tar.stat().st_size, known.get(tar.stem)
            # parts of before have no digest; of shards that lie elsewhere only the size is here
            digest = about_part(part).get("sha256") or (
                old["sha256"] if old and old["bytes"] == size else sha256_of(tar)
            )
            samples = add(read_table(part))
            shards.append({"name": tar.stem, "bytes": size, "sha256": digest, "samples": samples})
    document = {
        "schema_version": 1,
        "samples": sum(shard["samples"] for shard in shards),
        "shards": shards,
        "next_shard": next_number,
    }
    write_atomic(run / "index.json", dump_json(document))


def head(run: Path) -> dict[str, Any]:
    """Read ``index.json``; empty where none was written yet.

    Raises:
        ShardError: if the file is damaged.
    """
    path = run / "index.json"
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ShardError(f"{path}: not JSON: {error}. {REBUILD}") from error
    known = isinstance(document, dict) and document.get("schema_version") == 1
    if not known or not isinstance(document.get("shards"), list):
        raise ShardError(f"{path}: not the head of a shard index of version 1. {REBUILD}")
    return document


@contextlib.contextmanager
def _merged(path: Path) -> Iterator[Callable[[pa.Table], int]]:
    """Write a table that is made of many, none of which is kept in memory for long."""
    temporary = temporary_for(path)
    waiting: list[pa.Table] = []

    def write() -> None:
        writer.write_table(pa.concat_tables(waiting).combine_chunks(), _GROUP_ROWS)
        waiting.clear()

    def add(table: pa.Table) -> int:
        waiting.append(table.replace_schema_metadata(None))
        if sum(one.num_rows for one in waiting) >= _GROUP_ROWS:
            write()
        return table.num_rows

    try:
        with pq.ParquetWriter(temporary, _COLUMNS, compression="zstd") as writer:
            yield add
            waiting.append(_COLUMNS.empty_table())
            write()
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
