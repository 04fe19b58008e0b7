"""Verbs beside a build: ``orbit4d curate glance``, ``replay`` and ``stats``."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shards.errors import AssetError, RunError

app = typer.Typer(no_args_is_help=True, help="Look at headers and ledgers; try other limits.")

_Run = Annotated[str, typer.Argument(help="RUN, or its ledger folder")]
_IMAGES = "render.qa."  # settings that begin so limit what was rendered


@app.command("glance")
def glance_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="glb and gltf files, or folders")
    ],
) -> None:
    """Print one JSON line per glTF file: what its header claims, hundreds of files a second.

    Made for sorting out, before anything is copied or built, what is not animated at all.

    Example: orbit4d curate glance downloads/ | jq -r 'select(.clips > 0) | .path'
    """
    from curate.glance import glance
    from curate.sources import find_sources

    for source in find_sources(paths):
        if source.file.suffix.lower() in (".glb", ".gltf"):
            line: dict[str, Any] = {"path": str(source.file)}
            try:
                line |= asdict(glance(source.file))
            except AssetError as error:
                line |= {"rule": error.rule, "error": str(error)}
            print(json.dumps(line))


@app.command("replay")
def replay(
    run: _Run,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="one limit, e.g. motion.min=0.02 or render.qa.magenta_share_max=0.5",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file for all rows with their new verdicts")
    ] = None,
) -> None:
    """Judge every clip anew from its stored scores, by the run's settings and those given.

    No asset is opened and nothing in RUN changes. A clip that was never measured, for it was too
    short for instance, keeps its verdict. Settings are those below `curate.`, and `render.qa.`, the
    limits on rendered images: a clip that was never rendered passes these.

    Example: orbit4d curate replay out/run1 --set motion.min=0.02 --set motion.loop_gap_max=0.01
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate import ledger
    from curate.config import CurateConfig
    from curate.replay import replay as judge
    from render.qa import QaConfig

    of_images = [said for said in overrides or [] if said.startswith(_IMAGES)]
    of_rules = [said for said in overrides or [] if not said.startswith(_IMAGES)]
    with _run_folder(run) as folder:
        config = CurateConfig.build(_settings(folder, "curate"), of_rules)
        images = QaConfig.build(
            _settings(folder, "render", "qa"), [said.removeprefix(_IMAGES) for said in of_images]
        )
        found = judge(ledger.load(folder), config, images)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(found.rows, schema=ledger.SCHEMA), out)
    table = Table("was", "rule", "is", "rule", "clips", box=None, pad_edge=False)
    changed = 0
    for (before, after), count in sorted(found.moves.items(), key=lambda item: (-item[1], item[0])):
        if before != after:
            changed += count
            table.add_row(*before, *after, str(count))
    if changed:
        Console().print(table)
    kept = sum(row["verdict"] == "kept" for row in found.rows)
    print(f"{changed} of {len(found.rows)} verdicts change; {kept} clips are kept")


@app.command("stats")
def stats(run: _Run) -> None:
    """Print the funnel: what came in, what fell where and why, what is left, and the seconds.

    A stage's or rule's seconds are all that was spent on the clips that fell there. The last line
    adds up each kind of work over all clips, those kept included.

    Example: orbit4d curate stats out/run1
    """
    from curate.report_data import read_table, summarise

    with _run_folder(run) as folder:
        summary = summarise(read_table(folder))
    console = Console()
    console.print(f"{summary.assets} assets, {summary.rows} rows")
    funnel = Table("stage", box=None, pad_edge=False)
    for name in ("in", "rejected", "failed", "left", "% left", "seconds"):
        funnel.add_column(name, justify="right")
    for step in summary.steps:
        share = 100 * step.left / summary.rows if summary.rows else 0.0
        numbers = (step.entered, step.rejected, step.failed, step.left)
        funnel.add_row(step.stage, *map(str, numbers), f"{share:.1f}", f"{step.seconds:.1f}")
    console.print(funnel)
    rules = Table("verdict", "stage", "rule", box=None, pad_edge=False)
    for name in ("clips", "%", "seconds"):
        rules.add_column(name, justify="right")
    for tally in summary.rules:
        count = (str(tally.count), f"{tally.percent:.1f}", f"{tally.seconds:.1f}")
        rules.add_row(tally.verdict, tally.stage, tally.label, *count)
    kept = next(tally for tally in summary.verdicts if tally.label == "kept")
    on_kept = sum(summary.seconds.values()) - sum(tally.seconds for tally in summary.rules)
    rules.add_row("kept", "", "", str(kept.count), f"{kept.percent:.1f}", f"{on_kept:.1f}")
    console.print(rules)
    spent = "  ".join(f"{name} {seconds:.1f}" for name, seconds in summary.seconds.items())
    console.print(f"seconds: {spent}")


@app.command("apply-review")
def apply_review(
    run: _Run,
    marks: Annotated[
        list[Path], typer.Argument(metavar="REVIEW...", help="files saved on the audit page")
    ],
    out: Annotated[Path, typer.Option(help="folder for allow.txt, deny.txt, samples.txt")],
) -> None:
    """Turn the marks of a review into lists: assets to take, assets to leave, samples to drop.

    Lists name assets. Of an asset with clips of both kinds the dropped samples stand in
    samples.txt instead, for `shards tombstone`; it stands in neither list. Of several files the
    last mark of a clip counts.

    Example: orbit4d curate apply-review out/run1 review.json --out lists
      then: orbit4d build assets/ --out out/run1 --deny-list lists/deny.txt
    """
    from curate.report_data import read_table
    from curate.review import judge, read_marks
    from shards.files import write_atomic

    with _run_folder(run) as folder:
        table = read_table(folder).select(["uid", "clip_index", "sample_key"])
    found = judge([mark for path in marks for mark in read_marks(path)], table.to_pylist())
    lists = {"allow": found.allow, "deny": found.deny, "samples": found.samples}
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        write_atomic(out / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode())
        print(f"{out / name}.txt  {len(lines)}")
    if found.mixed:
        print(f"assets with clips of both kinds, in neither list: {', '.join(found.mixed)}")


@contextlib.contextmanager
def _run_folder(run: str) -> Iterator[Path]:
    from shards.mirror import as_folder

    with as_folder(run) as path:
        folder = path.parent if path.name == "ledger" and path.is_dir() else path
        if not (folder / "ledger").is_dir():
            raise RunError(f"{run}: holds no ledger; give what `orbit4d build --out` was given")
        yield folder


def _settings(run: Path, *sections: str) -> dict[str, Any]:
    """Read the limits that a run was built with; the defaults where it does not say."""
    try:
        found: Any = json.loads((run / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    for name in ("config", *sections):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
