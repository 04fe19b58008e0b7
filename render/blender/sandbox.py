"""Shut the process in before it opens a file from a stranger.

Importers of USD, FBX and .blend follow references on their own, in C. Checking files beforehand
cannot see every such path, so on Linux the kernel's Landlock denies reading outside the given
folders, writing outside the scratch folder, and TCP in both directions. Elsewhere, or on kernels
before 5.13, the process runs without and says so.

Landlock binds the calling thread and the threads and processes it starts later, never threads that
run already, so it must close before bpy is imported: the task threads that Blender and USD start
on import would stay free and open files for the one that is bound.
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG = 38, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
# Rights known to each Landlock version: file system first, then TCP bind and connect.
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP_RIGHTS = 3  # from version 4


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 9)


def limit_memory(data_max_mb: int) -> None:
    """Let the kernel refuse allocations beyond a limit.

    The host watches resident memory, but only a few times a second: a file that asks for a hundred
    gigabytes at once could bring the machine down in between. ``RLIMIT_DATA`` counts what is mapped
    writable, not the address space that GPU drivers reserve.
    """
    if sys.platform == "linux":
        import resource  # not on Windows

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = data_max_mb * 2**20
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


@contextlib.contextmanager
def few_cores(count: int) -> Iterator[None]:
    """Show only some cores to what starts threads in the block, 0 = all.

    Blender's task scheduler starts one thread for each core that it sees on import, whatever
    number a scene is set to render with. Those without work spin: beside a renderer on one thread
    they cost another core. The threads may use all cores afterwards.
    """
    if not count or sys.platform != "linux":
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:count])
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cores)


def shut_in(readable: list[str], writable: list[str]) -> str:
    """Confine this process and its children for good.

    Args:
        readable: folders or files that may be read beside the system's own libraries.
        writable: folders that may be written.

    Returns:
        What holds from now on, for the log: ``"landlock 7"``, or the reason why nothing does.

    Raises:
        RuntimeError: other threads are running, which would stay free.
    """
    if sys.platform != "linux":
        return f"no sandbox: {sys.platform} has no Landlock"
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise RuntimeError(f"the sandbox must close before threads start; {threads} are running")
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return "no sandbox: this kernel has no Landlock"
    fs_rights = _FS_RIGHTS[max(known for known in _FS_RIGHTS if known <= version)]
    attributes = (
        struct.pack("QQ", fs_rights, _TCP_RIGHTS) if version >= 4 else struct.pack("Q", fs_rights)
    )
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return f"no sandbox: {os.strerror(ctypes.get_errno())}"
    for path in [*_system_paths(), *readable]:
        _allow(libc, ruleset, path, _READ & fs_rights)
    for path in ["/dev", *writable]:
        _allow(libc, ruleset, path, fs_rights)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    failed = libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return f"no sandbox: {os.strerror(ctypes.get_errno())}" if failed else f"landlock {version}"


def _system_paths() -> list[str]:
    """Name what Python and Blender themselves read: libraries, fonts, CPU facts, GPU drivers.

    /etc is left out but for the loader's cache and fonts, so no account or host facts leak.
    """
    own = {sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])}
    system = {"/usr", "/lib", "/lib64", "/bin", "/opt", "/proc", "/sys"}
    return sorted(own | system | {"/etc/ld.so.cache", "/etc/fonts", "/etc/localtime"})


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what does not exist needs no permission
    if not os.path.isdir(path):
        rights &= _EXECUTE | _WRITE_FILE | _READ_FILE
    rule = struct.pack("=Qi", rights, handle)
    libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    os.close(handle)
