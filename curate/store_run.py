"""A RUN in an object store, open for one build: the store has everything, this machine a mirror.

    commit.json  run.json  ledger/  shards/  index/  index.parquet  index.json  report/  logs/
    staging/UID/         one asset's finished clips, uploaded by whoever worked on it
    staging/.withdrawn/  samples of shards that were taken back

The mirror is a temporary folder with the small files. It is made anew by each build, so nothing
that a machine keeps to itself can be wrong or lost. Of samples it has stand-ins of the right size:
their bytes go from a worker to the store and from there to a shard writer.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from curate import ledger
from curate.asset import done_file
from curate.config import BuildConfig
from curate.run_folder import RunFolder, kept_samples
from curate.sources import Source
from curate.stage import DONE, Document
from shards.errors import MachineError
from shards.files import own_folder
from shards.hold import Hold, numbered, part_name
from shards.mirror import fetch, pull, stand_in
from shards.objects import Objects, Outdated, Version
from shards.store import Missing
from shards.store_write import StoreShardWriter, remove_withdrawn
from shards.write import ShardWriter, StagedSample

_SWEEP_AFTER = 500  # staged objects that are done with and wait to be removed together


class StoreRun(RunFolder):
    """One RUN in an object store; ``path`` is its mirror."""

    def __init__(
        self,
        url: str,
        config: BuildConfig,
        *,
        update: bool,
        retry_failed: bool,
        keeps: bool = True,
    ) -> None:
        """Take the RUN and read its state.

        Args:
            url: of the RUN.
            config: all settings.
            update: see ``RunFolder``.
            retry_failed: see ``RunFolder``.
            keeps: workers are this process, and leave their staging folders to it.

        Raises:
            RunError: another build has it, or it was made with other settings.
            MachineError: the store cannot be used.
        """
        self.objects = Objects(url, config.store)
        self.keeps = keeps
        self._staged: dict[str, set[str]] = {}  # uid -> names of its staged files
        self._away: dict[str, int] = {}  # samples that only have a stand-in here, and their bytes
        self._garbage: list[str] = []
        self._logged = self._logs = 0  # bytes of the log that are there, and in how many objects
        folder = own_folder("run")
        try:
            super().__init__(folder, config, update=update, retry_failed=retry_failed)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @staticmethod
    def exists(url: str, config: BuildConfig) -> bool:
        """Tell whether a build began there before."""
        try:
            Objects(url, config.store).read("run.json")
        except Missing:
            return False
        return True

    @property
    def name(self) -> str:
        """The RUN's URL."""
        return self.objects.url

    def begin(self) -> None:
        """Put on record with which settings the RUN is worked on from now on."""
        super().begin()
        self._publish("run.json")

    def begun(self) -> set[str]:
        """Name the assets of which something is staged."""
        return set(self._staged)

    def staged_rows(self, source: Source) -> list[dict[str, Any]] | None:
        """Return the rows of an asset that an earlier run finished but did not enter."""
        if DONE not in self._staged.get(source.uid, ()):
            return None
        document: Document = self._read_staged(source.uid, DONE)
        rows: list[dict[str, Any]] = document["rows"]
        there = all(self._has_sample(source, *pair) for pair in kept_samples(rows).items())
        if not there or self._change(source, rows):
            return None
        self._note(source.uid, document)
        return rows

    def finished_rows(
        self, source: Source, document: Document | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of an asset whose staging folder was just completed."""
        here = done_file(self.staging(source))
        if document is None and here.exists():  # the driver gave it up
            document = json.loads(here.read_bytes())
            self._staged[source.uid] = self._look(source.uid)
        elif document is None:
            document = self._read_staged(source.uid, DONE)
        assert document is not None
        self._note(source.uid, document)
        return document["rows"]

    def _read_staged(self, uid: str, name: str) -> Document:
        """Read what is staged of an asset.

        Raises:
            TakenOver: it is gone, since another build took over, and cleared what it committed.
            MachineError: it is gone, and nobody did.
        """
        place = _place(uid, name)
        try:
            return json.loads(self.objects.read(place))
        except Missing as error:
            self.hold.change()  # who has the RUN? asks the store
            raise MachineError(
                f"{self.name}: {place} was there and is gone; nobody but builds may change what "
                "lies below staging/. The same command goes on from here"
            ) from error

    def reopen(self, source: Source) -> None:
        """Declare an asset unfinished; staged clips that still hold stay."""
        files = self._staged.get(source.uid, set())
        gone = files & {DONE}
        if self.retry_failed:
            for name in (name for name in files - gone if name.endswith(".json")):
                record = self._read_staged(source.uid, name)
                gone |= {name} if record["verdict"] == "failed" else set()
        self.objects.delete(_place(source.uid, name) for name in gone)
        files -= gone

    def staged(self, source: Source, key: str) -> StagedSample:
        """Name a staged sample."""
        name = _place(source.uid, f"{key}.tar")
        path = self.path / name
        if name not in self._away:
            return StagedSample(key, path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            stand_in(path, self._away[name])
        return StagedSample(key, path, stored=name)

    def enter(self, rows: list[dict[str, Any]]) -> None:
        """Put rows on record whose samples are committed."""
        self.hold.check()
        number = self.hold.commit.next_part
        part = ledger.append(self.path, rows, number)
        self._commit_part(part, number)
        self._push_log()

    def drop(self, samples: Iterable[StagedSample]) -> None:
        """Remove staged samples that are committed, or that do not stand any more."""
        samples = list(samples)
        super().drop(samples)
        names = [sample.path.relative_to(self.path).as_posix() for sample in samples]
        for name in names:
            self._away.pop(name, None)
        self._let_go(names)

    def discard(self, uid: str) -> None:
        """Remove all that is staged of an asset."""
        super().discard(uid)
        self._let_go(_place(uid, name) for name in sorted(self._staged.pop(uid, ())))

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Write the merged index, the compacted ledger and ``run.json``, here and then there."""
        super().finish(counts)
        there = [name for name in self._ledger() if self.hold.commit.has_part(_stem(name))]
        if len(there) > 1:
            (whole,) = ledger.parts(self.path)
            number = self.hold.commit.next_part
            self._commit_part(whole, number, first=number)
        for name in ("index.parquet", "index.json", "run.json"):
            self._publish(name)
        self._clear()
        self._sweep()

    def close(self) -> None:
        """Give the RUN free."""
        try:
            with contextlib.suppress(MachineError):
                self._push_log()
                for path in (self.path / "logs").glob("*.log"):
                    name = f"logs/{path.stem}-{self._opened:08d}{path.suffix}"
                    self.objects.write(name, path.read_bytes())
                self.hold.check()  # a build that took over may have staged anew under these names
                self._clear()
        finally:
            self.hold.release()
            shutil.rmtree(self.path, ignore_errors=True)

    def _take_lock(self) -> int:
        self.hold = Hold(self.objects)
        self._opened = self.hold.commit.serial
        try:
            remove_withdrawn(self.hold)
            self._sweep()
            pull(self.objects, self.path, self.hold.commit)
            for name in self.objects.list("staging"):
                match PurePosixPath(name).parts:
                    case (_, uid, file):
                        self._staged.setdefault(uid, set()).add(file)
                    case _:  # not ours
                        continue
            survivors = self._staged.pop(self.withdrawn().name, set())
            self.withdrawn().mkdir(parents=True, exist_ok=True)
            places = [_place(self.withdrawn().name, file) for file in sorted(survivors)]
            fetch(self.objects, self.path, places)
        except BaseException:
            self.hold.release()
            raise
        return -1

    def _open_writer(self) -> ShardWriter:
        return StoreShardWriter(self.path, int(self.config.shards.target_mb * 2**20), self.hold)

    def _commit_part(self, part: Path, number: int, first: int | None = None) -> None:
        """Upload a ledger part and let it count; from ``first`` on those that do."""
        self.hold.unsure = True
        self.objects.write(f"ledger/{part_name(number)}.parquet", part.read_bytes())
        self.hold.change(
            lambda now: replace(
                now,
                next_part=number + 1,
                first_part=now.first_part if first is None else first,
            )
        )
        self.hold.unsure = False

    def _publish(self, name: str) -> None:
        """Copy a file of the mirror to the store, unless another build took over.

        That the hold was good after the object's version was read makes it sure: a build that has
        taken over since, and written the object, has given it another version.
        """
        data = (self.path / name).read_bytes()
        while True:
            version: Version | None = None
            with contextlib.suppress(Missing):
                found, version = self.objects.read_version(name)
                if found == data:
                    return
            self.hold.change()
            with contextlib.suppress(Outdated):
                self.objects.swap(name, data, version)
                return

    def _note(self, uid: str, document: Document) -> None:
        """Remember what is staged of a finished asset."""
        sizes: dict[str, int] = document["sizes"]
        records = {f"c{row['clip_index']:03d}.json" for row in document["rows"]}
        files = {DONE, *records, *(f"{key}.tar" for key in sizes)}
        self._staged.setdefault(uid, set()).update(files)
        for key, size in sizes.items():
            name = _place(uid, f"{key}.tar")
            if not (self.keeps and (self.path / name).exists()):
                self._away[name] = size

    def _has_sample(self, source: Source, key: str, fingerprint: str) -> bool:
        # A sample is staged before the document that tells of it, and belongs to its row.
        committed = self.committed(source.uid).get(key) == fingerprint
        return committed or f"{key}.tar" in self._staged.get(source.uid, ())

    def _look(self, uid: str) -> set[str]:
        return {PurePosixPath(name).name for name in self.objects.list(f"staging/{uid}")}

    def _let_go(self, names: Iterable[str]) -> None:
        self._garbage += names
        if len(self._garbage) >= _SWEEP_AFTER:
            self._clear()

    def _clear(self) -> None:
        self.objects.delete(self._garbage)
        self._garbage.clear()

    def _ledger(self) -> list[str]:
        return sorted(numbered(self.objects.list("ledger")))

    def _sweep(self) -> None:
        """Remove what does not count: of builds that were killed while they uploaded it."""
        commit = self.hold.commit
        shards = numbered([*self.objects.list("shards"), *self.objects.list("index")])
        gone = [name for name in shards if not commit.has_shard(_stem(name))]
        gone += [name for name in self._ledger() if not commit.has_part(_stem(name))]
        self.objects.delete(gone)

    def _push_log(self) -> None:
        """Upload what was logged since: a store cannot append."""
        log = self.path / "logs" / "build.jsonl"
        if not log.exists() or log.stat().st_size == self._logged:
            return
        with log.open("rb") as stream:
            stream.seek(self._logged)
            data = stream.read()
        self._logs += 1
        self.objects.write(f"logs/build-{self._opened:08d}-{self._logs:04d}.jsonl", data)
        self._logged += len(data)


def _place(uid: str, file: str) -> str:
    return f"staging/{uid}/{file}"


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
