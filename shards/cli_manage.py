"""Commands that look into, rewrite and hand on shards; mounted by ``shards.cli``."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shards.codec import Codec
from shards.errors import ConfigError, Orbit4dError, RunError
from shards.export import export_diffusion4d, export_huggingface
from shards.lint import lint_run
from shards.manage import compact_run, merge_runs, sides_of, split_run, standing
from shards.objects import is_object_url
from shards.read import SampleReader
from shards.tombstones import add_tombstones, with_copies

T = TypeVar("T")

app = typer.Typer(rich_markup_mode="rich")


def _local(path: Path) -> Path:
    """Refuse a URL, which a path cannot hold."""
    if re.match(r"[a-z0-9]+:/", str(path)):
        raise ConfigError(
            f"{path}: this command needs a copy of the RUN in a folder; `check`, `ls`, `cat` and "
            "`tombstone` take a URL"
        )
    return path


def _all_local(paths: list[Path]) -> list[Path]:
    return [_local(path) for path in paths]


RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Folder that `orbit4d build` wrote.", callback=_local),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="What `orbit4d build --out` was given.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder to write; new or empty.")]
TargetMb = Annotated[float, typer.Option(min=0.001, help="Shards of about this size, MB.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]


@app.command(epilog="Example: orbit4d shards lint out/run1 --ranks 8 --workers 4")
def lint(
    run: RunFolder,
    ranks: Annotated[int, typer.Option(min=1, help="Processes that train.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Loader workers of each.")] = 1,
) -> None:
    """Look at tar headers for what trips readers that split by shard; see also `check`.

    Exit status 0: fit. 1: something is not; each fault is printed with what to do.
    """
    faults = _or_fail(lambda: lint_run(run, ranks, workers))
    console = _console()
    for fault in faults:
        text = f"[red]{escape(fault.where)}[/]: {escape(fault.what)}\n  -> {escape(fault.remedy)}"
        console.print(text, highlight=False, soft_wrap=True)
    console.print(f"{len(faults)} faults" if faults else "fit for readers", highlight=False)
    raise typer.Exit(1 if faults else 0)


@app.command(epilog="Example: orbit4d shards cat out/run1 fox-000 orbit.rgba.webp > orbit.webp")
def cat(
    run: Run,
    key: Annotated[str, typer.Argument(metavar="KEY", help="See `orbit4d shards ls`.")],
    member: Annotated[
        str, typer.Argument(metavar="MEMBER", help="Name after KEY and a dot.")
    ] = "json",
) -> None:
    """Write one member of a sample to standard output, verified by its sha256."""

    def find() -> bytes:
        reader = SampleReader(run)
        keys = reader.column("key")
        if key not in keys:
            raise RunError(f"{run}: no sample {key!r}; see: orbit4d shards ls {run}")
        _, members = reader.read(keys.index(key))
        name = f"{key}.{member}"
        if name not in members:
            there = ", ".join(sorted(n.removeprefix(f"{key}.") for n in members))
            raise RunError(f"{run}: sample {key!r} has no member {member!r}; it has {there}")
        return members[name]

    data = _or_fail(find)
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


@app.command(
    epilog="Example: orbit4d shards split out/run1 --out out/sides --shares train=0.9,val=0.1"
)
def split(
    run: RunFolder,
    out: Out,
    shares: Annotated[str, typer.Option(help="SIDE=SHARE, ...")] = "train=0.9,val=0.05,test=0.05",
    target_mb: TargetMb = 256.0,
    seed: Annotated[int, typer.Option(help="Another one draws other sides.")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Write DIR/SIDE for each side of a split by asset.

    All clips of an asset, of equal files, and of recoloured or renamed copies of its shape lie on
    one side. The asset's hash decides, so later builds with more assets leave the others where they
    are; only a family that gets a new copy may change its side.
    """
    parts = _or_fail(lambda: _shares(shares))
    if dry_run:
        sides = sides_of(_or_fail(lambda: list(standing(run))), parts, seed)
        counts = {side: sides.count(side) for side in parts}
    else:
        counts = _or_fail(lambda: split_run(run, out, parts, int(target_mb * 1e6), seed))
    _console().print(
        "\n".join(f"{out / side}: {count} samples" for side, count in counts.items()),
        highlight=False,
    )


