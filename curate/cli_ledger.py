"""Verbs beside a build: ``orbit4d curate glance``, ``replay`` and ``stats``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from curate.cli_options import console, ledger_folder
from shards.errors import AssetError

app = typer.Typer(no_args_is_help=True, help="Look at headers and ledgers; try other limits.")

_Run = Annotated[str, typer.Argument(help="RUN, or its ledger folder")]


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
    short for instance, keeps its verdict. Settings are those below `curate.` (which may be left
    out) and `render.qa.`, the limits on images: a clip that was never rendered passes these.

    Example: orbit4d curate replay out/run1 --set motion.min=0.02 --set motion.loop_gap_max=0.01
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate import ledger
    from curate.replay import Limits
    from curate.replay import replay as judge

    sections = ("curate.", "render.")
    said = [text if text.startswith(sections) else f"curate.{text}" for text in overrides or []]
    with ledger_folder(run) as folder:
        images = {"qa": _settings(folder, "render", "qa")}
        limits = Limits.build({"curate": _settings(folder, "curate"), "render": images}, said)
        found = judge(ledger.load(folder), limits.curate, limits.render.qa)
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
        console().print(table)
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

    with ledger_folder(run) as folder:
        summary = summarise(read_table(folder))
    screen = console()
    screen.print(f"{summary.assets} assets, {summary.rows} rows")
    funnel = Table("stage", box=None, pad_edge=False)
    for name in ("in", "rejected", "failed", "left", "% left", "seconds"):
        funnel.add_column(name, justify="right")
    for step in summary.steps:
        share = 100 * step.left / summary.rows if summary.rows else 0.0
        numbers = (step.entered, step.rejected, step.failed, step.left)
        funnel.add_row(step.stage, *map(str, numbers), f"{share:.1f}", f"{step.seconds:.1f}")
    screen.print(funnel)
    rules = Table("verdict", "stage", "rule", box=None, pad_edge=False)
    for name in ("clips", "%", "seconds"):
        rules.add_column(name, justify="right")
    for tally in summary.rules:
        count = (str(tally.count), f"{tally.percent:.1f}", f"{tally.seconds:.1f}")
        rules.add_row(tally.verdict, tally.stage, tally.label, *count)
    kept = next(tally for tally in summary.verdicts if tally.label == "kept")
    on_kept = sum(summary.seconds.values()) - sum(tally.seconds for tally in summary.rules)
    rules.add_row("kept", "", "", str(kept.count), f"{kept.percent:.1f}", f"{on_kept:.1f}")
    screen.print(rules)
    spent = "  ".join(f"{name} {seconds:.1f}" for name, seconds in summary.seconds.items())
    screen.print(f"seconds: {spent}")


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

    with ledger_folder(run) as folder:
        table = read_table(folder).select(["uid", "clip_index", "sample_key"])
    found = judge([mark for path in marks for mark in read_marks(path)], table.to_pylist())
    lists = {"allow": found.allow, "deny": found.deny, "samples": found.samples}
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        write_atomic(out / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode())
        print(f"{out / name}.txt  {len(lines)}")
    if found.mixed:
        print(f"assets with clips of both kinds, in neither list: {', '.join(found.mixed)}")


def _settings(run: Path, *sections: str) -> dict[str, Any]:
    """Read the limits that a run was built with; the defaults where it does not say."""
    try:
        found: Any = json.loads((run / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    for name in ("config", *sections):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
