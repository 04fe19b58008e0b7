"""Arguments that several commands share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

_PIPED = 10_000  # characters of a line that no screen breaks

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="files, folders, globs, URLs, lists of them, objaverse: or objaverse-xl:",
    ),
]
AllowLists = Annotated[
    list[str] | None,
    typer.Option("--allow-list", metavar="LIST", help="take only what is in this list"),
]
DenyLists = Annotated[
    list[str] | None,
    typer.Option("--deny-list", metavar="LIST", help="leave what is in this list"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="one setting; repeat it for several"),
]
Code = Annotated[
    Literal["ship", "image"],
    typer.Option(help="how code reaches a cluster: sent from here, or in the nodes' image"),
]


def console() -> Console:
    """Make a console for tables: what is piped is not broken into the lines of a screen."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPED)


@contextlib.contextmanager
def ledger_folder(run: str) -> Iterator[Path]:
    """Show the RUN that holds a ledger as a folder.

    Args:
        run: folder or URL of a RUN, or its ledger folder.

    Raises:
        RunError: there is no ledger.
    """
    from shards.errors import RunError
    from shards.mirror import as_folder

    with as_folder(run) as path:
        folder = path.parent if path.name == "ledger" and path.is_dir() else path
        if not (folder / "ledger").is_dir():
            raise RunError(f"{run}: holds no ledger; give what `orbit4d build --out` was given")
        yield folder
