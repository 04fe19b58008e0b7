"""Commands about shards: ``orbit4d shards check|ls``, and those of ``shards.cli_manage``."""

from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shards import cli_manage
from shards.check import CheckReport, check_run
from shards.errors import Orbit4dError
from shards.mirror import as_folder
from shards.read import SampleReader
from shards.where import parse_where

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Look into shards and check them."
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="What `orbit4d build --out` was given.")]


@app.command(epilog="Example: orbit4d shards check out/run1")
def check(run: Run) -> None:
    """Check every byte of every shard against the index, and that every image decodes.

    RUN may be a URL: s3://bucket/run. Its shards are fetched one after the other.
    Exit status 0: all whole. 1: something is wrong; each fault is printed with what to do.
    """
    try:
        with as_folder(run) as folder:
            report = check_run(folder)
    except Orbit4dError as error:
        _fail(error)
    _print_check(report)
    raise typer.Exit(1 if report.all_faults() else 0)


@app.command("ls", epilog="Example: orbit4d shards ls out/run1 --limit 20")
def list_samples(
    run: Run,
    limit: Annotated[int, typer.Option(min=0, help="Print so many at most; 0: all.")] = 0,
    where: Annotated[
        str, typer.Option(help="Only samples whose scores fit, as in: motion > 0.05")
    ] = "",
) -> None:
    """List the samples: key, shard, size, frames per sequence and motion magnitude m.

    m is the stored sum over pixels and RGB of squared differences, mean over frames. Samples that
    were taken down are marked.
    """
    try:
        reader = SampleReader(run)
        accept = parse_where(where) if where else None
        names = reader.tombstones.names
        chosen = [entry for entry in reader.entries() if accept is None or accept(entry)]
    except Orbit4dError as error:
        _fail(error)
    table = Table("key", "shard", box=None, pad_edge=False)
    for name in ("kB", "frames", "m"):
        table.add_column(name, justify="right")
    for entry in chosen[: limit or None]:
        m = "-" if entry.motion_magnitude is None else f"{entry.motion_magnitude:.1f}"
        key = entry.key + (" (taken down)" if {entry.key, entry.uid} & names.keys() else "")
        table.add_row(key, entry.shard, f"{entry.length / 1000:.1f}", str(entry.frames), m)
    console = _console()
    console.print(table)
    shown, size = len(chosen[: limit or None]), sum(entry.length for entry in chosen) / 1e6
    of = f"{len(chosen)} samples" if where else f"{len(reader)} samples"
    console.print(f"{shown} of {of} shown, {size:.1f} MB in all", highlight=False)


def _print_check(report: CheckReport) -> None:
    console = _console()
    table = Table("shard", box=None, pad_edge=False)
    for name in ("MB", "samples", "faults"):
        table.add_column(name, justify="right")
    for shard in report.shards:
        table.add_row(
            shard.name, f"{shard.bytes / 1e6:.2f}", str(shard.samples), str(len(shard.faults))
        )
    console.print(table)
    faults = report.all_faults()
    for fault in faults:
        console.print(
            f"[red]{escape(fault.where)}[/]: {escape(fault.what)}\n  -> {escape(fault.remedy)}",
            highlight=False,
            soft_wrap=True,
        )
    samples = sum(shard.samples for shard in report.shards)
    verdict = f"{len(faults)} faults" if faults else "all whole"
    console.print(f"{len(report.shards)} shards, {samples} samples: {verdict}", highlight=False)


def _console() -> Console:
    """Write to the terminal's width, and without folding lines into a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def _fail(error: Orbit4dError) -> NoReturn:
    Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
    raise typer.Exit(1)


app.registered_commands += cli_manage.app.registered_commands
