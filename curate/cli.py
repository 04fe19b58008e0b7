"""Commands of the data half: ``orbit4d build`` and ``orbit4d samples``."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.table import Table

from curate.cli_options import AllowLists, Code, DenyLists, Inputs, Overrides, console
from curate.config import BuildConfig
from curate.interrupts import Stopped
from curate.presets import preset
from shards.errors import ConfigError


def build(
    paths: Inputs,
    out: Annotated[
        str, typer.Option(help="RUN: a folder, made if it does not exist, or s3://, gs://, az://")
    ],
    workers: Annotated[
        int, typer.Option(min=0, help="Ray workers; 0: one Blender, without Ray")
    ] = 0,
    address: Annotated[
        str, typer.Option(help="Ray cluster to use: auto, HOST:PORT; else one of this machine")
    ] = "",
    code: Code = "ship",
    ray_temp: Annotated[
        Path | None,
        typer.Option(help="folder for Ray's temporary files, without --address; else the system's"),
    ] = None,
    ray_store_mb: Annotated[
        int, typer.Option(min=80, help="memory of Ray's object store, without --address")
    ] = 256,
    worker_cpus: Annotated[float, typer.Option(min=0, help="CPUs that Ray gives a worker")] = 1.0,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="GPUs that Ray gives a worker; may be a fraction")
    ] = 0.0,
    curate_workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="further workers, without GPU, that fetch and judge what others render "
            "(as many as --workers where these have a GPU, else none)",
        ),
    ] = None,
    curate_cpus: Annotated[float, typer.Option(min=0, help="CPUs of one of them")] = 1.0,
    worker_memory_mb: Annotated[
        int, typer.Option(min=0, help="memory that Ray sets aside for a worker; 0: none")
    ] = 0,
    worker_resources: Annotated[
        list[str] | None,
        typer.Option("--worker-resource", metavar="NAME=N", help="custom resource of a worker"),
    ] = None,
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="settings to start from: diffusion4d")
    ] = None,
    rules: Annotated[
        str | None, typer.Option(help="which rules decide: orbit4d (default) or diffusion4d")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings")] = None,
    overrides: Overrides = None,
    max_clips_per_asset: Annotated[
        int | None, typer.Option(min=1, help="stop after this many kept clips of an asset")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="run seed of every random draw (0)")] = None,
    allow_list: AllowLists = None,
    deny_list: DenyLists = None,
    update: Annotated[
        bool, typer.Option("--update", help="RUN has other settings: judge all clips anew")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try clips again that failed before")
    ] = False,
    show_plan: Annotated[
        bool, typer.Option("--plan", help="say what would be done with which assets, and why")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the settings and the plan")
    ] = False,
) -> None:
    """Curate, render and shard every clip of the given assets.

    Whatever interrupted it, the same command goes on from there, and does nothing when all is done.
    Ctrl-C (or SIGTERM) finishes what is being committed and stops; once more stops now.
    Exit status 0: every input ended as kept, rejected or failed, each with its reason in the
    ledger. 1: it stopped over something that is not about one asset. 2: nothing was done, the
    settings do not allow it, or another build has the folder. 130: Ctrl-C. 143: SIGTERM.

    Examples:
      orbit4d build assets/ --out out/run1
      orbit4d build a.glb b.fbx --out out/run2 --workers 8 --set render.engine.samples=64
      orbit4d build assets/ --out out/run3 --preset diffusion4d --rules diffusion4d
      orbit4d build assets/ --out out/run4 --set render.lights.mode=studio
      orbit4d build 's3://bucket/models/**/*.glb' manifest.csv --out out/run5
      orbit4d build assets/ --out out/run1 --plan
      orbit4d build assets/ --out /shared/run --address auto --workers 64 --worker-gpus 0.5
      orbit4d build assets/ --out s3://bucket/run --address auto --workers 64
      orbit4d build objaverse: --allow-list curated.txt --deny-list taken_down.txt --out out/run6
    """
    from curate.build import Options, plan
    from curate.build import build as run_build
    from curate.cluster import RayOptions

    extra = list(overrides or [])
    if max_clips_per_asset is not None:
        extra.append(f"curate.clips.per_asset_max={max_clips_per_asset}")
    if rules is not None:
        extra.append(f"curate.rules={rules}")
    if seed is not None:
        extra.append(f"seed={seed}")
    settings = BuildConfig.load(config, extra, preset(preset_name))
    lists = tuple(allow_list or ()), tuple(deny_list or ())
    custom = _resources(worker_resources or [])
    curators = workers * (worker_gpus > 0) if curate_workers is None else curate_workers
    ray = RayOptions(
        workers, address, worker_cpus, worker_gpus, worker_memory_mb, custom,
        code, ray_temp, ray_store_mb, curators=curators, curator_cpus=curate_cpus,
    )  # fmt: skip
    if address and not workers:
        raise ConfigError("--address: expected --workers N with it, the number of Ray workers")
    options = Options(workers, update, retry_failed, *lists, ray=ray)
    if dry_run or show_plan:
        if dry_run:
            print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), end="")
        expected = plan(paths, out, settings, options)
        for line in expected.lines():
            print(f"# {line}" if dry_run else line)
        if expected.changes and not update:
            print("# " * dry_run + "this needs --update, or another --out")
        return
    try:
        collector = run_build(paths, out, settings, options)
    except KeyboardInterrupt as stop:  # typer would end every interrupt alike, and without a word
        print("interrupted; the same command goes on from here", file=sys.stderr)
        number = stop.signal if isinstance(stop, Stopped) else signal.SIGINT
        raise typer.Exit(128 + number) from None
    _print_summary(out, collector.verdicts, collector.rules)


def _resources(given: list[str]) -> dict[str, float]:
    """Read ``NAME=N`` words."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise ConfigError(
                f"--worker-resource {text!r}: expected NAME=N, for example blender=1"
            ) from None
    return found


def _print_summary(out: str, verdicts: dict[str, int], rules: dict[str, int]) -> None:
    table = Table("verdict", "rule", "clips", box=None, pad_edge=False)
    table.add_row("kept", "", str(verdicts.get("kept", 0)))
    for rule, count in sorted(rules.items(), key=lambda item: (-item[1], item[0])):
        table.add_row("not kept", rule, str(count))
    console().print(table)
    print(f"shards {out}/shards   ledger {out}/ledger   page {out}/report/index.html")


def samples(
    out: Annotated[Path, typer.Argument(help="folder for the assets and their ground truth")],
    seed: Annotated[int, typer.Option(help="seed of shapes and colours")] = 0,
) -> None:
    """Make animated assets from nothing, with ground truth beside each.

    Skinned characters, machines, morphs, cloth, and some that must be rejected. They need no
    network and no files, and serve the demo and the tests.

    Example: orbit4d samples demo/assets
    """
    from render.samples import make_samples

    made = make_samples(out, seed)
    print(f"{len(made)} assets in {out}")
