"""Commands of the data half: ``orbit4d build`` and ``orbit4d samples``."""

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from curate.cli_options import AllowLists, DenyLists, Inputs, Overrides
from curate.config import BuildConfig
from curate.presets import preset


def build(
    paths: Inputs,
    out: Annotated[Path, typer.Option(help="RUN folder; made if it does not exist")],
    workers: Annotated[
        int, typer.Option(min=0, help="Ray workers; 0: one Blender, without Ray")
    ] = 0,
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
    seed: Annotated[int | None, typer.Option(help="run seed of every random draw [0]")] = None,
    allow_list: AllowLists = None,
    deny_list: DenyLists = None,
    update: Annotated[
        bool, typer.Option("--update", help="RUN has other settings: judge all clips anew")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try clips again that failed before")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the settings and what would be done")
    ] = False,
) -> None:
    """Curate, render and shard every clip of the given assets.

    Whatever interrupted it, the same command goes on from there, and does nothing when all is done.
    Exit status 0: every input ended as kept, rejected or failed, each with its reason in the
    ledger. 2: nothing was done, the settings or the folder do not allow it.

    Examples:
      orbit4d build assets/ --out out/run1
      orbit4d build a.glb b.fbx --out out/run2 --workers 8 --set render.engine.samples=64
      orbit4d build assets/ --out out/run3 --preset diffusion4d --rules diffusion4d
      orbit4d build assets/ --out out/run4 --set render.lights.mode=studio
      orbit4d build 's3://bucket/models/**/*.glb' manifest.csv --out out/run5
      orbit4d build objaverse: --allow-list curated.txt --deny-list taken_down.txt --out out/run6
    """
    from curate.build import Options, plan
    from curate.build import build as run_build

    extra = list(overrides or [])
    if max_clips_per_asset is not None:
        extra.append(f"curate.clips.per_asset_max={max_clips_per_asset}")
    if rules is not None:
        extra.append(f"curate.rules={rules}")
    if seed is not None:
        extra.append(f"seed={seed}")
    settings = BuildConfig.load(config, extra, preset(preset_name))
    lists = tuple(allow_list or ()), tuple(deny_list or ())
    options = Options(workers, update, retry_failed, *lists)
    if dry_run:
        print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), end="")
        expected = plan(paths, out, settings, options)
        print(
            f"# {expected.settled} assets are settled, {expected.staged} wait to be packed, "
            f"{expected.missing} would be worked on"
        )
        return
    collector = run_build(paths, out, settings, options)
    _print_summary(out, collector.verdicts, collector.rules)


def _print_summary(out: Path, verdicts: dict[str, int], rules: dict[str, int]) -> None:
    table = Table("verdict", "rule", "clips", box=None, pad_edge=False)
    table.add_row("kept", "", str(verdicts.get("kept", 0)))
    for rule, count in sorted(rules.items(), key=lambda item: (-item[1], item[0])):
        table.add_row("not kept", rule, str(count))
    Console().print(table)
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
