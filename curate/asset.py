"""The road of one asset: inspect, open, probe and judge each clip, render and encode the kept ones.

Everything lands in the asset's staging folder, clip by clip, each file whole or absent: a record
with the ledger row, and for a kept clip the finished sample. A worker that is killed loses the
clip it was at; the next one goes on from there.
"""

import json
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate import ledger
from curate.config import BuildConfig
from curate.inspect import ClipHeader, Inspection, inspect_file
from curate.motion import busiest_window, measure
from curate.rules import Decision, Facts, decide
from curate.sources import Source
from render.pack import pack
from render.paths import Frame, fit, sample_times
from render.runner import BlenderFault
from render.session import BlenderSession, RenderedClip, Unusable
from shards.config import digest_of
from shards.errors import AssetError
from shards.files import dump_json, write_atomic
from shards.sample import AssetMeta, ClipMeta, sample_key
from shards.write import StagedSample

_COARSE_STEP_S, _COARSE_MAX = 0.125, 128  # how finely a long clip is searched for its window

# One sentence per way in which Blender can fail, for the ledger's ``rule``.
_FAULT_RULES = {
    "crash": "blender_crashed",
    "timeout": "blender_timeout",
    "memory": "blender_memory",
    "load": "import_failed",
    "error": "blender_error",
}


@dataclass(frozen=True, slots=True)
class Job:
    """One asset to work on, and what is needed to judge whether old work still holds.

    Attributes:
        source: the input.
        config: all settings.
        versions: of everything that decides the bytes of a sample.
        staging: folder of this asset's results.
        finished: fingerprint of each sample of this asset that needs no rendering, because a
            committed or withdrawn shard holds it: such a clip is only judged again.
    """

    source: Source
    config: BuildConfig
    versions: Mapping[str, str]
    staging: Path
    finished: Mapping[str, str]

    def holds(self, key: str, fingerprint: str) -> bool:
        """Tell whether a sample is there, made from the same: in a shard, or staged."""
        staged = StagedSample(key, self.staging / f"{key}.tar")
        return fingerprint in (self.finished.get(key), staged.fingerprint())


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
    _complete(job, base, _Asset(job, session, base).rows())


def give_up(job: Job, reason: str) -> None:
    """Complete the staging folder of an asset that no worker survived, with one failed row."""
    base = _base(job)
    whole = {"clip_index": -1, "clip_name": "", "warnings": "[]"}
    _complete(job, base, [base | whole | _failure("worker", "worker_died", reason, "")])


