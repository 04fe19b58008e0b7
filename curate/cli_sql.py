"""``orbit4d sql``: questions about a RUN's ledger and index."""

import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from curate.cli_options import console

_LINES_MAX = 200  # of a table on screen
_WIDTH_MIN = 8  # characters of a text, where the screen has room for all columns
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL")


def sql(
    run: Annotated[str, typer.Argument(help="RUN, as given to `orbit4d build --out`")],
    query: Annotated[
        str | None, typer.Argument(help="one SELECT over `ledger` and `index`; -: from stdin")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="list the columns instead")] = False,
    style: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="how to print the rows")
    ] = "table",
) -> None:
    """Ask the ledger and the index of a RUN, through DuckDB. docs/ledger.md has examples.

    Examples:
      orbit4d sql out/run1 "select rule, count(*) from ledger group by rule order by 2 desc"
      orbit4d sql out/run1 "select key, shard, ledger.licence from index join ledger on key = sample_key"
      orbit4d sql out/run1 --schema
    """  # noqa: E501  # a command is one line
    from curate import sql as questions  # DuckDB loads slowly; --help does without
    from shards.errors import RunError
    from shards.mirror import as_folder

    if schema == (query is not None):
        raise RunError("give either a query or --schema: orbit4d sql RUN 'select ...'")
    with as_folder(run) as folder:
        if schema:
            answer = questions.schema(folder)
        else:
            answer = questions.ask(folder, sys.stdin.read() if query == "-" else query or "")
    if style != "table":
        text = questions.as_csv(answer) if style == "csv" else questions.as_json(answer)
        sys.stdout.write(text)
        return
    lines = questions.as_lines(answer.rows if schema else answer.rows[:_LINES_MAX])
    screen = console()
    screen.print(_table(answer.columns, answer.types, lines, screen.width))
    if len(lines) < len(answer.rows):
        print(f"{len(lines)} of {len(answer.rows):,} rows; --format csv prints all")


def _table(
    columns: Sequence[str], types: Sequence[str], lines: list[list[str]], width: int
) -> Table:
    """Lay answers out so that numbers stay whole and no text is squeezed to nothing."""
    table = Table(box=None, pad_edge=False)
    numbers = [any(word in kind for word in _NUMBERS) and "[" not in kind for kind in types]
    longest = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    widths = _widths(longest, numbers, width - 2 * (len(columns) - 1))
    for name, number, size in zip(columns, numbers, widths, strict=True):
        side = "right" if number else "left"
        table.add_column(Text(name), justify=side, overflow="fold", width=size)
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def _widths(longest: list[int], numbers: list[bool], room: int) -> Sequence[int | None]:
    """Share the room between columns; None for each where there is too little."""
    if sum(longest) <= room:
        return longest
    pairs = zip(longest, numbers, strict=True)
    widths = [size if number else min(size, _WIDTH_MIN) for size, number in pairs]
    if sum(widths) > room:
        return [None] * len(widths)
    for _ in range(room - sum(widths)):  # to the narrowest that wants more
        wanting = [i for i, size in enumerate(longest) if widths[i] < size]
        widths[min(wanting, key=widths.__getitem__)] += 1
    return widths
