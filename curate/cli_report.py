"""Verbs that show a finished run: ``orbit4d report`` and ``orbit4d contact``."""

from pathlib import Path
from typing import Annotated

import typer

from shards.errors import Orbit4dError

_Run = Annotated[str, typer.Argument(help="RUN, as given to `orbit4d build --out RUN`")]


def report(
    run: _Run,
    other: Annotated[
        str | None, typer.Argument(metavar="[RUN_B]", help="a later run to compare it with")
    ] = None,
    review: Annotated[
        int, typer.Option(min=0, help="clips of every rule, and kept ones, to offer for review")
    ] = 8,
) -> None:
    """Write the audit page RUN/report/index.html: every clip, its verdict and the reason.

    The page is one file that opens from disk, without a server or network. Beside it lies card.md,
    a dataset card with licences and attributions. With two runs it writes
    RUN_B/report/compare.html instead: verdicts that changed, scores that drifted, new failures.

    Of a RUN in an object store the page is put there.

    Example: orbit4d report out/run1
    Example: orbit4d report out/run1 out/run2
    Example: orbit4d report s3://bucket/run
    """
    # pyarrow and jinja2 load slowly; --help needs neither
    from curate.card import write_card
    from curate.report import write_comparison, write_report
    from shards.mirror import as_folder, publish_pages

    try:
        with as_folder(run) as folder:
            if other is not None:
                with as_folder(other) as later:
                    page = write_comparison(folder, later)
                    place = publish_pages(later, other)
            else:
                page = write_report(folder, reviewed=review)
                write_card(folder)
                place = publish_pages(folder, run)
    except Orbit4dError as error:
        raise _stop(error) from error
    typer.echo(f"{place}/report/{page.name}")


def contact(
    run: _Run,
    out: Annotated[Path, typer.Argument(help="PNG to write; with many clips, pages beside it")],
    sequence: Annotated[
        list[str] | None,
        typer.Option(help="which sequence (orbit); repeat it to show several side by side"),
    ] = None,
    columns: Annotated[int, typer.Option(min=1, help="frames per sequence")] = 6,
    rows: Annotated[int, typer.Option(min=1, help="clips per page")] = 24,
    only: Annotated[
        list[str] | None, typer.Option(help="sample key to show; repeat it for several; else all")
    ] = None,
) -> None:
    """Draw the kept clips as rows of frames into PNG pages.

    Example: orbit4d contact out/run1 contact.png --sequence static --sequence orbit
    """
    from curate.contact import contact_sheet
    from shards.mirror import as_folder

    try:
        with as_folder(run) as folder:
            pages = contact_sheet(folder, out, sequence or "orbit", columns, rows, only or ())
    except Orbit4dError as error:
        raise _stop(error) from error
    for page in pages:
        typer.echo(page)


def _stop(error: Orbit4dError) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(1)
