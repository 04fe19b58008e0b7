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
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate import asset_rules
from curate.clip import ClipRoad, Job
from curate.config import BuildConfig
from curate.duplicates import Seen, is_candidate
from curate.facts import AssetFacts, Decision, Facts
from curate.fetch import fetched
from curate.inspect import ClipHeader, Inspection, inspect_file
from curate.retry import command_alone, persist
from curate.rows import failure, fault_fields, rejection, untried
from curate.sources import Source
from curate.view import AssetView
from render.runner import BlenderFault
from render.session import BlenderSession, OpenedAsset
from shards.config import digest_of
from shards.errors import AssetError
from shards.files import dump_json, write_atomic
from shards.sample import AssetMeta
from shards.tombstones import content_name

_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
)  # fmt: skip
_WHOLE = {"clip_index": -1, "clip_name": "", "warnings": "[]"}  # a row about no clip
_TAKEN_DOWN = Decision("taken_down", 1, 0, "lists", "the run's tombstones.json has it")
_COPY_TAKEN_DOWN = Decision(
    "taken_down", 1, 0, "lists", "the run's tombstones.json has an asset of the same bytes"
)
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
    return staging / "asset.json"


def basis_of(config: BuildConfig, versions: Mapping[str, str]) -> str:
    """Digest what verdicts and samples rest on beside the asset: settings and versions."""
    deciding = config.model_dump(mode="json", include={"seed", "curate", "render"})
    return digest_of({"config": deciding, "versions": dict(versions)})


def process(job: Job, session: BlenderSession) -> None:
    """Bring one asset's staging folder to completion."""
    base = _base(job)
    if job.source.refusal:
        _complete(job, base, [base | _WHOLE | rejection("source", _refusal(job.source))])
        return
    if (reason := _unwanted(job)) is not None:
        _complete(job, base, [base | _WHOLE | rejection("source", reason)])
        return
    with contextlib.ExitStack() as until_done:
        try:
            source = until_done.enter_context(fetched(job.source, job.config.fetch))
        except AssetError as error:
            failed = failure(error.stage, error.rule, str(error), error.detail)
            _complete(job, base, [base | _WHOLE | failed])
            return
        if source.remote is not None:
            base["bytes"] = source.file.stat().st_size
        _complete(job, base, _Asset(replace(job, source=source), session, base).rows())


def give_up(job: Job, reason: str, log_tail: str = "") -> None:
    """Complete the staging folder of an asset that no worker survived, with one failed row."""
    base = _base(job)
    alone = command_alone(job.source, 0, job.staging.parents[1])
    failed = failure("worker", "worker_died", reason, log_tail) | {"reproduce": alone}
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
        **source.about.fields(),
    }


