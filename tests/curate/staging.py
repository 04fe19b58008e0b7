"""Builds without Blender: input files that say in words what becomes of their clips.

A file with the text ``kept rejected`` has two clips; those called ``kept=x`` are copies. ``work``
does what a worker does: it leaves a complete staging folder with real samples in it, made from the
file's content and the settings.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from curate import ledger
from curate.asset import done_file, stamp_of
from curate.collect import Collector
from curate.config import BuildConfig
from curate.run_folder import RunFolder
from curate.sources import Source, find_sources
from curate.stage import sizes_of
from shards import index
from shards.config import digest_of
from shards.files import dump_json, sha256_of, write_atomic
from shards.sample import sample_key
from shards.tombstones import content_name
from shards.write import StagedSample
from tests.make_shards import make_sample, pack_sample

SETTINGS = BuildConfig.load(None, ["shards.target_mb=0.012"])  # two samples reach it
Shuffle = Callable[[list[Source]], list[Source]]


def make_inputs(folder: Path, **words: str) -> Path:
    """Write one asset per keyword: ``b="kept failed"`` makes ``b.glb`` with two clips."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in words.items():
        (folder / f"{name}.glb").write_text(text)
    return folder


@cache
def _images(uid: str, clip: int) -> tuple[Any, Any]:
    return make_sample(uid, clip, frames=2, size=4)


@cache
def sample_bytes(uid: str, clip: int, fingerprint: str) -> bytes:
    meta, images = _images(uid, clip)
    return pack_sample(meta.model_copy(update={"fingerprint": fingerprint}), images)


def open_run(path: Path, settings: BuildConfig = SETTINGS, **options: bool) -> RunFolder:
    return RunFolder(path, settings, **{"update": False, "retry_failed": False, **options})


def work(run: RunFolder, source: Source) -> list[dict[str, Any]]:
    """Complete an asset's staging folder, and return its rows."""
    staging = run.staging(source)
    staging.mkdir(parents=True, exist_ok=True)
    size, modified_ns = stamp_of(source.file) or (None, None)
    base: dict[str, Any] = {
        "uid": source.uid,
        "path": source.path,
        "bytes": size,
        "modified_ns": modified_ns,
        "settings": run.basis,
        "sha256": sha256_of(source.file),
        "sample_key": "",
        "fingerprint": "",
    }
    by_bytes = content_name(base["sha256"]) in run.names_taken_down(source.uid)
    if source.refusal or by_bytes:
        rule = source.refusal or "taken_down"
        refused: dict[str, Any] = {"clip_index": -1, "verdict": "rejected", "rule": rule}
        if source.refusal:
            refused["sha256"] = None  # nobody looks at its bytes
        document = {"settings": run.basis, "rows": [base | refused], "sizes": {}}
        write_atomic(done_file(staging), dump_json(document))
        return [base | refused]
    rows: list[dict[str, Any]] = [
        base
        | {"clip_index": clip, "verdict": word, "rule": "" if word == "kept" else "a_rule"}
        | ({"content": content} if content else {})
        for clip, text in enumerate(source.file.read_text().split())
        for word, _, content in [text.partition("=")]
    ]
    for row in rows:
        if row["verdict"] == "kept":
            key = sample_key(source.uid, row["clip_index"])
            made_from = [
                row["sha256"],
                row["clip_index"],
                run.config.render.model_dump(mode="json"),
            ]
            row |= {"sample_key": key, "fingerprint": digest_of({"from": made_from})}
            if run.committed(source.uid).get(key) != row["fingerprint"]:
                data = sample_bytes(source.uid, row["clip_index"], row["fingerprint"])
                write_atomic(staging / f"{key}.tar", data)
        write_atomic(staging / f"c{row['clip_index']:03d}.json", dump_json(row))
    document = {"settings": run.basis, "rows": rows, "sizes": sizes_of(staging)}
    write_atomic(done_file(staging), dump_json(document))
    return rows


def build(
    path: Path,
    inputs: Path | list[Path],
    settings: BuildConfig = SETTINGS,
    shuffle: Shuffle = list,
    **options: bool,
) -> list[str]:
    """Do what ``orbit4d build`` does, and return the paths of the assets that had to be done."""
    sources = find_sources([inputs] if isinstance(inputs, Path) else inputs)
    with contextlib.closing(open_run(path, settings, **options)) as run:
        run.begin()
        collector = Collector(run, sources)
        missing = list(collector.take_over())
        for source in shuffle(missing):
            work(run, source)
            collector.finished(source, run.finished_rows(source))
        collector.flush()
        assert collector.assets == len(sources)
        run.finish({"assets": collector.assets, **collector.verdicts, "rules": collector.rules})
    return [source.path for source in missing]


def samples(run: Path) -> dict[str, str]:
    """Return key -> sha256 of all committed samples; one that stands twice fails."""
    entries = [entry for part in index.committed(run).values() for entry in part]
    assert len({entry.key for entry in entries}) == len(entries)
    for entry in entries:
        with (run / "shards" / f"{entry.shard}.tar").open("rb") as stream:
            stream.seek(entry.offset)
            assert stream.read(entry.length) == sample_bytes(
                entry.uid, entry.clip_index, entry.fingerprint
            )
    return {entry.key: entry.sha256 for entry in entries}


def verdicts(run: Path) -> list[tuple[Any, ...]]:
    """Return the ledger's rows as (path, clip, verdict, key, fingerprint); no clip twice."""
    rows = ledger.load(run)
    assert len({(row["uid"], row["clip_index"]) for row in rows}) == len(rows)
    names = ("path", "clip_index", "verdict", "sample_key", "fingerprint")
    return [tuple(row[name] for name in names) for row in rows]


def outcome(run: Path) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Return what a finished run holds, after checking that its halves agree and nothing is left.

    Shards, index, ledger and the sample files tell the same story, in no other files.
    """
    packed, rows = samples(run), verdicts(run)
    assert set(packed) == {row[3] for row in rows if row[2] == "kept"}
    merged = index.read_entries(run / "index.parquet")
    assert {entry.key: entry.sha256 for entry in merged} == packed
    assert {(entry.key, entry.fingerprint) for entry in merged} == {
        row[3:] for row in rows if row[2] == "kept"
    }
    shards = sorted({entry.shard for entry in merged})
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    parts = {str(path.relative_to(run)) for path in ledger.parts(run)}
    assert len(parts) == 1
    assert files == {
        "index.json", "index.parquet", "run.json", "logs/lock", *parts,
        *(f"index/{name}.parquet" for name in shards), *(f"shards/{name}.tar" for name in shards),
    }  # fmt: skip
    assert not (run / "staging").exists()
    return packed, rows


class Killed(BaseException):
    """The process ended here."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """Let the block change the disk ``step`` times; from the next on, nothing works any more.

    Yields a list to which the number of changes is written in the end. A file's content counts
    when it is flushed: killed there, its temporary file lies half written.
    """
    names = ("fsync", "mkdir", "replace", "rmdir", "unlink")
    real = {name: getattr(os, name) for name in names}
    done = [0]

    def mortal(name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if done[0] >= step:
                raise Killed
            done[0] += 1
            return None if name == "fsync" else real[name](*args, **more)

        return call

    try:
        for name in names:
            setattr(os, name, mortal(name))
        with contextlib.suppress(Killed):
            yield done
    finally:
        for name in names:
            setattr(os, name, real[name])


def staged(run: RunFolder, source: Source) -> list[StagedSample]:
    files = sorted(run.staging(source).glob("*.tar"))
    return [StagedSample(file.stem, file) for file in files]
