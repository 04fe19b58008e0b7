"""Builds into an object store, without Blender: as ``tests.curate.staging``, each step uploaded."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.clip import Job
from curate.collect import Collector
from curate.config import BuildConfig
from curate.sources import Source, find_sources
from curate.stage import Stage
from curate.store_run import StoreRun
from shards import index
from shards.hold import read_commit
from shards.mirror import mirrored
from shards.objects import Objects, ObjectsConfig
from shards.store_write import ShardJob, StoreShardWriter, Uploaded, upload_shard
from tests.curate import staging

QUICK = ObjectsConfig(timeout_s=5, patience_s=3, pause_s=0.01, lease_s=1.0)
SETTINGS = staging.SETTINGS.model_copy(update={"store": QUICK})


def open_run(url: str, settings: BuildConfig = SETTINGS, **options: bool) -> StoreRun:
    return StoreRun(url, settings, **{"update": False, "retry_failed": False, **options})


def work(run: StoreRun, source: Source, *, away: bool) -> None:
    """Do what a worker does; with ``away`` one on another machine, which keeps nothing."""
    job = Job(
        source, run.config, run.versions, run.staging(source), run.committed(source.uid),
        store=run.objects, keeps=not away,
    )  # fmt: skip
    with staging_of(job):
        staging.work(run, source)


@contextlib.contextmanager
def staging_of(job: Job) -> Iterator[Stage]:
    from curate.stage import staging as stage

    with stage(job) as found:
        yield found


def upload_away(job: ShardJob) -> Uploaded:
    """Upload as another machine does: it has no mirror."""
    nowhere = (replace(sample, path=Path("/nowhere") / sample.key) for sample in job.samples)
    return upload_shard(replace(job, samples=tuple(nowhere)))


def build(
    url: str,
    inputs: Path,
    settings: BuildConfig = SETTINGS,
    *,
    away: bool = True,
    **options: bool,
) -> list[str]:
    """Do what ``orbit4d build`` does, and return the paths of the assets that had to be done."""
    sources = find_sources([inputs])
    with contextlib.closing(open_run(url, settings, keeps=not away, **options)) as run:
        run.begin()
        if away:
            assert isinstance(run.writer, StoreShardWriter)
            run.writer.upload = upload_away
        collector = Collector(run, sources)
        missing = list(collector.take_over())
        for source in missing:
            work(run, source, away=away)
            collector.finished(source, run.finished_rows(source))
        collector.flush()
        run.finish({"assets": collector.assets, **collector.verdicts, "rules": collector.rules})
    return [source.path for source in missing]


def outcome(url: str) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Return what a finished RUN holds, after checking that nothing else is left in the store."""
    objects = Objects(url, QUICK)
    commit, _ = read_commit(objects)
    assert commit.token == ""
    assert commit.withdrawn == ()
    with mirrored(objects) as folder:
        entries = [entry for part in index.committed(folder).values() for entry in part]
        packed = {entry.key: entry.sha256 for entry in entries}
        assert len(packed) == len(entries)
        rows = staging.verdicts(folder)
        for entry in entries:
            data = objects.read_range(f"shards/{entry.shard}.tar", entry.offset, entry.length)
            assert data == staging.sample_bytes(entry.uid, entry.clip_index, entry.fingerprint)
        merged = index.read_entries(folder / "index.parquet")
        assert {entry.key: entry.sha256 for entry in merged} == packed
    shards = sorted({entry.shard for entry in entries})
    found = {name for name in objects.list("") if not name.startswith(("logs/", "report/"))}
    (part,) = (name for name in found if name.startswith("ledger/"))
    assert found == {
        "commit.json", "index.json", "index.parquet", "run.json", part,
        *(f"index/{name}.parquet" for name in shards), *(f"shards/{name}.tar" for name in shards),
    }  # fmt: skip
    return packed, rows
