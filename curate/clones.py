"""Clones of repositories, shared by all assets of a catalogue that lie in them.

A clone stays in the cache after use until its room is needed, its machine's workers end, or nobody
has used it for an hour. Whoever uses one holds a shared lock on the file beside it; whoever makes
or removes one, an exclusive lock. So a repository is cloned once however many workers ask for it,
and none is removed under anybody's feet.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "clone-"
_LOOK_AGAIN_S = 0.05
_UNUSED_S = 3600.0  # after which a clone is removed whose workers were killed
_PLACE = re.compile(r"(https://github\.com/([\w.-]+)/([\w.-]+)/blob/\w+)/(.+)")


def clone_of(address: str) -> tuple[str, Path] | None:
    """Name the clone that holds an object of a repository, and the object's place in it.

    Args:
        address: of the object, ``https://github.com/OWNER/NAME/blob/COMMIT/PATH``; None for others.
    """
    if not (found := _PLACE.fullmatch(address)):
        return None
    commit, owner, name, path = found.groups()
    if owner.startswith(".") or name.startswith(".") or ".." in path.split("/"):
        return None
    digest = hashlib.sha256(commit.encode()).hexdigest()[:24]
    return f"{_PREFIX}{digest}", Path("github", "repos", owner, name, path)


@contextmanager
def lent(cache: Path, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """Lend a clone, made first if it is not there.

    Args:
        cache: folder of all clones.
        name: see ``clone_of``.
        make: puts the clone where it is told, whole or not at all; what it raises is passed on.
    """
    place = cache / name
    while True:
        with _locked(place, fcntl.LOCK_SH) as lock:  # waits while it is being made
            if lock and place.exists():
                with suppress(OSError):
                    os.utime(place)
                yield place
                return
        with _locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
            if lock and not place.exists():
                try:
                    make(place)
                except BaseException:
                    _lock_file(place).unlink(missing_ok=True)
                    raise
        if not lock:  # somebody else was faster
            time.sleep(_LOOK_AGAIN_S)


def remove_unused(cache: Path, unused_s: float = 0.0, most: int | None = None) -> int:
    """Remove clones that nobody uses and nobody has used for so long; the oldest first.

    Returns:
        How many went, at most ``most``.
    """
    ages: list[tuple[float, Path]] = []
    for place in cache.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if place.is_dir():
                ages.append((place.stat().st_mtime, place))
    gone = 0
    for used, place in sorted(ages):
        if gone == most or time.time() - used < unused_s:
            break
        with _locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
            if lock and place.exists():
                shutil.rmtree(place, ignore_errors=True)
                _lock_file(place).unlink(missing_ok=True)
                gone += 1
    return gone


def remove_forgotten(cache: Path) -> None:
    """Remove clones of workers that ended without doing so."""
    remove_unused(cache, _UNUSED_S)


def _lock_file(place: Path) -> Path:
    return place.with_suffix(".lock")


@contextmanager
def _locked(place: Path, how: int) -> Iterator[bool]:
    """Lock a clone; False where it was removed meanwhile, or is in other hands."""
    file = _lock_file(place)
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, how)
            same = file.stat().st_ino == os.fstat(lock.fileno()).st_ino
        except OSError:
            same = False
        yield same