def _complete(job: Job, base: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    document = {"settings": base["settings"], "rows": rows}
    write_atomic(done_file(job.staging), dump_json(document))


class _Asset:
    """The state of one asset on its road."""

    def __init__(self, job: Job, session: BlenderSession, base: dict[str, Any]) -> None:
        self.job = job
        self.session = session
        self.base = base
        self.config = job.config
        self.warnings: list[str] = []
        self.kept = 0
        self.seen = Seen(job.config.curate.copies())  # of this asset alone
        self.crashed = 0  # clips that crashed Blender each time

    def rows(self) -> list[dict[str, Any]]:
        """Return the asset's ledger rows, at least one."""
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
            return [self._whole(**rejection("source", _COPY_TAKEN_DOWN))]
        if (reason := _nothing_to_do(inspection.clips, inspection.vertices)) is not None:
            return [self._whole(**rejection("inspect", reason))]
        try:
            view = AssetView(self.job.source, inspection, self.session)
        except BlenderFault as fault:
            return [self._whole(**fault_fields("load", fault, self._alone(0)))]
        except AssetError as error:
            return [self._whole(**failure("load", error.rule, str(error), error.detail))]
        self.warnings = view.warnings
        self.base |= {"vertices": view.vertices, "triangles": view.triangles}
        try:
            triangles_max = self.config.curate.geometry.triangles_max
            self.base |= persist(lambda: view.survey(triangles_max), self.config.limits.retry)
        except BlenderFault as fault:
            return [self._whole(**fault_fields("load", fault, self._alone(0)))]
        if view.opened is not None:
            self.warnings = [*view.warnings, *view.opened.warnings]
            self.base["load_s"] = view.opened.seconds
        if (reason := _nothing_to_do(view.clips, view.vertices, view.opened)) is not None:
            return [self._whole(**rejection("load", reason))]
        self.seen.enter([self.base])
        return self._clip_rows(view)

    def _clip_rows(self, view: AssetView) -> list[dict[str, Any]]:
        only = self.job.only
        if chosen := [clip for clip in view.clips if only is None or clip.index == only]:
            return [self._clip_row(view, clip) for clip in chosen]
        sentence = f"has no clip {only}; its {len(view.clips)} clips count from 0"
        return [self._whole(**failure("source", "no_such_clip", sentence, ""))]

    def _alone(self, clip_index: int) -> str:
        return command_alone(self.job.source, clip_index, self.job.staging.parents[1])

    def _clip_row(self, view: AssetView, clip: ClipHeader) -> dict[str, Any]:
        """Judge one clip, or take the verdict that an interrupted run left."""
        record = self.job.staging / f"c{clip.index:03d}.json"
        old = _read_record(record, self.base)
        if old and not self.job.stands(old):
            old = None
        row = old or self._base_row(clip) | self._judge(view, clip)
        if old is None:
            write_atomic(record, dump_json(row))
        self.kept += row["verdict"] == "kept"
        self.crashed += row["rule"] == "blender_crashed"
        if is_candidate(row):
            self.seen.keep(row)
        return row

    def _judge(self, view: AssetView, clip: ClipHeader) -> dict[str, Any]:
        limit = self.config.curate.clips.per_asset_max
        known = AssetMeta.model_fields.keys() & self.base.keys()
        about = AssetMeta(**{name: self.base[name] for name in known})
        asset = AssetFacts.of(self.base)
        road = ClipRoad(self.job, self.session, view, clip, about, asset)

        def again() -> dict[str, Any]:
            nonlocal road
            road = ClipRoad(self.job, self.session, view, clip, about, asset)
            return road.run(lambda found: self.seen.judge(self._base_row(clip) | found))

        retry = self.config.limits.retry
        try:
            if self.job.is_taken_down(clip.index, self.base["sha256"]):
                return persist(road.score, retry) | rejection("curate", _TAKEN_DOWN)
            if limit is not None and self.kept >= limit:
                return persist(road.score, retry) | rejection("curate", _clip_limit(limit))
            if self.crashed >= retry.crashed_clips_max:
                return untried(self.crashed, self._alone(clip.index))
            return persist(again, retry)
        except BlenderFault as fault:
            return road.fields | fault_fields(road.stage, fault, self._alone(clip.index))
        except AssetError as error:
            return road.fields | failure(error.stage, error.rule, str(error), error.detail)
        except OSError as error:
            if of_machine(error, self.job.staging):
                raise
            return road.fields | _unexpected(road.stage, error)
        except Exception as error:  # one clip's data must not stop a run; the trace goes on record
            return road.fields | _unexpected(road.stage, error)

    def _base_row(self, clip: ClipHeader) -> dict[str, Any]:
        return self.base | {
            "clip_index": clip.index,
            "clip_name": clip.name,
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


def _refusal(source: Source) -> Decision:
    if source.refusal == "taken_down":
        return _TAKEN_DOWN
    if source.refusal == "denied":
        return Decision("denied", 1, 0, "lists", "a deny list has this asset")
    return Decision("not_allowed", 0, 1, "lists", "no allow list has this asset")


def _unwanted(job: Job) -> Decision | None:
    """Reject by what the source says of rights, before anything is fetched for it."""
    about, config = job.source.about, job.config.curate
    if config.score_only:
        return None
    said = AssetFacts(licence=about.licence or None, tags=";".join(about.tags))
    facts = Facts(0.0, asset=said)
    return asset_rules.licence(facts, config) or asset_rules.denied_tag(facts, config)


def _nothing_to_do(
    clips: tuple[ClipHeader, ...] | None, vertices: int | None, opened: OpenedAsset | None = None
) -> Decision | None:
    """Reject a whole asset that has no animation or nothing to see."""
    if clips is not None and not clips:
        if opened is not None and opened.camera_actions:
            found = f"{opened.camera_actions} actions change cameras or lights, and nothing else"
            return Decision("camera_light_only", 0, 1, "clips", found)
        return Decision("no_clips", 0, 1, "clips", "the file holds no animation")
    if vertices == 0:
        return Decision("no_mesh", 0, 1, "vertices", "the file holds no visible geometry")
    return None


def _clip_limit(limit: int) -> Decision:
    return Decision(
        "clip_limit", limit, limit, "kept clips",
        f"{limit} earlier clips of this asset are kept already; scored, not rendered",
    )  # fmt: skip


def _read_record(path: Path, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a clip's record if it was made from the same file with the same settings."""
    if not path.exists():
        return None
    row = json.loads(path.read_bytes())
    same = all(row.get(name) == base.get(name) for name in _RECORD_RESTS_ON)
    return row if same else None
