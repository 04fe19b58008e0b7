"""The road of one asset: fetch, inspect, pose and judge each clip, render and encode the kept ones.

Everything lands in the asset's staging folder, clip by clip, each file whole or absent: a record
with the ledger row, and for a kept clip the finished sample. A worker that is killed loses the
clip it was at; the next one goes on from there.
"""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate import refusals
from curate.clip import ClipRoad
from curate.config import BuildConfig
from curate.duplicates import Seen, is_candidate
from curate.facts import AssetFacts
from curate.fetch import fetched
from curate.inspect import ClipHeader, Inspection, inspect_file
from curate.job import HandOver, Job, Measured
from curate.retry import command_alone, persist
from curate.rows import failure, fault_fields, rejection, untried
from curate.sources import Source
from curate.stage import DONE, Document, Stage, sizes_of, staging
from curate.view import AssetView
from render.runner import BlenderFault
from render.session import BlenderSession
from shards.config import digest_of
from shards.errors import AssetError
from shards.files import dump_json, full_disks_named, write_atomic
from shards.sample import AssetMeta
from shards.tombstones import content_name

_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
)  # fmt: skip
_WHOLE = {"clip_index": -1, "clip_name": "", "warnings": "[]"}  # a row about no clip
_RECORD_RESTS_ON = (
    "settings", "sha256", "companions", "stamp", "licence", "attribution", "name", "tags",
)  # fmt: skip


def stamp_of(file: Path) -> tuple[int, int] | None:
    """Return a file's size and time of change in ns, to notice changes without reading it."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def done_file(staging: Path) -> Path:
    """Name the file that says that an asset's staging folder is complete."""
    return staging / DONE


def basis_of(config: BuildConfig, versions: Mapping[str, str]) -> str:
    """Digest what verdicts and samples rest on beside the asset: settings and versions."""
    deciding = config.model_dump(mode="json", include={"seed", "curate", "render"})
    return digest_of({"config": deciding, "versions": dict(versions)})


def process(job: Job, session: BlenderSession) -> HandOver | Document:
    """Bring one asset's staging folder to completion.

    Returns:
        What its ``asset.json`` says. Or what the worker that renders goes on from, where the job
        is to curate only and there is something to render; then nothing is complete yet.
    """
    with staging(job) as stage:
        return _process(job, session, stage)


def _process(job: Job, session: BlenderSession, stage: Stage) -> HandOver | Document:
    base = _base(job)
    if job.source.refusal:
        whole = base | _WHOLE | rejection("source", refusals.refusal(job.source))
        return _complete(job, base, [whole])
    if (reason := refusals.unwanted(job)) is not None:
        return _complete(job, base, [base | _WHOLE | rejection("source", reason)])
    with contextlib.ExitStack() as until_done:
        started = time.monotonic()
        try:
            source = until_done.enter_context(fetched(job.source, job.config.fetch))
        except AssetError as error:
            failed = failure(error.stage, error.rule, str(error), error.detail)
            spent = {"fetch_s": time.monotonic() - started}
            return _complete(job, base, [base | _WHOLE | failed | spent])
        fetch_s = None if source.remote is None else time.monotonic() - started
        if source.remote is not None:
            base["bytes"] = source.file.stat().st_size
        asset = _Asset(replace(job, source=source), session, base, stage)
        rows = asset.rows()
        spent = asset.spent if fetch_s is None else {"fetch_s": fetch_s} | asset.spent
        if asset.handed is not None:
            return replace(asset.handed, spent=spent)
        rows[0] |= {"fetch_s": None} | spent  # of this worker, and of one that curated
        rows[0] |= {n: s + (rows[0].get(n) or 0.0) for n, s in job.handed.spent.items()}
        return _complete(job, base, rows)


def give_up(job: Job, reason: str, log_tail: str = "") -> None:
    """Complete the staging folder of an asset that no worker survived, with one failed row."""
    base = _base(job)
    failed = failure("worker", "worker_died", reason, log_tail)
    _complete(job, base, [base | _WHOLE | failed])


