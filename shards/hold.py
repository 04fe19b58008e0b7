"""Who builds a RUN in an object store, and what of it is committed: one object, changed as a whole.

``commit.json`` names the build that has the RUN and the numbers up to which shards and ledger parts
count. A commit uploads its shard and index part first and then raises the number, on condition that
the object is as this build left it. So it is one step, and a build that was taken for dead and
wakes up commits nothing. The object is also the sign of life: it changes three times per
``lease_s``. Another build takes the RUN over once it has seen it unchanged for that long, by its
own monotonic clock; no clocks are compared.

What the lost build was uploading may still appear. Its number is void, so it never counts.
"""

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import structlog

from shards.errors import MachineError, RunError, ShardError
from shards.files import dump_json
from shards.objects import Objects, Outdated, Version
from shards.store import Missing

FILE = "commit.json"
_NUMBERED = re.compile(r"(shard|part)-\d+")
_LOOKS = 10  # while a build is watched for a sign of life
_BEATS = 3  # signs of life in the time after which a build is taken for dead

_log = structlog.get_logger(__name__)


def shard_name(number: int) -> str:
    """Name a shard."""
    return f"shard-{number:06d}"


def part_name(number: int) -> str:
    """Name a ledger part."""
    return f"part-{number:06d}"


def number_of(name: str) -> int:
    """Return the number of a shard or of a ledger part."""
    return int(name.rpartition("-")[2])


def numbered(objects: Iterable[str]) -> list[str]:
    """Leave out objects that are no shard, index part or ledger part: what people put there."""
    return [name for name in objects if _NUMBERED.fullmatch(PurePosixPath(name).stem)]


@dataclass(frozen=True, slots=True)
class Commit:
    """What ``commit.json`` says.

    Attributes:
        serial: how often it was changed.
        token: of the build that has the RUN; empty: none.
        who: that build, for people.
        process: by which its own machine finds out whether it still runs.
        lease_s: how long it may give no sign of life.
        next_shard, next_part: numbers that do not count yet, of shards and ledger parts.
        first_part: the first ledger part that still counts.
        void: names that never count, whatever lies there.
        withdrawn: shards that do not count any more and have to be removed.
    """

    serial: int = 0
    token: str = ""
    who: str = ""
    process: str = ""
    lease_s: float = 0.0
    next_shard: int = 0
    next_part: int = 0
    first_part: int = 0
    void: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()

    def has_shard(self, name: str) -> bool:
        """Tell whether a shard of this name is committed, if it is there."""
        gone = name in self.void or name in self.withdrawn
        return number_of(name) < self.next_shard and not gone

    def has_part(self, name: str) -> bool:
        """Tell whether a ledger part of this name counts."""
        return self.first_part <= number_of(name) < self.next_part and name not in self.void

    def without_next(self) -> "Commit":
        """Leave out the numbers that a lost build may be writing under."""
        lost = shard_name(self.next_shard), part_name(self.next_part)
        numbers = {"next_shard": self.next_shard + 1, "next_part": self.next_part + 1}
        return replace(self, void=(*self.void, *lost), **numbers)


def read_commit(objects: Objects) -> tuple[Commit, Version | None]:
    """Read what is committed; of a RUN that was built elsewhere and copied here, all that is there.

    Raises:
        ShardError: if the object is damaged.
    """
    try:
        data, version = objects.read_version(FILE)
    except Missing:
        return _copied(objects), None
    try:
        found: dict[str, Any] = json.loads(data)
        for name in ("void", "withdrawn"):
            found[name] = tuple(found[name])
        return Commit(**found), version
    except (ValueError, TypeError, KeyError) as error:
        raise ShardError(
            f"{objects.url}/{FILE}: cannot be read: {error}. Restore it from the bucket's versions"
        ) from error


def _copied(objects: Objects) -> Commit:
    def after(folder: str) -> int:
        numbers = (number_of(PurePosixPath(name).stem) for name in numbered(objects.list(folder)))
        return max(numbers, default=-1) + 1

    return Commit(next_shard=after("shards"), next_part=after("ledger"))


class TakenOver(MachineError):
    """Another build has the RUN now."""


