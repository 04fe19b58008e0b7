"""``orbit4d train eval``."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shards.errors import Orbit4dError
from train.cli import Sets, app, fail, prepare_torch
from train.config import SampleConfig
from train.run import FitFolder

if TYPE_CHECKING:
    from train.score import Evaluation

_LINE_EVERY_S = 15.0


@app.command(
    "eval",
    epilog="Example: orbit4d train eval out/fit1\n\nExample: orbit4d train eval out/fit1 "
    "--data out/run1 --clip openai/clip-vit-base-patch32 --lpips vgg16.pt --fvd i3d_torchscript.pt",
)
def eval_command(  # noqa: PLR0913
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="Folder that fit wrote.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="RUN", help="The RUN trained on, where it has moved."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Takes the scores. [FIT/eval]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Samples of every clip.")] = 3,
    clips: Annotated[
        int | None, typer.Option(min=1, help="How many of the held-out clips; all by default.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="NAME", help="CLIP for CLIP-F and CLIP-O: folder or name.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option(metavar="FILE", help="NVIDIA's vgg16.pt (TorchScript).")
    ] = None,
    fvd: Annotated[
        Path | None, typer.Option(metavar="FILE", help="I3D: i3d_torchscript.pt of StyleGAN-V.")
    ] = None,
    sets: Sets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print settings and plan.")] = False,
) -> None:
    """Score a model on its held-out clips, beside repeating the input and the true frozen orbit.

    Prints a table of means with the spread over clips, and writes eval.json and eval.csv (every
    clip and seed). Stopped at any time, the same command goes on. Figures that need weights which
    are not there say so. --set changes how to sample: --set w1=2 --set 'drop=["static"]'.
    """
    try:
        config, _ = FitFolder(fit).read()
        settings = SampleConfig.build(config.sample.model_dump(mode="json"), sets or ())
        if dry_run:
            typer.echo(json.dumps(settings.model_dump(mode="json"), indent=2))
            return
        prepare_torch()
        from train.score import Published, data_of, evaluate_fit

        began = last = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > _LINE_EVERY_S or done == total:
                last = now
                typer.echo(f"eval {done}/{total} clips, {now - began:.0f} s", err=True)

        result = evaluate_fit(
            fit,
            data or data_of(fit),
            out or fit / "eval",
            settings,
            seeds=seeds,
            clips=clips,
            published=Published(clip, lpips, fvd),
            on_clips=show,
        )
        _print(result)
    except Orbit4dError as error:
        fail(error)


def _print(result: "Evaluation") -> None:
    from train.score import METHODS, METRICS

    console = Console()
    title = f"{len(result.keys)} held-out clips, {result.seeds} seeds, step {result.step}"
    table = Table("metric", title=title)
    for method in METHODS:
        table.add_column(method, justify="right")
    for name in METRICS:
        table.add_row(name, *(_cell(result.summary[method][name]) for method in METHODS))
    console.print(table)
    for option, reason in result.missing.items():
        console.print(f"weights missing: {option}: {reason}", highlight=False, soft_wrap=True)
    console.print(f"{result.document}\n{result.table}", highlight=False, soft_wrap=True)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value["mean"] is None:
        return "-"
    spread = "" if value["over_clips"] is None else f" ± {value['over_clips']:.2g}"
    return f"{value['mean']:.4g}{spread}"
