"""SQL over a RUN: its ledger and index as the views ``ledger`` and ``index`` of DuckDB.

The views read the Parquet files where they lie, column by column; nothing is loaded before it is
asked for.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate import ledger
from shards import index
from shards.errors import RunError

VIEWS = ("ledger", "index")
_QUESTIONS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True, slots=True)
class Answer:
    """The columns of a result with their DuckDB types, and its rows."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def connect(run: Path) -> duckdb.DuckDBPyConnection:
    """Open a database in memory whose views read a RUN's ledger and index.

    ``ledger`` has the newest word on each asset, with the columns of ``ledger.SCHEMA`` also where
    a part of an older version lacks some; ``index`` has one row per sample in a shard.

    Raises:
        RunError: if the folder holds no ledger, or a file of it is not readable Parquet.
    """
    connection = duckdb.connect()
    try:
        add_ledger(connection, "ledger", run)
        _view(connection, "index", index.empty_table(), _index_files(run), newest=False)
    except duckdb.Error as error:
        connection.close()
        raise RunError(f"{run}: a part of its ledger or index cannot be read: {error}") from error
    except RunError:
        connection.close()
        raise
    return connection


def add_ledger(connection: duckdb.DuckDBPyConnection, name: str, run: Path) -> None:
    """Make a view of a RUN's ledger: the newest word on each asset.

    Raises:
        RunError: if the folder holds no ledger.
    """
    if not (run / "ledger").is_dir():
        raise RunError(f"{run}: holds no ledger; give a folder written by `orbit4d build --out`")
    _view(connection, name, ledger.SCHEMA.empty_table(), ledger.parts(run), newest=True)


def ask(run: Path, query: str) -> Answer:
    """Run one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN, ...) and return its rows.

    Raises:
        RunError: if the query is not understood, fails, or is no question but a change.
    """
    with connect(run) as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1:
                raise RunError(f"one statement is expected, found {len(statements)}")
            found = connection.sql(query) if statements[0].type in _QUESTIONS else None
            if found is None:
                raise RunError(
                    "this statement is no question; `orbit4d sql` runs SELECT, DESCRIBE, "
                    "SUMMARIZE and EXPLAIN"
                )
            return Answer(tuple(found.columns), tuple(map(str, found.types)), found.fetchall())
        except duckdb.Error as error:
            raise RunError(f"{error}\nColumns are listed by: orbit4d sql RUN --schema") from error


def schema(run: Path) -> Answer:
    """List the columns of both views with their types."""
    with connect(run) as connection:
        rows = [
            (view, name, kind)
            for view in VIEWS
            for name, kind, *_ in connection.sql(f"DESCRIBE {view}").fetchall()
        ]
    return Answer(("view", "column", "type"), ("VARCHAR",) * 3, rows)


def as_csv(answer: Answer) -> str:
    """Write a result as CSV with a header; null is an empty field."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_text(value) for value in row] for row in answer.rows)
    return sink.getvalue()


def as_json(answer: Answer) -> str:
    """Write a result as a JSON list of objects; numbers that JSON lacks become text."""
    names = _unique(answer.columns)
    rows = [dict(zip(names, map(_plain, row), strict=True)) for row in answer.rows]
    return json.dumps(rows, ensure_ascii=False, indent=1, default=str, allow_nan=False) + "\n"


def _view(
    connection: duckdb.DuckDBPyConnection, name: str, empty: Any, files: list[Path], newest: bool
) -> None:
    connection.register(f"{name}_columns", empty)
    if not files:
        connection.sql(f"CREATE VIEW {name} AS SELECT * FROM {name}_columns")
        return
    listed = ", ".join(_quoted(str(path)) for path in files)
    parts = f"read_parquet([{listed}], union_by_name = true, filename = 'part_file')"
    kept = f"SELECT * FROM {parts}"
    if newest and len(files) > 1:
        last = f"SELECT uid, max(part_file) AS part_file FROM {parts} GROUP BY uid"
        kept = f"SELECT parts.* FROM {parts} AS parts JOIN ({last}) USING (uid, part_file)"
    columns = ", ".join(f'"{column}"' for column in empty.column_names)
    connection.sql(
        f"CREATE VIEW {name} AS SELECT {columns} FROM "
        f"(SELECT * FROM {name}_columns UNION ALL BY NAME ({kept}))"
    )


def _index_files(run: Path) -> list[Path]:
    merged = run / "index.parquet"
    return sorted(index.part_dir(run).glob("*.parquet")) or [merged] * merged.exists()


def _quoted(text: str) -> str:
    for character in "[*?":  # patterns to DuckDB
        text = text.replace(character, f"[{character}]")
    return text_of(text)


def text_of(text: str) -> str:
    """Write a text as SQL does."""
    return "'" + text.replace("'", "''") + "'"


def _unique(names: Sequence[str]) -> list[str]:
    """Number names that stand twice: a JSON object would lose all but the last."""
    return [
        f"{name}:{names[:place].count(name)}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)


def as_lines(rows: Iterable[Sequence[Any]]) -> list[list[str]]:
    """Turn rows into cells for a terminal: what would steer it is written out."""
    return [
        ["".join(c if c.isprintable() else repr(c)[1:-1] for c in _text(v)) for v in row]
        for row in rows
    ]
