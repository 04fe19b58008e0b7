"""Verbs of the render stage: ``orbit4d render one``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Render clips without a whole build.")


@app.callback()
def _verbs() -> None:
    """Render clips without a whole build."""


@app.command()
def one(
    asset: Annotated[str, typer.Argument(help="file or URL; or objaverse: with --uid")],
    clip: Annotated[int, typer.Option(min=0, help="which clip of the asset, from 0")] = 0,
    out: Annotated[
        Path, typer.Option(help="folder for shard, ledger row and contact sheet")
    ] = Path("one"),
    run: Annotated[
        str | None, typer.Option(help="RUN whose settings count, folder or URL; else the defaults")
    ] = None,
    uid: Annotated[str, typer.Option(help="name of the asset in that run, if it has another")] = "",
    root: Annotated[
        Path | None, typer.Option(help="input folder that the asset may read; else its own")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="one setting; repeat it for several"),
    ] = None,
) -> None:
    """Do one clip alone, through the same code as a build, and draw its contact sheet.

    Every ledger row holds this command for its clip, in the column `reproduce`.
    Exit status 0: the clip was kept, or rejected by a rule. 1: it failed. 2: nothing was done.

    Examples:
      orbit4d render one fox.glb --clip 3
      orbit4d render one assets/fox.glb --clip 3 --run out/run1 --out fox3
      orbit4d render one fox.glb --clip 0 --set render.engine.quality=final
    """
    from curate.config import BuildConfig
    from curate.one import One, render_one, settings_of

    settings = BuildConfig() if run is None else settings_of(run)
    if overrides:
        settings = BuildConfig.load(None, overrides, settings.model_dump(mode="json"))
    row, pages = render_one(One(asset, clip, uid, root), out, settings)
    if row["verdict"] == "kept":
        print(f"kept {row['sample_key']}   shard {out}/shards   contact sheet {pages[0]}")
        return
    print(f"{row['verdict']} at {row['stage']}: {row['rule']}: {row['error']}")
    if row["verdict"] == "failed":
        if row["log_tail"]:
            print(row["log_tail"])
        raise typer.Exit(1)
