"""Arguments that several commands share."""

from typing import Annotated, Literal

import typer

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
