"""Made-up assets by the hundred thousand: workers that render nothing, runs that are finished."""

import contextlib
import json
import os
import re
import resource
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import psutil

from curate import build as build_module
from curate import ledger
from curate.asset import basis_of, done_file, stamp_of
from curate.build import Options, build
from curate.cluster import Worker
from curate.config import BuildConfig
from curate.duplicates import Seen
from curate.job import Job
from curate.nodes import Needs
from curate.run_folder import versions
from curate.sources import find_sources
from shards import index
from shards.files import dump_json
from shards.likeness import Sketch
from shards.sample import SampleMeta, encode_members, sample_key, sample_to_tar
from shards.seeding import rng_for
from tests.make_shards import make_sample

SETTINGS = ["shards.target_mb=8", "limits.threads=1"]
_ROWS_PER_PART, _SAMPLES_PER_SHARD = 20_000, 500
_KEPT_EVERY = 4


def make_inputs(folder: Path, count: int) -> Path:
    """Write tiny files with the ending of assets, 1000 to a folder."""
    for number in range(count):
        place = folder / f"{number // 1000:04d}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:07d}.glb").write_bytes(b"%d" % number)
    return folder


def _row(job_or_base: dict[str, Any], number: int, kept: bool) -> dict[str, Any]:
    draw = rng_for(0, "fake", number)
    return job_or_base | {
        "clip_index": 0,
        "clip_name": "walk",
        "verdict": "kept" if kept else "rejected",
        "rule": "" if kept else "too_still",
        "stage": "" if kept else "probe",
        "error": "" if kept else "measured 0.001, which the limit of 0.01 does not allow",
        "content": f"{number:064x}",
        "sha256": f"{number:064x}",
        "geometry": Sketch(number % 5000, draw.random(14)).encode(),
        "clip_sketch": Sketch(24, draw.random(16)).encode(),
        "look": f"gltf:{number:016x}",
        "warnings": "[]",
        "companions": "[]",
        "duration_s": 1.0,
        "sample_key": sample_key(job_or_base["uid"], 0) if kept else "",
        "fingerprint": f"{number:032x}" if kept else "",
        **dict.fromkeys(ledger.SCORES[:12], 0.5),
    }


@cache
def _encoded() -> tuple[SampleMeta, dict[str, bytes]]:
    """Make one sample, which all others are but for its name."""
    meta, images = make_sample("fake-0", 0, frames=4, size=32)
    members, layouts = encode_members(images, "webp")
    sequences = {
        name: meta.sequences[name].model_copy(update={"layout": layout})
        for name, layout in layouts.items()
    }
    return meta.model_copy(update={"sequences": sequences}), members


class FakeWorker(Worker):
    """Leaves what a worker leaves, without a Blender."""

    def __init__(self, config: BuildConfig, roots: list[Path], *_: Any) -> None:
        os.fsync = lambda _: None  # the workers' disk is not what is measured

    def ready(self, needs: Needs | None = None) -> None:
        """Be ready."""

    def close(self) -> None:
        """Have nothing to end."""

    def do(self, job: Job) -> None:
        """Write rows, and of every fourth asset a sample."""
        number = int(job.source.file.stem)
        kept = number % _KEPT_EVERY == 0
        size, modified_ns = stamp_of(job.source.file) or (0, 0)
        base = {
            "uid": job.source.uid, "path": job.source.path, "bytes": size, "source": "local",
            "modified_ns": modified_ns, "settings": basis_of(job.config, job.versions),
        }  # fmt: skip
        row = _row(base, number, kept)
        if kept:
            meta, members = _encoded()
            asset = meta.asset.model_copy(update={"uid": job.source.uid})
            key = row["sample_key"]
            named = {"key": key, "asset": asset, "fingerprint": row["fingerprint"]}
            data = sample_to_tar(meta.model_copy(update=named), members)
            (job.staging / f"{key}.tar").write_bytes(data)
        done_file(job.staging).write_bytes(dump_json({"settings": base["settings"], "rows": [row]}))


