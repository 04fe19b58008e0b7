"""A RUN folder as a state: what is settled, what is staged, what still has to be done.

    run.json  ledger/  shards/  index/  index.parquet  index.json  report/  logs/
    staging/UID/      one asset's finished clips, until they are packed and entered
    staging/.withdrawn/  samples of shards that were taken back, until they are packed again

Whatever is killed when, the next run finds one of these states for every asset and goes on.
"""

import fcntl
import json
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from curate import ledger
from curate.asset import basis_of, done_file
from curate.config import BuildConfig
from curate.sources import Source
from shards.errors import RunError
from shards.files import dump_json, sha256_of, write_atomic
from shards.sample import SCHEMA_VERSION
from shards.write import ShardWriter, StagedSample


def versions() -> dict[str, str]:
    """Name the versions that decide the bytes of a sample."""
    return {
        "orbit4d": metadata.version("orbit4d"),
        "bpy": metadata.version("bpy"),
        "schema": str(SCHEMA_VERSION),
    }


class RunFolder:
    """One RUN folder, open for one build at a time."""

    def __init__(
        self, path: Path, config: BuildConfig, *, update: bool, retry_failed: bool
    ) -> None:
        """Lock the folder and read its state.

        Raises:
            RunError: another build has it, it was made with other settings and ``update`` is not
                given, or it cannot be written.
        """
        self.path = path
        self.config = config
        self.versions = versions()
        self.basis = basis_of(config, self.versions)
        self.retry_failed = retry_failed
        try:
            for name in ("staging", "logs", "report"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error
        self._lock = self._take_lock()
        self._check_settings(update)
        ledger.recover(path)
        self.writer = ShardWriter(path, int(config.shards.target_mb * 2**20))
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in ledger.load(path):
            self._rows[row["uid"]].append(row)
        self._fingerprints: dict[str, dict[str, str]] = defaultdict(dict)
        for entry in self.writer.keys.values():
            self._fingerprints[entry.uid][entry.key] = entry.fingerprint

    def staging(self, source: Source) -> Path:
        """Name the staging folder of an asset."""
        return self.path / "staging" / source.uid

    def withdrawn(self) -> Path:
        """Name the folder of samples whose shard was taken back."""
        return self.path / "staging" / ".withdrawn"

    def committed(self, uid: str) -> Mapping[str, str]:
        """Return key -> fingerprint of an asset's samples in committed shards."""
        return self._fingerprints.get(uid, {})

    def settled_rows(self, source: Source) -> list[dict[str, Any]] | None:
        """Return an asset's ledger rows if nothing has to be done for it."""
        rows = self._rows.get(source.uid)
        return rows if rows and self._holds(source, rows) else None

    def staged_rows(self, source: Source) -> list[dict[str, Any]] | None:
        """Return the rows of an asset that is finished but not yet packed and entered."""
        path = done_file(self.staging(source))
        if not path.exists():
            return None
        rows = json.loads(path.read_bytes())["rows"]
        return rows if self._holds(source, rows) else None

    def reopen(self, source: Source) -> None:
        """Declare an asset's staging folder unfinished; clips that still hold stay in it."""
        done_file(self.staging(source)).unlink(missing_ok=True)
        if self.retry_failed:
            for record in self.staging(source).glob("c*.json"):
                if json.loads(record.read_bytes())["verdict"] == "failed":
                    record.unlink()

    def survivors(self) -> list[StagedSample]:
        """List samples of withdrawn shards that still have to be packed."""
        files = sorted(self.withdrawn().glob("*.tar"))
        waiting = [StagedSample(file.stem, file) for file in files]
        for sample in waiting:
            if sample.key in self.writer.keys:
                sample.path.unlink()
        return [sample for sample in waiting if sample.key not in self.writer.keys]

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Write the merged index, the compacted ledger and ``run.json``."""
        self.writer.finish()
        ledger.compact(self.path)
        shutil.rmtree(self.path / "staging", ignore_errors=True)
        document = self._document() | {"counts": dict(counts), "complete": True}
        write_atomic(self.path / "run.json", dump_json(document))

    def close(self) -> None:
        """Give the folder free."""
        os.close(self._lock)

    def _take_lock(self) -> int:
        # The kernel drops a flock when its holder dies, so no crash leaves it behind.
        handle = os.open(self.path / "logs" / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise RunError(
                f"{self.path}: another build is working on this folder; wait for it or end it"
            ) from None
        return handle

    def _check_settings(self, update: bool) -> None:
        path = self.path / "run.json"
        if path.exists():
            old = json.loads(path.read_bytes())
            changes = _changes(old, self._document())
            if changes and not update:
                raise RunError(
                    f"{self.path}: was built with other settings:\n  "
                    + "\n  ".join(changes)
                    + "\nGive another --out, or --update to judge all clips anew and render those "
                    "that this changes"
                )
        write_atomic(path, dump_json(self._document() | {"counts": {}, "complete": False}))

    def _document(self) -> dict[str, Any]:
        settings = self.config.model_dump(mode="json")
        return {"config": settings, "versions": self.versions, "commit": _commit()}

    def _holds(self, source: Source, rows: list[dict[str, Any]]) -> bool:
        """Tell whether rows still stand: same settings, same file, and their samples are there."""
        if any(row["settings"] != self.basis for row in rows):
            return False
        if self.retry_failed and any(row["verdict"] == "failed" for row in rows):
            return False
        stat = source.file.stat()
        first = rows[0]
        if (stat.st_size, stat.st_mtime_ns) != (first["bytes"], first["modified_ns"]) and (
            not first.get("sha256") or sha256_of(source.file) != first["sha256"]
        ):
            return False
        return all(self._has_sample(source, row) for row in rows if row["verdict"] == "kept")

    def _has_sample(self, source: Source, row: dict[str, Any]) -> bool:
        key = row["sample_key"]
        if self.committed(source.uid).get(key) == row["fingerprint"]:
            return True
        places = (self.staging(source), self.withdrawn())
        return any((place / f"{key}.tar").exists() for place in places)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the settings and versions that differ and that decide verdicts or bytes."""
    before, after = _flat(old), _flat(new)
    ignored = ("config.limits.", "config.shards.", "commit", "counts", "complete")
    return [
        f"{name.removeprefix('config.')}: {before.get(name)!r}, now {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and not name.startswith(ignored)
    ]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _commit() -> str:
    """Return the checkout's commit, or an empty string where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