@app.command(epilog="Example: orbit4d shards merge out/run1 out/run2 --out out/all --codec fast")
def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="RUN folders.", callback=_all_local)
    ],
    out: Out,
    target_mb: TargetMb = 256.0,
    codec: Annotated[
        Codec | None, typer.Option(help="Write the images anew in this codec; none: as they are.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Write the samples of one or several runs into new shards of about equal size."""
    if dry_run:
        count = _or_fail(lambda: len({s.entry.key for run in runs for s in standing(run)}))
    else:
        count = _or_fail(lambda: merge_runs(runs, out, int(target_mb * 1e6), codec))
    _console().print(f"{out}: {count} samples", highlight=False)


@app.command(epilog="Example: orbit4d shards export out/run1 --to huggingface --out out/hf")
def export(
    run: RunFolder,
    out: Out,
    to: Annotated[
        Literal["huggingface", "diffusion4d"], typer.Option(help="Which layout.")
    ] = "huggingface",
    name: Annotated[str, typer.Option(help="Title of the card; none: the folder's name.")] = "",
    target_mb: TargetMb = 256.0,
) -> None:
    """Write a Hugging Face dataset folder, or Diffusion4D's folders of PNG and JSON.

    The first has a card with a licence and attribution table; the second names files
    `multi_frame0.png`, `multi0.json`, `multi_static_frame0.png`, `front.json` and so on.
    """
    if to == "diffusion4d":
        count = _or_fail(lambda: export_diffusion4d(run, out))
    else:
        title = name or run.resolve().name
        count = _or_fail(lambda: export_huggingface(run, out, title, int(target_mb * 1e6)))
    _console().print(f"{out}: {count} samples", highlight=False)


@app.command(epilog="Example: orbit4d shards tombstone out/run1 fox --reason 'asked by its author'")
def tombstone(
    run: Run,
    names: Annotated[list[str], typer.Argument(metavar="UID...", help="Assets, or sample keys.")],
    reason: Annotated[str, typer.Option(help="Kept beside the names.")] = "",
) -> None:
    """Take assets or samples down: readers skip them at once, no tar is rewritten.

    Copies of the same file go with them, whatever they are called, now and in later builds. Others
    that look alike stay: the ledger's column family names them.

    For good: there is no way back but to edit RUN/tombstones.json. `orbit4d shards compact` removes
    the bytes.
    """

    def note() -> int:
        reader = SampleReader(run)
        known = set(reader.column("uid")) | set(reader.column("key"))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise RunError(
                f"{run}: no asset or sample {', '.join(unknown)}; nothing was noted. See: orbit4d "
                f"shards ls {run}"
            )
        wanted = with_copies(dict.fromkeys(names, reason), reader.entries())
        listed = add_tombstones(run, wanted)
        hit = zip(reader.column("uid"), reader.column("key"), strict=True)
        return sum(uid in listed or key in listed for uid, key in hit)

    count = _or_fail(note)
    if is_object_url(run):
        rewrite = "a copy of RUN in a folder, and: orbit4d shards compact COPY"
    else:
        rewrite = f"orbit4d shards compact {run}"
    _console().print(
        f"{count} samples are skipped by readers from now on; their bytes go with: {rewrite}\n"
        f"Pictures on a page that was written before go with: orbit4d report {run}",
        highlight=False,
    )


@app.command(epilog="Example: orbit4d shards compact out/run1")
def compact(run: RunFolder, target_mb: TargetMb = 256.0, dry_run: DryRun = False) -> None:
    """Rewrite the shards that hold samples taken down, without those.

    Streams that were saved before have to start anew: the shards are others.
    """
    if dry_run:
        left = _or_fail(lambda: sum(1 for _ in standing(run)))
        count = len(SampleReader(run)) - left
        _console().print(f"{count} samples would be removed", highlight=False)
        return
    done = _or_fail(lambda: compact_run(run, int(target_mb * 1e6)))
    table = Table("shards rewritten", "samples removed", "MB freed", box=None, pad_edge=False)
    table.add_row(str(done["shards"]), str(done["samples"]), f"{done['bytes'] / 1e6:.2f}")
    _console().print(table)


def _or_fail(call: Callable[[], T]) -> T:
    try:
        return call()
    except Orbit4dError as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None


def _shares(text: str) -> dict[str, float]:
    try:
        pairs = [part.split("=") for part in text.split(",")]
        shares = {side.strip(): float(share) for side, share in pairs}
    except ValueError:
        raise ConfigError(
            f"--shares {text!r}: expected SIDE=SHARE,..., as in train=0.9,val=0.1"
        ) from None
    if min(shares.values()) < 0 or sum(shares.values()) <= 0:
        raise ConfigError(f"--shares {text!r}: shares are 0 or more, and not all 0")
    return shares


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=200)
