"""Rows of text files, CSV and Parquet tables, from a path or a URL, as plain strings."""

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from shards.errors import ConfigError

TABLES = (".csv", ".parquet")
LISTS = (".txt", ".lst", ".list", *TABLES)


def is_url(text: str) -> bool:
    """Tell whether an input names a store rather than a local path."""
    return "://" in text


def suffix_of(text: str) -> str:
    """Return the lower-case ending of a path or URL, without a URL's query."""
    path = text.partition("?")[0].partition("#")[0] if is_url(text) else text
    name = path.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""


def read_rows(
    path: str, column: str, options: Mapping[str, Any] | None = None
) -> Iterator[dict[str, str]]:
    """Yield the rows of a list or table; what is missing is left out or empty.

    Args:
        path: local path or URL; ``.csv`` and ``.parquet`` are tables, all else has one entry a
            line, where empty lines and those that begin with # do not count.
        column: the name given to the entries of a plain list.
        options: for fsspec, if it is a URL.

    Raises:
        ConfigError: it cannot be read.
    """
    suffix = suffix_of(path)
    try:
        with _opened(path, options or {}) as stream:
            if suffix == ".parquet":
                yield from _parquet_rows(stream)
            elif suffix == ".csv":
                csv.field_size_limit(sys.maxsize)
                with io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
                    for row in csv.DictReader(text):
                        yield {name: (value or "").strip() for name, value in row.items() if name}
            else:
                with io.TextIOWrapper(stream, "utf-8-sig") as text:
                    for line in text:
                        if (entry := line.strip()) and not entry.startswith("#"):
                            yield {column: entry}
    except ConfigError:
        raise
    except Exception as error:  # every store and every reader has errors of its own
        raise ConfigError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error


def _parquet_rows(stream: BinaryIO) -> Iterator[dict[str, str]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(stream).iter_batches():
        for row in batch.to_pylist():
            yield {name: _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ";".join(str(item) for item in cast("list[object]", value))
    return "" if value is None else str(value).strip()


@contextmanager
def _opened(path: str, options: Mapping[str, Any]) -> Iterator[BinaryIO]:
    if not is_url(path):
        with open(path, "rb") as stream:
            yield stream
        return
    import fsspec

    with fsspec.open(path, "rb", **options) as stream:
        yield cast(BinaryIO, stream)
