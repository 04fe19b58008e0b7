"""The Ray that a build works on: one of this machine for as long as it takes, or a cluster's.

A Ray of this machine lives in one folder with a name of its own, ``orbit4d-ray-PID``: sockets,
logs, and what its object store spills. The store and the logs are bounded; the folder goes when the
build ends, or when the next one finds its owner dead. A cluster's folders are chosen where its
nodes are started, see ``docs/cluster.md``.
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from curate.code_package import pack_code
from shards.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from curate.cluster import RayOptions

_OWNED = "orbit4d-ray-"  # then the driver's process id
_SOCKETS = len("/session_2026-11-22_07-30-28_697106_/sockets/plasma_store")
_SOCKET_PATH_MAX = 107  # bytes, of a socket in Linux's file system
_STORE_MIN_MB = 80  # less is refused by Ray
_LOG_MAX_MB, _LOG_BACKUPS = 16, 1  # of each of Ray's logs
_LEAVING_S = 5.0
_KNOCK_S = 10.0


# Rotated logs go through a thread of the worker, and its last lines die with it.
_ALL_WORKERS = {"RAY_ROTATION_MAX_BYTES": "0"}


def import_ray() -> Any:
    """Return Ray, told not to report its use, to keep its logs small, and to leave devices alone.

    Where Ray gives a worker no device, it hides none: on one machine ``render.engine.device`` may
    ask for a GPU without ``--worker-gpus``. On a cluster workers without a GPU are shown none.
    A token that is named in the environment is used. One that merely lies where Ray keeps it is
    not: this process would turn away a cluster that asks for none, and so shows none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_ROTATION_MAX_BYTES", str(_LOG_MAX_MB * 2**20))
    os.environ.setdefault("RAY_ROTATION_BACKUP_COUNT", str(_LOG_BACKUPS))
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    return ray


@contextlib.contextmanager
def connected(options: "RayOptions") -> Iterator[Any]:
    """Give Ray, connected; if it is connected already, as it is.

    Raises:
        MachineError: there is no such cluster, or it cannot be used from here.
        ConfigError: the temporary folder's name is too long.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    with _own_folder(options) as folder:
        try:
            with _handlers_kept():
                if options.address:
                    _join(ray, options, folder)
                else:
                    _start(ray, options, folder)
            yield ray
        finally:
            ray.shutdown()


def _start(ray: Any, options: "RayOptions", folder: Path) -> None:
    # Ray makes a token for each of its own and says so; nobody else is to reach this one.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    ray.init(
        **options.of_this_machine(),
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=max(options.object_store_mb, _STORE_MIN_MB) * 2**20,
        object_spilling_directory=str(folder / "spill"),
        runtime_env={"env_vars": _ALL_WORKERS},
        _temp_dir=str(folder),
    )


def _join(ray: Any, options: "RayOptions", folder: Path) -> None:
    variables = _ALL_WORKERS | {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
    environment: dict[str, Any] = {"env_vars": variables}
    if options.code == "ship":
        environment["working_dir"] = str(pack_code(folder))
        # A submitted job has a working directory of its own; workers need none of it.
        os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    try:
        _knock(options.address)
        ray.init(
            address=options.address,
            runtime_env=environment,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split())
        raise MachineError(
            f"--address {options.address}: expected a running Ray cluster of this Ray "
            f"({ray.__version__}) and Python; it says: {said}. Start one (ray start --head), "
            "leave --address away, or, where it asks for a token, set RAY_AUTH_TOKEN"
        ) from error


def _knock(address: str) -> None:
    """Raise OSError if nobody answers at HOST:PORT; Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


@contextlib.contextmanager
def _own_folder(options: "RayOptions") -> Iterator[Path]:
    """Give a folder that goes at the end, and clear those whose owners were killed."""
    root = _root_of(options)
    for left in root.glob(f"{_OWNED}*"):
        owner = left.name.removeprefix(_OWNED)
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = root / f"{_OWNED}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)  # of a process that had our id before us
    (folder / "spill").mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        until = time.monotonic() + _LEAVING_S
        while folder.exists() and time.monotonic() < until:
            shutil.rmtree(folder, ignore_errors=True)  # again while Ray's processes still write
            time.sleep(0.05)


def _root_of(options: "RayOptions") -> Path:
    """Choose where the folder lies; Ray makes sockets in it, whose paths are bounded."""
    if options.temp is not None:
        root = options.temp.expanduser().absolute()
        if not _is_short(root):
            raise ConfigError(
                f"--ray-temp {root}: expected a path of at most {_root_max()} bytes, "
                "as Ray makes sockets far below it"
            )
        root.mkdir(parents=True, exist_ok=True)
        return root
    root = Path(tempfile.gettempdir())
    return root if _is_short(root) or options.address else Path("/tmp")


def _is_short(root: Path) -> bool:
    return len(os.fsencode(root)) <= _root_max()


def _root_max() -> int:
    pid = len(str(os.getpid()))  # in our folder's name, and in that of Ray's session
    return _SOCKET_PATH_MAX - _SOCKETS - len(f"/{_OWNED}") - 2 * pid


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep what happens on SIGTERM: Ray would end its processes and exit in the middle."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
