"""Commands about training: ``orbit4d train fit``; others are in ``train.cli_*``."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from shards.errors import Orbit4dError
from train.presets import preset
from train.report import ProgressLines, StepReport
from train.run import FOR_TORCH, Plan, plan_fit

if TYPE_CHECKING:
    from train.loop import FitResult

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Train on shards and sample from a model."
)

Data = Annotated[Path, typer.Option("--data", metavar="RUN", help="RUN folder with shards.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting.")
]


@app.command(
    "fit", epilog="Example: orbit4d train fit --preset tiny --data out/run1 --out out/fit1"
)
def fit_command(
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FIT", help="Folder of this training run.")],
    preset_name: Annotated[str, typer.Option("--preset", help="Which run.")] = "tiny",
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="FIT", help="Start from a model of frozen orbits."),
    ] = None,
    sets: Sets = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="RUN is still being built: new shards join each epoch.")
    ] = False,
    ray_workers: Annotated[
        int, typer.Option("--ray-workers", min=0, help="Start so many ranks on the Ray cluster.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print settings and plan.")] = False,
) -> None:
    """Train a model, or go on where an earlier call of the same command stopped.

    On several GPUs: torchrun --nproc-per-node 8 -m orbit4d train fit ..., or --ray-workers 8. The
    settings "parallel" say how; FIT and RUN have to be seen by all.

    In two stages, as published: --preset tiny_base on frozen orbits first, then --preset tiny
    --base FIT on moving ones. Sampling with w2 > 0 guides away from that base.

    With --follow the clips held out are drawn among those that are there at the first call, and all
    that are finished later are trained on.

    Watch it with: tensorboard --logdir FIT/logs
    """
    try:
        settings = [*(sets or ()), *([f"base={base}"] if base else [])]
        plan = plan_fit(preset(preset_name, settings), data, out, follow=follow)
        _print_plan(plan, out)
        if dry_run:
            typer.echo(json.dumps(plan.config.model_dump(mode="json"), indent=2))
        elif not plan.finished and ray_workers:
            from train.on_ray import fit_on_ray

            _print_result(fit_on_ray(plan, data, out, ray_workers), plan, out)
        elif not plan.finished:
            _fit(plan, data, out)
    except Orbit4dError as error:
        fail(error)


def _print_plan(plan: Plan, out: Path) -> None:
    split, config = plan.split, plan.config
    if not is_first_rank():
        return
    console = Console()
    if plan.finished:
        console.print(
            f"already done: {plan.steps_done} of {config.steps} steps in {out}", highlight=False
        )
        return
    going = f"going on after step {plan.steps_done}" if plan.steps_done else "starting"
    console.print(
        f"{going}: {config.steps} steps of {config.batch} clips, {config.data.frames} frames of "
        f"{config.data.size}x{config.data.size} px; {len(split.train)} clips to train on, "
        f"{len(split.held_out)} held out",
        highlight=False,
    )


def prepare_torch() -> None:
    """Set what torch looks for in the environment, where nothing is set; call before it loads."""
    for name, value in FOR_TORCH.items():
        os.environ.setdefault(name, value)


def _fit(plan: Plan, data: Path, out: Path) -> None:
    prepare_torch()
    columns = (
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(quiet=not is_first_rank())
    drawn = console.is_terminal and is_first_rank()
    with Progress(*columns, console=console, disable=not drawn) as progress:
        task = progress.add_task(
            "train", total=plan.config.steps, completed=plan.steps_done, loss=float("nan")
        )
        from train.loop import fit  # torch loads here, behind the line that says what will happen

        lines = ProgressLines(plan.steps_done, plan.config.steps)

        def show(report: StepReport) -> None:
            line = lines.take(report)
            progress.update(task, completed=report.step, loss=lines.loss)
            if line and is_first_rank() and not console.is_terminal:
                typer.echo(line, err=True)

        result = fit(plan, data, out, show)
    if is_first_rank():
        _print_result(result, plan, out)


def _print_result(result: "FitResult", plan: Plan, out: Path) -> None:
    state = "done" if result.finished else "stopped by the time budget; the same command goes on"
    line = (
        f"{state}: step {result.steps_done} of {plan.config.steps}, {result.seconds:.0f} s, "
        f"loss {result.loss:.4f}; in {out}"
    )
    faults = [
        f"{len(found)} {what} ({', '.join(str(name) for name in list(found)[:5])})"
        for what, found in (
            ("steps were skipped, not finite", result.skipped),
            ("broken samples were passed over", result.broken),
        )
        if found
    ]
    Console().print("; ".join([line, *faults]), highlight=False, soft_wrap=True)


def is_first_rank() -> bool:
    """Whether this process prints, among those that torchrun or Ray has started."""
    return os.environ.get("RANK", "0") == "0"


def fail(error: Orbit4dError) -> NoReturn:
    """Say what is wrong and end the command."""
    if is_first_rank() or not getattr(error, "everywhere", False):
        rank = "" if is_first_rank() else f" (rank {os.environ['RANK']})"
        Console(stderr=True).print(
            f"[red]error[/]{rank}: {escape(str(error))}", highlight=False, soft_wrap=True
        )
    raise typer.Exit(1)