def _base(job: Job) -> dict[str, Any]:
    size, modified_ns = stamp_of(job.source.file) or (None, None)
    job.staging.mkdir(parents=True, exist_ok=True)
    return {
        "uid": job.source.uid,
        "path": job.source.path,
        "source": "local",
        "bytes": size,
        "modified_ns": modified_ns,
        "format": job.source.file.suffix.lower().lstrip("."),
        "settings": basis_of(job.config, job.versions),
        "sample_key": "",
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

    def rows(self) -> list[dict[str, Any]]:
        """Return the asset's ledger rows, at least one."""
        try:
            _refuse_link_outside(self.job.source)
            inspection = inspect_file(self.job.source.file)
        except AssetError as error:
            return [self._whole(**_failure(error.stage, error.rule, str(error), error.detail))]
        self.base |= {
            "sha256": inspection.sha256,
            "licence": inspection.licence or "unknown",
            "attribution": inspection.attribution,
            "format": inspection.format,
            "vertices": inspection.vertices,
            "triangles": inspection.triangles,
            "companions": _companions(self.job.source.file.parent, inspection),
        }
        self.warnings += inspection.warnings
        if (reason := _nothing_to_do(inspection.clips, inspection.vertices)) is not None:
            return [self._whole(**_rejection("inspect", reason))]
        try:
            clips = self._open(inspection)
        except BlenderFault as fault:
            return [self._whole(**_fault_fields("load", fault))]
        except _Rejected as rejected:
            return [self._whole(**_rejection("load", rejected.decision))]
        return [self._clip_row(inspection, clip) for clip in clips]

    def _open(self, inspection: Inspection) -> list[ClipHeader]:
        durations = None
        if inspection.clips is not None:
            durations = [clip.duration_s for clip in inspection.clips]
        opened = self.session.open(self.job.source.file, inspection.format, durations)
        self.warnings += opened.warnings
        self.base |= {
            "load_s": opened.seconds,
            "vertices": opened.vertices,
            "triangles": opened.triangles,
        }
        clips = inspection.clips
        if clips is None:
            named = enumerate(opened.clips)
            clips = tuple(ClipHeader(i, clip.name, clip.duration_s) for i, clip in named)
        if (reason := _nothing_to_do(clips, opened.vertices)) is not None:
            raise _Rejected(reason)
        return list(clips)

    def _clip_row(self, inspection: Inspection, clip: ClipHeader) -> dict[str, Any]:
        """Judge one clip, or take the verdict that an interrupted run left."""
        record = self.job.staging / f"c{clip.index:03d}.json"
        old = _read_record(record, self.base)
        if (
            old
            and old["verdict"] == "kept"
            and not self.job.holds(old["sample_key"], old["fingerprint"])
        ):
            old = None
        row = old or self._base_row(clip) | self._judge(inspection, clip)
        if old is None:
            write_atomic(record, dump_json(row))
        self.kept += row["verdict"] == "kept"
        return row

    def _judge(self, inspection: Inspection, clip: ClipHeader) -> dict[str, Any]:
        limit = self.config.curate.clips.per_asset_max
        if limit is not None and self.kept >= limit:
            return _rejection("curate", _clip_limit(limit))
        road = _ClipRoad(self, inspection, clip)
        try:
            return road.run()
        except BlenderFault as fault:
            return road.fields | _fault_fields(road.stage, fault)
        except AssetError as error:
            return road.fields | _failure(error.stage, error.rule, str(error), error.detail)
        except Exception as error:  # one clip's data must not stop a run; the trace goes on record
            trace = traceback.format_exc(limit=-4)
            sentence = f"{type(error).__name__}: {error}"
            return road.fields | _failure(road.stage, "internal_error", sentence, trace)

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


class _ClipRoad:
    """One clip from its duration to its finished sample."""

    def __init__(self, asset: _Asset, inspection: Inspection, clip: ClipHeader) -> None:
        self.asset = asset
        self.job = asset.job
        self.inspection = inspection
        self.clip = clip
        self.session = asset.session
        self.config = asset.config
        self.fields: dict[str, Any] = {}  # what is measured so far; kept even when a fault ends it
        self.stage = "probe"

    def run(self) -> dict[str, Any]:
        """Return the row's fields from the verdict on."""
        facts = Facts(duration_s=self.clip.duration_s)
        if (decision := decide(facts, self.config.curate)) is not None:
            return _rejection("inspect", decision)
        started = time.monotonic()
        decision, window_s, frame = self._probe(facts)
        self.fields["probe_s"] = time.monotonic() - started
        if decision is not None or frame is None:
            assert decision is not None
            return self.fields | _rejection("probe", decision)
        return self.fields | self._make_sample(window_s, frame)

    def _probe(self, facts: Facts) -> tuple[Decision | None, tuple[float, float], Frame | None]:
        """Measure the clip and frame it; stop at the first rule that rejects."""
        geometry = self.config.curate.geometry
        window_s = self._window()
        frames = self.config.render.sequences.frames
        times_s = sample_times(*window_s, frames)
        probe = self.session.probe(
            self.clip.index, times_s, geometry.vertices_max, geometry.probe_points_max
        )
        self.fields |= {"window_start_s": window_s[0], "window_stop_s": window_s[1]}
        if isinstance(probe, Unusable):
            facts = Facts(self.clip.duration_s, vertices=probe.vertices)
            return decide(facts, self.config.curate), window_s, None
        self.fields |= {"vertices": probe.vertices, "triangles": probe.triangles}
        if not (np.isfinite(probe.points).all() and np.isfinite(probe.extremes).all()):
            raise AssetError(
                "the posed geometry holds NaN or infinite positions", rule="not_finite",
                stage="probe",
            )  # fmt: skip
        motion = measure(probe.points)
        self.fields |= {name: value for name, value in asdict(motion).items() if name != "size"}
        facts = Facts(self.clip.duration_s, probe.vertices, motion)
        if (decision := decide(facts, self.config.curate)) is not None:
            return decision, window_s, None
        outline = np.concatenate([probe.points, probe.extremes], axis=1)
        frame = fit(outline, self.config.render.sequences)
        self.fields["margin_px"] = frame.margin_px
        facts = Facts(self.clip.duration_s, probe.vertices, motion, frame.margin_px)
        return decide(facts, self.config.curate), window_s, frame

    def _window(self) -> tuple[float, float]:
        """Choose the stretch: the whole clip, or of a long one the part with the most motion."""
        duration_s, longest_s = self.clip.duration_s, self.config.curate.clips.window_max_s
        if duration_s <= longest_s:
            return 0.0, duration_s
        count = min(int(duration_s / _COARSE_STEP_S) + 1, _COARSE_MAX)
        times_s = np.linspace(0.0, duration_s, count)
        geometry = self.config.curate.geometry
        probe = self.session.probe(
            self.clip.index, times_s, geometry.vertices_max, geometry.probe_points_max
        )
        if isinstance(probe, Unusable) or not np.isfinite(probe.points).all():
            return 0.0, longest_s  # the fine probe reports what is wrong
        return busiest_window(probe.points, times_s, longest_s)

    def _make_sample(self, window_s: tuple[float, float], frame: Frame) -> dict[str, Any]:
        """Render, check and stage the sample, unless a committed one is the same."""
        key = sample_key(self.job.source.uid, self.clip.index)
        fingerprint = self._fingerprint(window_s)
        kept = {"verdict": "kept", "rule": "", "stage": "", "error": "", "log_tail": ""}
        kept |= {"sample_key": key, "fingerprint": fingerprint}
        if self.job.finished.get(key) == fingerprint:
            return kept
        self.stage = "render"
        rendered = self.session.render(
            self.job.source.uid, self.clip.index, window_s, frame, self.config.render,
            self.config.seed,
        )  # fmt: skip
        self.fields["render_s"] = rendered.seconds
        if (decision := _blank(rendered)) is not None:
            return _rejection("render", decision)
        started = time.monotonic()
        clip = ClipMeta(
            index=self.clip.index,
            name=self.clip.name,
            duration_s=self.clip.duration_s,
            window_start_s=window_s[0],
            window_stop_s=window_s[1],
        )
        base = self.asset.base
        asset = AssetMeta(**{name: base[name] for name in AssetMeta.model_fields})
        extras = {
            "scores": {name: self.fields[name] for name in ledger.SCORES if name in self.fields},
            "warnings": tuple(self.asset.warnings),
            "versions": dict(self.job.versions),
            "fingerprint": fingerprint,
        }
        meta, run = pack(asset, clip, frame, rendered, extras)
        write_atomic(self.job.staging / f"{key}.tar", run)
        self.fields["encode_s"] = time.monotonic() - started
        magnitude = meta.motion_magnitude
        self.fields["motion_magnitude"] = magnitude.pixel_sum if magnitude else None
        return kept

    def _fingerprint(self, window_s: tuple[float, float]) -> str:
        """Hash all that the sample's bytes rest on."""
        return digest_of(
            {
                "asset": [self.inspection.sha256, *map(list, self.inspection.companions)],
                "clip": self.clip.index,
                "window_s": window_s,
                "seed": self.config.seed,
                "points": self.config.curate.geometry.probe_points_max,  # the frame rests on them
                "render": self.config.render.model_dump(mode="json"),
                "versions": dict(self.job.versions),
            }
        )


def _refuse_link_outside(source: Source) -> None:
    target = Path(os.path.realpath(source.file))
    if not target.is_relative_to(source.root):
        raise AssetError(
            f"{source.path} is a link that leads out of its input folder; "
            "put the file itself there, or give a folder that holds both",
            rule="path_traversal", stage="source", detail=str(target),
        )  # fmt: skip


def _companions(folder: Path, inspection: Inspection) -> str:
    """List the files that an asset consists of beside its main file, each with its stamp."""
    names = [name for name, _ in inspection.companions]
    return json.dumps([[name, *(stamp_of(folder / name) or (None, None))] for name in names])


class _Rejected(Exception):
    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.sentence)
        self.decision = decision