def crash_file(staging: Path) -> Path:
    """Name the file that a worker's interpreter writes its stacks into when a signal ends it."""
    return staging / "crash.log"


def _base(job: Job) -> dict[str, Any]:
    source = job.source
    here = None if source.remote is not None else stamp_of(source.file)
    size, modified_ns = here or (None, None)
    job.staging.mkdir(parents=True, exist_ok=True)
    return {
        "uid": source.uid,
        "path": source.path,
        "source": source.about.source,
        "stamp": source.stamp,
        "bytes": size,
        "modified_ns": modified_ns,
        "format": source.file.suffix.lower().lstrip("."),
        "settings": basis_of(job.config, job.versions),
        "sample_key": "",
        "reproduce": command_alone(source, -1, job.run),
        **source.about.fields(),
    }


def _complete(job: Job, base: dict[str, Any], rows: list[dict[str, Any]]) -> Document:
    document = {"settings": base["settings"], "rows": rows, "sizes": sizes_of(job.staging)}
    write_atomic(done_file(job.staging), dump_json(document))
    return document


class _Asset:
    """The state of one asset on its road."""

    def __init__(
        self, job: Job, session: BlenderSession, base: dict[str, Any], stage: Stage
    ) -> None:
        self.job = job
        self.stage = stage
        self.session = session
        self.base = base
        self.config = job.config
        self.warnings: list[str] = []
        self.kept = 0
        self.seen = Seen(job.config.curate.copies())  # of this asset alone
        self.crashed = 0  # clips that crashed Blender each time
        self.handed: HandOver | None = None  # to the worker that renders
        self.spent: dict[str, float] = {}  # seconds, on the asset as a whole

    def rows(self) -> list[dict[str, Any]]:
        """Return the asset's ledger rows, at least one."""
        started = time.monotonic()
        view = self._open()
        load_s = 0.0
        if isinstance(view, AssetView) and view.opened is not None:
            load_s = self.spent["load_s"] = view.opened.seconds
        self.spent["inspect_s"] = time.monotonic() - started - load_s
        return self._clip_rows(view) if isinstance(view, AssetView) else view

    def _open(self) -> "AssetView | list[dict[str, Any]]":
        """Look at the asset at rest; return it, or the row that ends it."""
        try:
            _refuse_link_outside(self.job.source)
            inspection = inspect_file(self.job.source.file)
        except AssetError as error:
            return [self._whole(**failure(error.stage, error.rule, str(error), error.detail))]
        announced = self.job.source.sha256
        if announced and announced != inspection.sha256:
            sentence = f"sha256 {inspection.sha256}, announced was {announced}; get the file again"
            return [self._whole(**failure("source", "hash_mismatch", sentence, ""))]
        about = self.job.source.about
        self.base |= {
            "sha256": inspection.sha256,
            "licence": about.licence or inspection.licence or "unknown",
            "attribution": about.attribution or inspection.attribution,
            "format": inspection.format,
            "vertices": inspection.vertices,
            "triangles": inspection.triangles,
            "companions": _companions(self.job.source, inspection),
            "content": _content(inspection),
            "missing_textures": inspection.missing_images,
        }
        self.warnings = list(inspection.warnings)
        if content_name(inspection.sha256) in self.job.taken_down:
            return [self._whole(**rejection("source", refusals.COPY_TAKEN_DOWN))]
        if (reason := refusals.nothing_to_do(inspection.clips, inspection.vertices)) is not None:
            return [self._whole(**rejection("inspect", reason))]
        try:
            view = AssetView(self.job.source, inspection, self.session)
        except BlenderFault as fault:
            return [self._whole(**fault_fields("load", fault))]
        except AssetError as error:
            return [self._whole(**failure("load", error.rule, str(error), error.detail))]
        self.warnings = view.warnings
        self.base |= {"vertices": view.vertices, "triangles": view.triangles}
        try:
            triangles_max = self.config.curate.geometry.triangles_max
            self.base |= persist(lambda: view.survey(triangles_max), self.config.limits.retry)
        except BlenderFault as fault:
            return [self._whole(**fault_fields("load", fault))]
        if view.opened is not None:
            self.warnings = [*view.warnings, *view.opened.warnings]
        if (reason := refusals.nothing_to_do(view.clips, view.vertices, view.opened)) is not None:
            return [self._whole(**rejection("load", reason))]
        self.seen.enter([self.base])
        return view

    def _clip_rows(self, view: AssetView) -> list[dict[str, Any]]:
        only = self.job.only
        if chosen := [clip for clip in view.clips if only is None or clip.index == only]:
            if self.job.curate_only and (handed := self._measure(view, chosen)) is not None:
                self.handed = handed
                return []
            return [self._clip_row(view, clip) for clip in chosen]
        sentence = f"has no clip {only}; its {len(view.clips)} clips count from 0"
        return [self._whole(**failure("source", "no_such_clip", sentence, ""))]

    def _measure(self, view: AssetView, clips: list[ClipHeader]) -> HandOver | None:
        """Measure all clips; None: there is none to render.

        What measuring a clip fails at is its end. What passes is judged on by the worker that
        renders: how many clips are kept, and which of them are copies, is not known before.
        """
        measured: dict[int, Measured] = {}
        rows: dict[int, dict[str, Any]] = {}
        retry = self.config.limits.retry
        for clip in clips:
            if self._old_row(clip) is not None:
                continue
            roads = [self._road(view, clip)]

            def tried(clip: ClipHeader = clip, roads: list[ClipRoad] = roads) -> dict[str, Any]:
                roads.append(self._road(view, clip))
                if (found := roads[-1].measure()) is not None:
                    measured[clip.index] = found
                return {}

            if failed := self._caught(clip, roads, lambda tried=tried: persist(tried, retry)):
                rows[clip.index] = self._base_row(clip) | failed
        handed = HandOver(self.base["sha256"], measured, rows)
        self.job = replace(self.job, handed=handed)
        passing = any(found.decision is None for found in measured.values())
        return handed if passing and not self.config.curate.score_only else None

    def _old_row(self, clip: ClipHeader) -> dict[str, Any] | None:
        """Return the verdict that an interrupted run, or the worker that curated, left."""
        old = _read_record(self._record(clip), self.base)
        if old is None:
            old = self.job.handed.of(self.base["sha256"]).rows.get(clip.index)
        return old if old and self.job.stands(old) else None

    def _record(self, clip: ClipHeader) -> Path:
        return self.job.staging / f"c{clip.index:03d}.json"

    def _clip_row(self, view: AssetView, clip: ClipHeader) -> dict[str, Any]:
        """Judge one clip, or take the verdict that is there already."""
        record = self._record(clip)
        old = self._old_row(clip)
        row = old or self._base_row(clip) | self._judge(view, clip)
        if old is None or not record.exists():
            write_atomic(record, dump_json(row))
            self.stage.push()
        self.kept += row["verdict"] == "kept"
        self.crashed += row["rule"] == "blender_crashed"
        if is_candidate(row):
            self.seen.keep(row)
        return row

    def _road(self, view: AssetView, clip: ClipHeader) -> ClipRoad:
        known = AssetMeta.model_fields.keys() & self.base.keys()
        about = AssetMeta(**{name: self.base[name] for name in known})
        return ClipRoad(self.job, self.session, view, clip, about, AssetFacts.of(self.base))

    def _judge(self, view: AssetView, clip: ClipHeader) -> dict[str, Any]:
        limit, retry = self.config.curate.clips.per_asset_max, self.config.limits.retry
        roads = [self._road(view, clip)]

        def again() -> dict[str, Any]:
            roads.append(self._road(view, clip))
            return roads[-1].run(lambda found: self.seen.judge(self._base_row(clip) | found))

        def judged() -> dict[str, Any]:
            if self.job.is_taken_down(clip.index, self.base["sha256"]):
                return persist(roads[0].score, retry) | rejection("curate", refusals.TAKEN_DOWN)
            if limit is not None and self.kept >= limit:
                return persist(roads[0].score, retry) | rejection(
                    "curate", refusals.clip_limit(limit)
                )
            if self.crashed >= retry.crashed_clips_max:
                return untried(self.crashed)
            return persist(again, retry)

        return self._caught(clip, roads, judged)

    def _caught(
        self, clip: ClipHeader, roads: list[ClipRoad], work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return what work returns; what it fails at becomes the fields of a failed row.

        Args:
            clip: the clip.
            roads: the last one is what was tried.
            work: what is done.
        """
        try:
            with full_disks_named(self.job.staging, Path(tempfile.gettempdir())):
                return work()
        except BlenderFault as fault:
            road = roads[-1]
            return road.fields | fault_fields(road.stage, fault)
        except AssetError as error:
            return roads[-1].fields | failure(error.stage, error.rule, str(error), error.detail)
        except OSError as error:
            if of_machine(error, self.job.staging):
                raise
            return roads[-1].fields | _unexpected(roads[-1].stage, error)
        except Exception as error:  # one clip's data must not stop a run; the trace goes on record
            return roads[-1].fields | _unexpected(roads[-1].stage, error)

    def _base_row(self, clip: ClipHeader) -> dict[str, Any]:
        return self.base | {
            "clip_index": clip.index,
            "clip_name": clip.name,
            "reproduce": command_alone(self.job.source, clip.index, self.job.run),
            "duration_s": clip.duration_s,
            "warnings": json.dumps(self.warnings),
        }

    def _whole(self, **fields: Any) -> dict[str, Any]:
        """Make the row of an asset that has no clip to speak of."""
        return (
            self.base
            | {"clip_index": -1, "clip_name": "", "warnings": json.dumps(self.warnings)}
            | fields
        )


def _unexpected(stage: str, error: Exception) -> dict[str, Any]:
    trace = traceback.format_exc(limit=-4)
    return failure(stage, "internal_error", f"{type(error).__name__}: {error}", trace)


def of_machine(error: OSError, staging: Path) -> bool:
    """Tell whether an error is about the disk or the output, not about the asset's own files."""
    return error.errno in _MACHINE or str(error.filename or "").startswith(str(staging))


def _refuse_link_outside(source: Source) -> None:
    target = Path(os.path.realpath(source.file))
    if not target.is_relative_to(source.root):
        raise AssetError(
            f"{source.path} is a link that leads out of its input folder; "
            "put the file itself there, or give a folder that holds both",
            rule="path_traversal", stage="source", detail=str(target),
        )  # fmt: skip


def _companions(source: Source, inspection: Inspection) -> str:
    """List the files that an asset consists of beside its main file, each with its stamp."""
    stamps: list[list[Any]] = []
    for name, _ in inspection.companions:
        size, modified_ns = stamp_of(source.file.parent / name) or (None, None)
        # the time of a download says nothing
        stamps.append([name, size, None if source.remote is not None else modified_ns])
    return json.dumps(stamps)


def _content(inspection: Inspection) -> str:
    """Hash an asset as a whole: equal main files may come with other textures."""
    if not inspection.companions:
        return inspection.sha256
    hashes = [inspection.sha256, *(sha256 for _, sha256 in inspection.companions)]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _read_record(path: Path, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a clip's record if it was made from the same file with the same settings."""
    if not path.exists():
        return None
    row = json.loads(path.read_bytes())
    same = all(row.get(name) == base.get(name) for name in _RECORD_RESTS_ON)
    return row if same else None
