"""A RUN folder as a state: what is settled, what is staged, what still has to be done.

    run.json  ledger/  shards/  index/  index.parquet  index.json  report/  logs/
    staging/UID/      one asset's finished clips, until they are packed and entered
    staging/.withdrawn/  samples of shards that were taken back, until they are packed again

Whatever is killed when, the next run finds one of these states for every asset and goes on.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from curate import ledger
from curate.asset import basis_of, done_file, stamp_of
from curate.changes import changes
from curate.compact import compact
from curate.config import BuildConfig
from curate.records import Records
from curate.sources import REFUSALS, Source
from curate.stage import Document
from render.lights import light_file
from shards.errors import RunError
from shards.files import clear_temporaries, dump_json, sha256_of, write_atomic
from shards.sample import SCHEMA_VERSION, sample_key
from shards.store import LocalStore
from shards.tombstones import content_name, is_content, is_named, read_tombstones
from shards.write import ShardWriter, StagedSample

Unsettled = Literal["", "new", "settings", "said", "retry", "files", "takedown", "samples"]


def versions() -> dict[str, str]:
    """Name the versions that decide the bytes of a sample."""
    return {
        "orbit4d": metadata.version("orbit4d"),
        "bpy": metadata.version("bpy"),
        "schema": str(SCHEMA_VERSION),
    }


def _light_version(config: BuildConfig) -> dict[str, str]:
    """Digest the environment image, which the settings name without saying what it holds."""
    path = light_file(config.render.lights)
    return {} if path is None else {"light_file": sha256_of(path)[:16]}


class RunFolder:
    """One RUN folder, open for one build at a time."""

    def __init__(
        self, path: Path, config: BuildConfig, *, update: bool, retry_failed: bool
    ) -> None:
        """Lock the folder and read its state; nothing in it changes but leftovers go.

        Raises:
            RunError: another build has it, it was made with other settings and ``update`` is not
                given, or it cannot be written.
        """
        self.path = path
        self.config = config
        self.versions = versions() | _light_version(config)
        self.commit = _commit()
        self.basis = basis_of(config, self.versions)
        self.retry_failed = retry_failed
        try:
            for name in ("staging", "logs", "report"):
                (path / name).mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock()
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            self._check_settings(update)
            self._read_state()
        except BaseException:
            self.close()
            raise

    def _read_state(self) -> None:
        for folder in (self.path, self.withdrawn()):
            clear_temporaries(folder)
        ledger.recover(self.path)
        self.writer = self._open_writer()
        self._tombstones = frozenset(read_tombstones(LocalStore(self.path)))
        self._of_bytes = frozenset(filter(is_content, self._tombstones))
        self._of_assets: dict[str, list[str]] = defaultdict(list)
        for name in self._tombstones:
            self._of_assets[uid_of(name)].append(name)
        self._records = Records()
        self._records.read_ledger(self.path)
        self._records.read_samples(self.writer.keys)
        self._survivors: list[StagedSample] = []
        for file in sorted(self.withdrawn().glob("*.tar")):
            sample = self.writer.taken_back(file)
            if sample.key in self.writer.keys:  # the shard is still there, or there again
                self.drop([sample])
            else:
                self._survivors.append(sample)
                self._records.add_sample(uid_of(sample.key), sample.key, sample.fingerprint())

    @property
    def name(self) -> str:
        """What people know the RUN by: its folder, or its URL."""
        return str(self.path)

    def _open_writer(self) -> ShardWriter:
        return ShardWriter(self.path, int(self.config.shards.target_mb * 2**20))

    def begin(self) -> None:
        """Put on record with which settings the folder is worked on from now on."""
        document = self._document() | {"counts": {}, "complete": False}
        write_atomic(self.path / "run.json", dump_json(document))

    def staging(self, source: Source) -> Path:
        """Name the staging folder of an asset."""
        return self.path / "staging" / source.uid

    def withdrawn(self) -> Path:
        """Name the folder of samples whose shard was taken back."""
        return self.path / "staging" / ".withdrawn"

    def committed(self, uid: str) -> Mapping[str, str]:
        """Return key -> fingerprint of an asset's samples, as found when the folder was opened.

        They lie in committed shards, or were in one that was withdrawn and wait for another.
        """
        return self._records.samples(uid)

    def taken_down(self, key: str, sha256: str | None = None) -> bool:
        """Tell whether a sample was taken down; then it is neither rendered nor packed again.

        Args:
            key: of the sample.
            sha256: of its asset's file, where copies of the same bytes are asked about too.
        """
        if not self._tombstones:
            return False
        if is_named(key, self._tombstones):
            return True
        return bool(sha256) and is_named(content_name(sha256 or "", key), self._tombstones)

    def names_taken_down(self, uid: str) -> frozenset[str]:
        """List what bars clips of an asset: their own names, and everything named by its bytes."""
        return self._of_bytes.union(self._of_assets.get(uid, ()))

    def barred(self, source: Source) -> Source:
        """Refuse an asset that was taken down as a whole: it is not even fetched again."""
        if not self._tombstones or source.refusal:
            return source
        names = {source.uid, content_name(source.sha256)}
        return (
            source if names.isdisjoint(self._tombstones) else replace(source, refusal="taken_down")
        )

    def settled_rows(self, source: Source) -> list[dict[str, Any]] | None:
        """Return an asset's ledger rows if nothing has to be done for it; see ``known_rows``."""
        rows, reason = self.known_rows(source)
        return None if reason else rows

    def known_rows(self, source: Source) -> tuple[list[dict[str, Any]], Unsettled]:
        """Return ``records.COLUMNS`` of an asset's ledger rows, and why they do not settle it.

        They do, with an empty string, if they stand, and its samples are exactly those that they
        tell of. What was taken down does not count: its bytes may be there still, or be gone since
        shards were compacted.
        """
        rows = self._records.rows(source.uid)
        if not rows:
            return rows, "new"
        if (change := self._change(source, rows)) or any(map(self._is_restored, rows)):
            return rows, change or "takedown"
        there = self._standing(self.committed(source.uid))
        return rows, "" if self._standing(kept_samples(rows)) == there else "samples"

    def bring_near(self, sources: Sequence[Source]) -> None:
        """Look up the rows of some assets together, which are asked for next."""
        self._records.bring_near([source.uid for source in sources])

    def entered_rows(self, uid: str, *, whole: bool) -> list[dict[str, Any]]:
        """Return an asset's ledger rows: whole, or ``records.COLUMNS`` of them."""
        return self._records.whole_rows(uid) if whole else self._records.rows(uid)

    def begun(self) -> set[str]:
        """Name the assets that have a staging folder; those of a window and of a few shards."""
        return set(os.listdir(self.path / "staging"))

    def staged_rows(self, source: Source) -> list[dict[str, Any]] | None:
        """Return the rows of an asset that an earlier run finished but did not enter."""
        if not done_file(self.staging(source)).exists():
            return None
        rows = self.finished_rows(source)
        there = all(self._has_sample(source, *item) for item in kept_samples(rows).items())
        return rows if there and not self._change(source, rows) else None

    def finished_rows(
        self, source: Source, document: Document | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of an asset that was just completed; its worker returned ``document``."""
        if document is None:
            document = json.loads(done_file(self.staging(source)).read_bytes())
        assert document is not None
        return document["rows"]

    def reopen(self, source: Source) -> None:
        """Declare an asset's staging folder unfinished; clips that still hold stay in it."""
        done_file(self.staging(source)).unlink(missing_ok=True)
        if self.retry_failed:
            for record in self.staging(source).glob("c*.json"):
                if json.loads(record.read_bytes())["verdict"] == "failed":
                    record.unlink()

    def staged(self, source: Source, key: str) -> StagedSample:
        """Name a sample that an asset's staging folder holds."""
        return StagedSample(key, self.staging(source) / f"{key}.tar")

    def enter(self, rows: list[dict[str, Any]]) -> None:
        """Put rows on record whose samples are committed."""
        ledger.append(self.path, rows, ledger.next_number(self.path))

    def drop(self, samples: Iterable[StagedSample]) -> None:
        """Remove staged samples that are committed, or that do not stand any more."""
        for sample in samples:
            sample.path.unlink(missing_ok=True)

    def discard(self, uid: str) -> None:
        """Remove an asset's staging folder with all that is in it."""
        shutil.rmtree(self.path / "staging" / uid, ignore_errors=True)

    def survivors(self) -> list[StagedSample]:
        """List samples of withdrawn shards that still have to be packed."""
        return list(self._survivors)

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Write the merged index, the compacted ledger and ``run.json``.

        Staged work on assets that were no input this time stays for a run that has them again.
        """
        self.writer.finish()
        compact(self.path)
        for folder in (self.withdrawn(), self.path / "staging"):
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()
        document = self._document() | {"counts": dict(counts), "complete": True}
        write_atomic(self.path / "run.json", dump_json(document))

    def close(self) -> None:
        """Give the folder free."""
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def _take_lock(self) -> int:
        # The kernel drops a flock when its holder dies, so no crash leaves it behind.
        handle = os.open(self.path / "logs" / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
            os.close(handle)
            raise RunError(
                f"{self.path}: another build is working on this folder "
                f"({holder or 'it has just begun'}); wait for it or end it"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)
        return handle

    def _check_settings(self, update: bool) -> None:
        path = self.path / "run.json"
        self.changes: list[str] = []  # settings and versions that differ from the last build's
        if path.exists():
            try:
                before = json.loads(path.read_bytes())
            except ValueError as error:
                raise RunError(
                    f"{self.name}: run.json is damaged: {error}. Delete it and run the same "
                    "command again: it is written anew"
                ) from error
            self.changes = changes(before, self._document())
        if self.changes and not update:
            raise RunError(
                f"{self.name}: was built with other settings:\n  "
                + "\n  ".join(self.changes)
                + "\nGive another --out, or --update to judge all clips anew and render those "
                "that this changes; --plan says which"
            )

    def _document(self) -> dict[str, Any]:
        settings = self.config.model_dump(mode="json")
        return {"config": settings, "versions": self.versions, "commit": self.commit}

    def _change(self, source: Source, rows: list[dict[str, Any]]) -> Unsettled:
        """Say what changed since rows were made; an empty string if they still stand."""
        if any(row["settings"] != self.basis for row in rows):
            return "settings"
        known = source
        if not _same_word(known, rows[0]) and not _same_word(known := self.barred(source), rows[0]):
            return "said"
        if self.retry_failed and any(row["verdict"] == "failed" for row in rows):
            return "retry"
        if not all(map(self._agrees_with_takedown, rows)):
            return "takedown"
        return "" if _same_files(known, rows[0]) else "files"

    def _standing(self, samples: Mapping[str, str]) -> dict[str, str]:
        return {key: made for key, made in samples.items() if not self.taken_down(key)}

    def _is_restored(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a clip was rejected as taken down, and is on the list no more."""
        if row["rule"] != "taken_down" or row["clip_index"] < 0:
            return False
        return not self.taken_down(sample_key(row["uid"], row["clip_index"]), row.get("sha256"))

    def _agrees_with_takedown(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row says what the list says of its file's bytes.

        What is listed by its own name keeps its row; its sample is skipped by readers.
        """
        if row["verdict"] == "kept":
            key = row["sample_key"]
            return self.taken_down(key) or not self.taken_down(key, row.get("sha256"))
        if row["rule"] == "taken_down" and row["clip_index"] < 0 and row.get("sha256"):
            return content_name(row["sha256"]) in self._tombstones
        return True

    def _has_sample(self, source: Source, key: str, fingerprint: str) -> bool:
        staged = StagedSample(key, self.staging(source) / f"{key}.tar")
        return fingerprint in (self.committed(source.uid).get(key), staged.fingerprint())


def uid_of(key: str) -> str:
    """Return the asset that a sample's key names."""
    return key.rpartition("-")[0]


def kept_samples(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return key -> fingerprint of the samples that rows tell of."""
    return {row["sample_key"]: row["fingerprint"] for row in rows if row["verdict"] == "kept"}


def _same_word(source: Source, row: Mapping[str, Any]) -> bool:
    """Tell whether lists and metadata say the same of an asset as when a row was made."""
    whole = row["clip_index"] < 0
    # what was refused for its bytes has been looked at, and has their hash
    refused = row["rule"] if whole and row["rule"] in REFUSALS and not row.get("sha256") else ""
    said = source.about.fields()
    return refused == source.refusal and all(row.get(name) == said[name] for name in said)


def _same_files(source: Source, row: Mapping[str, Any]) -> bool:
    """Tell whether an asset's files are those that a row rests on, reading only if need be."""
    if source.refusal:
        return True  # no file was looked at
    if source.remote is not None:
        return not source.stamp or source.stamp == row.get("stamp")
    if source.sha256 and row.get("sha256") and source.sha256 != row["sha256"]:
        return False
    companions = row.get("companions") or "[]"
    for name, *stamp in json.loads(companions) if companions != "[]" else ():
        if stamp_of(source.file.parent / name) != tuple(stamp):
            return False
    now = stamp_of(source.file)
    if now is None or now == (row["bytes"], row["modified_ns"]):
        return now is not None
    try:
        return row.get("sha256") == sha256_of(source.file)
    except OSError:
        return False


@functools.cache
def _commit() -> str:
    """Return the checkout's commit, or an empty string where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
