"""Files that appear whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TEMPORARY = ".tmp-"
_FULL_BYTES = 2**20  # less room is none
_FOLDERS = "orbit4d"  # then what for, the machine, the process id, and something random


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, then give it its final name.

    A reader sees the old content or the new one, never a part. The directory must exist.
    """
    temporary = temporary_for(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        publish(temporary, path)
    except OSError as error:  # a full disk is not to be filled with halves
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def full_disks_named(*folders: Path) -> Iterator[None]:
    """Blame a failure on a full disk where there is one, whatever it looked like.

    Programs that write into a full disk fail in ways of their own, or leave files that are cut off.

    Raises:
        OSError: ENOSPC, in place of any error of the block while a folder's disk is full.
    """
    try:
        yield
    except Exception as error:
        for folder in folders:
            if folder.is_dir() and shutil.disk_usage(folder).free < _FULL_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def temporary_for(path: Path) -> Path:
    """Name the temporary file in which a process prepares ``path``."""
    return path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")


def publish(temporary: Path, path: Path) -> None:
    """Give a finished, flushed file its final name and make the rename durable."""
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def clear_temporaries(directory: Path) -> None:
    """Remove what an earlier, killed run left half written in a directory."""
    for leftover in directory.glob(f"{_TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def dump_json(value: Any) -> bytes:
    """Write JSON with sorted keys: equal values give equal bytes. NaN is refused."""
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False).encode()


def sha256_of(path: Path) -> str:
    """Hash a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def own_folder(kind: str) -> Path:
    """Make a temporary folder that tells whose it is; remove those whose owners were killed.

    The temporary folder may be shared with other machines and containers: their process ids say
    nothing here, so theirs are left alone.

    Args:
        kind: what it is for; one word.
    """
    mine = f"{_FOLDERS}-{kind}-{_machine()}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{mine}*"):
        owner = folder.name.removeprefix(mine).partition("-")[0]
        if owner.isdigit() and not is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{mine}{os.getpid()}-"))


def _machine() -> str:
    """Name what process ids count in: a machine, or a container of it."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):  # other systems have no such thing
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine runs; 0 is none."""
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