def _nothing_to_do(clips: tuple[ClipHeader, ...] | None, vertices: int | None) -> Decision | None:
    """Reject a whole asset that has no animation or nothing to see."""
    if clips is not None and not clips:
        return Decision("no_clips", 0, 1, "clips", "the file holds no animation")
    if vertices == 0:
        return Decision("no_mesh", 0, 1, "vertices", "the file holds no visible geometry")
    return None


def _clip_limit(limit: int) -> Decision:
    return Decision(
        "clip_limit", limit, limit, "kept clips",
        f"{limit} earlier clips of this asset are kept already; not looked at",
    )  # fmt: skip


def _blank(rendered: RenderedClip) -> Decision | None:
    """Reject a clip of which most images show nothing, as with a material that is all clear."""
    images = [image for frames in rendered.images.values() for image in frames]
    share = float(np.mean([not image[..., 3].any() for image in images]))
    if share <= 0.5:
        return None
    return Decision(
        "blank_images", share, 0.5, "share of images", f"{share:.0%} of the images show nothing"
    )


def _rejection(stage: str, decision: Decision) -> dict[str, Any]:
    return {
        "verdict": "rejected",
        "rule": decision.rule,
        "value": float(decision.value),
        "limit": float(decision.limit),
        "unit": decision.unit,
        "stage": stage,
        "error": decision.sentence,
        "log_tail": "",
    }


def _failure(stage: str, rule: str, sentence: str, log_tail: str) -> dict[str, Any]:
    return {
        "verdict": "failed",
        "rule": rule,
        "stage": stage,
        "error": sentence,
        "log_tail": log_tail,
    }


def _fault_fields(stage: str, fault: BlenderFault) -> dict[str, Any]:
    return _failure(stage, _FAULT_RULES[fault.kind], fault.message, fault.log_tail)


def _read_record(path: Path, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a clip's record if it was made from the same file with the same settings."""
    if not path.exists():
        return None
    row = json.loads(path.read_bytes())
    same = all(row.get(name) == base.get(name) for name in ("settings", "sha256", "companions"))
    return row if same else None