class _Watch(threading.Thread):
    """Notes the driver's CPU time and memory, and Ray's object store, while a build goes on."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self.run_folder = run
        self.seen: list[tuple[int, float, float, float]] = []  # assets, CPU s, MB, store MB
        self.over = threading.Event()

    def run(self) -> None:
        me = psutil.Process()
        while not self.over.wait(1.0):
            used = resource.getrusage(resource.RUSAGE_SELF)
            done = COLLECTORS[0].assets if COLLECTORS else 0
            cpu_s = used.ru_utime + used.ru_stime
            self.seen.append((done, cpu_s, me.memory_info().rss / 2**20, _store_mb()))


COLLECTORS: list[Any] = []


def _store_mb() -> float:
    with contextlib.suppress(Exception):
        if not sys.modules["ray"].is_initialized():  # imported here it would miss its settings
            return 0.0
        from ray._private.internal_api import memory_summary

        said = memory_summary(stats_only=True)
        found = re.search(r"Plasma memory usage (\d+) MiB", said)
        return float(found[1]) if found else 0.0
    return 0.0


def driver_main(inputs: str, run: str) -> None:
    """Build all of them on Ray with two workers; print the figures."""
    config = BuildConfig.load(None, SETTINGS)
    real = build_module.Collector

    def noted(*words: Any) -> Any:
        COLLECTORS.append(real(*words))
        return COLLECTORS[0]

    build_module.Collector = noted  # type: ignore[misc]
    build_module.write_report = build_module.write_card = lambda _: None  # type: ignore[assignment]
    watch = _Watch(Path(run))
    watch.start()
    started = time.monotonic()
    build([inputs], Path(run), config, Options(workers=2, worker=FakeWorker))
    wall_s = time.monotonic() - started
    watch.over.set()
    total = COLLECTORS[0].assets
    working = [one for one in watch.seen if 0 < one[0] < total]
    first = next(one for one in working if one[0] >= total * 0.05)
    last = working[-1]
    assets = last[0] - first[0]
    print(
        json.dumps(
            {
                "driver_ms_per_asset": 1000 * (last[1] - first[1]) / assets,
                "driver_growth_mb": last[2] - first[2],
                "at_5_percent_mb": first[2],
                "largest_mb": max(one[2] for one in watch.seen),
                "object_store_growth_mb": last[3] - first[3],
                "object_store_largest_mb": max(one[3] for one in watch.seen),
                "assets_per_s": total / wall_s,
            }
        )
    )


def make_finished_run(run: Path, inputs: Path, count: int) -> None:
    """Write the ledger, the index and stand-ins for the shards of assets that are finished."""
    config = BuildConfig.load(None, SETTINGS)
    basis = basis_of(config, versions())
    index.recover(run)
    ledger.recover(run)
    seen = Seen(config.curate.copies())
    rows: list[dict[str, Any]] = []
    entries: list[index.IndexEntry] = []
    part = shard = 0
    for number, source in enumerate(find_sources([inputs])[:count]):
        size, modified_ns = stamp_of(source.file) or (0, 0)
        base = {
            "uid": source.uid, "path": source.path, "bytes": size, "source": "local",
            "modified_ns": modified_ns, "settings": basis,
        }  # fmt: skip
        (row,) = seen.look([_row(base, number, True)])
        rows.append(row)
        name = f"shard-{shard:06d}"
        entry = index.IndexEntry(
            row["sample_key"], source.uid, 0, name, len(entries) * 1_000_000, 1_000_000, "0" * 64,
            24, row["fingerprint"], 1.0, "{}", row["sha256"], row["geometry"],
        )  # fmt: skip
        entries.append(entry)
        if len(entries) == _SAMPLES_PER_SHARD or number == count - 1:
            index.write_part(run, name, entries)
            (index.shard_dir(run) / f"{name}.tar").touch()
            entries, shard = [], shard + 1
        if len(rows) == _ROWS_PER_PART or number == count - 1:
            ledger.append(run, rows, part)
            rows, part = [], part + 1


class _Reached(BaseException):
    """The first asset is handed out."""


def restart_main(inputs: str, run: str) -> None:
    """Take a run up until there is a job to work on; print the seconds since the process began."""
    config = BuildConfig.load(None, SETTINGS)
    said: dict[str, float] = {}

    def first_job(jobs: Any, *_: Any) -> NoReturn:
        job = next(iter(jobs))
        said["restart_s"] = time.time() - psutil.Process().create_time()
        used = resource.getrusage(resource.RUSAGE_SELF)
        said["cpu_s"] = used.ru_utime + used.ru_stime
        said["memory_mb"] = psutil.Process().memory_info().rss / 2**20
        said["jobs_before_the_missing_one"] = float(int(job.source.file.stem))
        raise _Reached

    build_module.run_here = first_job  # type: ignore[assignment]
    with contextlib.suppress(_Reached):
        build([inputs], Path(run), config, Options())
    print(json.dumps(said))
