"""Looking at inputs: ``orbit4d sources ls`` and ``orbit4d sources overlap``."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from curate.cli_options import AllowLists, DenyLists, Inputs, Overrides, console, ledger_folder

app = typer.Typer(no_args_is_help=True, help="See what would be read, and compare with lists.")
_RULES_SHOWN = 3


@app.command("ls")
def ls(
    inputs: Inputs,
    allow_list: AllowLists = None,
    deny_list: DenyLists = None,
    overrides: Overrides = None,
    counts_only: Annotated[bool, typer.Option("--counts", help="leave out the paths")] = False,
) -> None:
    """Print what a build would read: a line per asset, then counts by source, format and licence.

    A list is a text file with a path or URL a line, or a CSV or Parquet table with the columns
    url or path (required), uid, licence, attribution, name, tags, sha256. Relative paths count
    from the list's folder. What does not match its sha256 fails.

    Examples:
      orbit4d sources ls assets/ 'more/**/*.glb'
      orbit4d sources ls s3://bucket/models/ manifest.csv --deny-list taken_down.txt
      orbit4d sources ls objaverse: --allow-list curated.txt --counts
      orbit4d sources ls objaverse-xl:meta_xl_animation_tot.csv --counts
    """
    from curate.catalogue import gather
    from curate.config import BuildConfig

    config = BuildConfig.load(None, overrides or []).fetch
    found = gather(inputs, config, allow_list or (), deny_list or ())
    if not counts_only:
        for source in found.sources:
            print(f"{source.uid}\t{source.path}\t{source.refusal or 'read'}")
    counts = Counter(
        (
            source.about.source,
            source.file.suffix.lower().lstrip("."),
            source.about.licence or "in the file or unknown",
            source.refusal,
        )
        for source in found.sources
    )
    table = Table("source", "format", "licence", "refused", box=None, pad_edge=False)
    table.add_column("assets", justify="right")
    for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(*key, str(count))
    console().print(table)
    for reason, count in found.left_out.most_common():
        print(f"{count} more in the catalogue: {reason}")
    if found.not_found:
        print(f"{found.not_found} entries of allow lists are in no input")


@app.command("overlap")
def compare(
    run: Annotated[str, typer.Argument(help="RUN, or its ledger folder")],
    lists: Annotated[
        list[str], typer.Argument(metavar="LIST...", help="text, CSV or Parquet files of ids")
    ],
) -> None:
    """Compare published lists with a ledger: how much of each was kept, dropped, or never seen.

    An entry may be a uid, a path or URL, a sha256, or the id that a file was downloaded under.

    Example: orbit4d sources overlap out/run1 curated.txt animated.txt
    """
    from curate import ledger
    from curate.id_lists import overlap, read_id_list

    with ledger_folder(run) as folder:
        rows = ledger.load(folder)
    table = Table(box=None, pad_edge=False)
    table.add_column("list", overflow="fold")
    for name in ("entries", "kept", "dropped", "unknown", "not listed"):
        table.add_column(name, justify="right")
    table.add_column("dropped by")
    for path in lists:
        listed = read_id_list(path)
        found = overlap(rows, listed)
        numbers = (len(listed.entries), found.kept, found.dropped, found.unknown, found.not_listed)
        rules = ", ".join(f"{rule} {n}" for rule, n in found.rules.most_common(_RULES_SHOWN))
        table.add_row(Path(path).name, *map(str, numbers), rules)
    console().print(table)
    print("unknown: not in the ledger. not listed: assets of the ledger that the list lacks.")
