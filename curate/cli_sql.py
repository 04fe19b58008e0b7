"""``orbit4d sql``: questions about a RUN's ledger and index."""

import sys
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from curate.cli_options import console

_LINES_MAX = 200  # of a table on screen
_WORD_MAX = 24  # characters of a cell that is not broken where the screen ends


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
    table = Table(box=None, pad_edge=False)
    numbers = ("INT", "DOUBLE", "FLOAT", "DECIMAL")
    lines = questions.as_lines(answer.rows if schema else answer.rows[:_LINES_MAX])
    for place, (name, kind) in enumerate(zip(answer.columns, answer.types, strict=True)):
        right = any(word in kind for word in numbers) and "[" not in kind
        short = max(map(len, (name, *(line[place] for line in lines)))) <= _WORD_MAX
        side = "right" if right else "left"
        table.add_column(Text(name), justify=side, overflow="fold", no_wrap=short)
    for line in lines:
        table.add_row(*map(Text, line))
    console().print(table)
    if len(lines) < len(answer.rows):
        print(f"{len(lines)} of {len(answer.rows):,} rows; --format csv prints all")