class Hold:
    """One build's hold on a RUN; other threads may ask it while it shows signs of life."""

    def __init__(
        self, objects: Objects, sleep: Callable[[float], object] = time.sleep, *, beat: bool = True
    ) -> None:
        """Take the RUN.

        Args:
            objects: the RUN.
            sleep: how to pause between looks.
            beat: show signs of life from a thread.

        Raises:
            RunError: another build has it.
            MachineError: the store cannot be used.
        """
        self.objects = objects
        # A sign of life that takes long is none, and the end of a build waits for the last one.
        config, beat_s = objects.config, objects.config.lease_s / _BEATS
        hasty = {
            "timeout_s": min(config.timeout_s, beat_s),
            "patience_s": min(config.patience_s, beat_s),
        }
        self._hasty = Objects(objects.url, config.model_copy(update=hasty))
        self.commit, self._version = self._take(sleep)
        self.unsure = False  # an upload under the next number may be under way
        self._lock = threading.RLock()
        self._lost: TakenOver | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        if beat:
            self._thread.start()

    def check(self) -> None:
        """Raise ``TakenOver`` if it was."""
        if self._lost is not None:
            raise self._lost

    def change(
        self, make: Callable[[Commit], Commit] = lambda now: now, *, hastily: bool = False
    ) -> Commit:
        """Change what is committed, in one step.

        Raises:
            TakenOver: nothing was changed.
            MachineError: the store stays away; it is not known whether it was changed.
        """
        objects = self._hasty if hastily else self.objects
        with self._lock:
            self.check()
            while True:
                wanted = replace(make(self.commit), serial=self.commit.serial + 1)
                data = dump_json(asdict(wanted))
                try:
                    version = objects.swap(FILE, data, self._version)
                except Outdated:
                    found, version = read_commit(objects)
                    if found.token != self.commit.token:
                        self._lost = TakenOver(
                            f"{self.objects.url}: another build took over ({found.who or 'ended'}) "
                            f"since this one gave no sign for {self.commit.lease_s:.0f} s; nothing "
                            "more is written by this one"
                        )
                        raise self._lost from None
                    if found != wanted:  # an earlier change, whose answer was lost
                        self.commit, self._version = found, version
                        continue
                self.commit, self._version = wanted, version
                return wanted

    def release(self) -> None:
        """Give the RUN free; what is being uploaded just now will never count."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._lost is not None:
            return

        def free(now: Commit) -> Commit:
            left = now.without_next() if self.unsure else now
            return replace(left, token="", who="", process="")

        try:
            self.change(free, hastily=True)
        except MachineError as error:
            _log.warning("the RUN was not given free", reason=str(error))

    def _beat(self) -> None:
        while not self._ended.wait(self.objects.config.lease_s / _BEATS):
            try:
                self.change(hastily=True)
            except TakenOver:
                return  # whoever commits next is told
            except MachineError:
                continue  # the store may come back; commits say if it does not

    def _take(self, sleep: Callable[[float], object]) -> tuple[Commit, Version]:
        found, version = read_commit(self.objects)
        if found.token and not _has_ended(found.process):
            self._watch(found, sleep)
        left = found.without_next() if found.token else found
        mine = replace(
            left,
            serial=found.serial + 1,
            token=secrets.token_hex(16),
            who=f"process {os.getpid()} on host {socket.gethostname()}",
            process=_name_process(os.getpid()),
            lease_s=self.objects.config.lease_s,
        )
        try:
            return mine, self.objects.swap(FILE, dump_json(asdict(mine)), version)
        except Outdated:
            now, version = read_commit(self.objects)
            if now != mine or version is None:
                raise self._refusal(now) from None
            return mine, version

    def _watch(self, found: Commit, sleep: Callable[[float], object]) -> None:
        """Wait for a sign of life, as long as the other build asks for, or until it is seen to end.

        Raises:
            RunError: there was one.
        """
        wait_s = max(found.lease_s, self.objects.config.lease_s)
        _log.warning("is the other build alive?", build=found.who, seconds=wait_s)
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            sleep(wait_s / _LOOKS)
            if _has_ended(found.process):  # it was killed just before, and took a moment to go
                return
            if (now := read_commit(self.objects)[0]) != found:
                raise self._refusal(now)

    def _refusal(self, other: Commit) -> RunError:
        return RunError(
            f"{self.objects.url}: another build is working on this RUN "
            f"({other.who or 'it has just ended'}); wait for it or end it"
        )


def _name_process(pid: int) -> str:
    """Name a process so that no other has the name: not after a restart, nor in a container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # the name of the program may hold spaces and brackets; the start time is 20 fields on
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in "ZX":  # killed, and nobody has asked for its exit status yet
            return ""
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {pid} {fields[19]}"
    except (OSError, IndexError):  # another system: nothing is known of the process
        return ""


def _has_ended(process: str) -> bool:
    """Tell whether a process of this machine is known to have ended; False: it is not known."""
    mine = _name_process(os.getpid()).split()
    words = process.split()
    if len(words) != 4 or mine[:2] != words[:2]:
        return False
    return _name_process(int(words[2])) != process
