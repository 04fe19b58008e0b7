"""Keep one Blender process alive over many jobs; end it when it crashes, hangs or swells.

Isolation is the same with and without Ray: whoever works owns one ``BlenderProcess``. A fault in
it costs the request that was running; the next request starts a new process.
"""

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import psutil
from pydantic import Field

from shards.config import Config
from shards.errors import FROM_OUTSIDE
from shards.files import own_folder

_POLL_S = 0.2
_LOG_TAIL_LINES, _LOG_TAIL_BYTES = 20, 4000
_ADDRESS_SLACK_MB = 4096  # beyond twice the resident limit: what is mapped and never used
_DISK_MIN_MB = 1  # with less, what failed may have failed for want of it
_GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dri/renderD*")
_KERNEL_VARIABLES = ("OPTIX_CACHE_PATH", "CUDA_CACHE_PATH", "NEO_CACHE_DIR", "AMD_COMGR_CACHE_DIR")
_ROOT = Path(__file__).resolve().parents[1]

FaultKind = Literal["crash", "timeout", "memory", "load", "images", "error"]


class WorkerConfig(Config):
    """Limits of one Blender process."""

    memory_max_mb: int = Field(default=6000, ge=100, description="resident; above, it is killed")
    recycle_after_requests: int = Field(default=2000, ge=1, description="then a fresh process")
    recycle_after_errors: int = Field(default=10, ge=1, description="requests that failed in it")
    recycle_above_mb: int = Field(default=2500, ge=300, description="resident, between requests")
    start_timeout_s: float = Field(default=120.0, gt=0)
    kernel_cache: str = Field(
        default="~/.cache/orbit4d/kernels",
        description="where a machine with a GPU keeps compiled kernels between processes",
    )


@dataclass
class BlenderFault(Exception):
    """One request to Blender came to nothing.

    Attributes:
        kind: ``crash`` (died), ``timeout`` (killed), ``memory`` (killed), ``load`` (the importer
            refused the file), ``images`` (they are too large to decode), ``error`` (a Python error
            inside).
        message: one sentence.
        log_tail: the last lines that Blender wrote to stderr.
        signal: name of the signal that ended the process by itself; empty if none did.
        operation: the request that came to nothing; ``start`` before there was any.
        attempts: how often this was tried.
    """

    kind: FaultKind
    message: str
    log_tail: str
    signal: str = ""
    operation: str = ""
    attempts: int = 1

    def __str__(self) -> str:
        """Return the sentence."""
        return self.message

    @property
    def process_lives(self) -> bool:
        """Tell whether the process survived, with the asset still open."""
        return self.kind in ("load", "images", "error")

    @property
    def of_machine(self) -> bool:
        """Tell whether the machine is to blame: no asset was opened, or somebody ended Blender."""
        return self.operation == "start" or self.signal in FROM_OUTSIDE


class BlenderProcess:
    """A supervised Blender. Not thread-safe: one owner, one request at a time."""

    def __init__(self, config: WorkerConfig, readable: list[Path], threads: int = 0) -> None:
        """Prepare; the process starts with the first request.

        Args:
            config: limits.
            readable: folders that assets may be read from.
            threads: of Blender's task scheduler; 0 = one per core.
        """
        self.config, self.threads = config, threads
        self.readable = [str(path.resolve()) for path in readable]
        self.scratch = own_folder("scratch")
        self.blender_version = ""
        self.started = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = self._errors = self._log_start = 0
        self._buffer = b""

    def __enter__(self) -> Self:
        """Return self; leaving the block ends the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process and remove its scratch folder."""
        self.close()

    def call(
        self,
        request: dict[str, Any],
        timeout_s: float,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        *,
        may_start: bool = True,
    ) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Args:
            request: ``op`` and what it needs.
            timeout_s: the process is killed when the answer takes longer.
            on_event: called with what the process tells before it answers, while it goes on.
            may_start: whether a process that is not up is started. One that was up, and died since,
                is a fault otherwise: the next one knows nothing of what was opened in it.

        Raises:
            BlenderFault: the process died, was killed, or answered with an error.
        """
        if may_start:
            self._ensure_started()
        assert self._process is not None
        assert self._process.stdin is not None
        self._requests += 1
        with contextlib.suppress(BrokenPipeError):  # a dead process is noticed while waiting
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        try:
            answer = self._wait(request["op"], timeout_s, on_event)
        except BaseException:
            self.kill()  # whatever ends the waiting, what is still said would answer nothing
            raise
        if not answer["ok"]:
            self._errors += 1
            self._refuse_full_disk()
            log_tail = self.log_tail()
            raise BlenderFault(answer["kind"], answer["error"], log_tail, operation=request["op"])
        return answer

    def start(self) -> None:
        """Start the process now rather than with the first request.

        Raises:
            BlenderFault: it does not start.
        """
        self._ensure_started()

    def is_running(self) -> bool:
        """Tell whether a process is up, so that an asset opened in it is still open."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id, or None while none is up."""
        return self._process.pid if self._process is not None and self.is_running() else None

    def recycle_if_due(self) -> None:
        """End the process if it is old, large or often failed; call this between assets."""
        if self.is_running() and (
            self._requests >= self.config.recycle_after_requests
            or self._errors >= self.config.recycle_after_errors
            or self._resident_mb() > self.config.recycle_above_mb
        ):
            self.kill()

    def begin_log(self) -> None:
        """Let the log begin here: what the process said before is about another asset."""
        with contextlib.suppress(OSError):
            self._log_start = self._log_path().stat().st_size

    def log_tail(self) -> str:
        """Return the last lines of the process's stderr, from ``begin_log`` on."""
        try:
            with self._log_path().open("rb") as stream:
                stream.seek(max(stream.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES, self._log_start))
                text = stream.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-_LOG_TAIL_LINES:])

    def kill(self) -> None:
        """End the process and everything it started, now."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process = None

    def close(self) -> None:
        """End the process and remove its scratch folder."""
        self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _log_path(self) -> Path:
        return self.scratch / "blender.log"

    def _ensure_started(self) -> None:
        if self.is_running():
            return
        self.kill()
        environment = os.environ | {"TMPDIR": str(self.scratch), "PYTHONPATH": str(_ROOT)}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        environment["OPENBLAS_NUM_THREADS"] = "1"  # arrays are small; idle threads of BLAS spin
        environment["HOME"] = str(self.scratch)  # no user preferences, no add-ons
        writable = [str(self.scratch)]
        if any(Path("/dev").glob(pattern) for pattern in _GPU_DEVICES):
            kernels = Path(self.config.kernel_cache).expanduser().absolute()
            kernels.mkdir(parents=True, exist_ok=True)
            environment |= dict.fromkeys(_KERNEL_VARIABLES, str(kernels))
            writable.append(str(kernels))
        # The watch looks a few times a second; what asks for far too much at once is refused.
        data_max_mb = 2 * self.config.memory_max_mb + _ADDRESS_SLACK_MB
        command = [
            sys.executable,
            "-P",
            "-m",
            "render.blender",
            str(data_max_mb),
            str(self.threads),
        ]
        self._log_start = 0
        with self._log_path().open("wb") as log:
            self._process = subprocess.Popen(
                [*command, os.pathsep.join(writable), *self.readable],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.scratch,
                env=environment,
                start_new_session=True,  # its own group, so that a kill reaches its children
            )
        self._buffer, self._requests, self._errors = b"", 0, 0
        self.started += 1
        self.blender_version = self._wait("start", self.config.start_timeout_s)["blender"]

    def _wait(
        self,
        operation: str,
        timeout_s: float,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Wait for an answer while watching the clock and the memory; hand on events."""
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\n" not in self._buffer:
                self._read(operation, deadline, timeout_s)
            line, _, self._buffer = self._buffer.partition(b"\n")
            message = json.loads(line)
            if "event" not in message:
                return message
            if on_event is not None:
                on_event(message)
            self._check(operation, deadline, timeout_s)

    def _read(self, operation: str, deadline: float, timeout_s: float) -> None:
        """Wait a moment for output, and look at the process if there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        ready, _, _ = select.select([handle], [], [], _POLL_S)
        if not ready:
            self._check(operation, deadline, timeout_s)
            return
        chunk = os.read(handle, 1 << 16)
        if not chunk:
            ending, by = self._ending()
            self._fail("crash", operation, f"Blender {ending} during {operation}", by)
        self._buffer += chunk

    def _check(self, operation: str, deadline: float, timeout_s: float) -> None:
        if time.monotonic() > deadline:
            self._fail(
                "timeout", operation, f"{operation} took longer than {timeout_s:g} s; killed"
            )
        limit_mb = self.config.memory_max_mb
        if (used_mb := self._resident_mb()) > limit_mb:
            sentence = f"{operation} used {used_mb:.0f} MB, limit {limit_mb} MB; killed"
            self._fail("memory", operation, sentence)

    def _fail(self, kind: FaultKind, operation: str, message: str, by: str = "") -> None:
        self.kill()
        self._refuse_full_disk()
        raise BlenderFault(kind, message, self.log_tail(), by, operation)

    def _refuse_full_disk(self) -> None:
        """Blame the disk for a fault where there is none left: Blender cannot write images then.

        Raises:
            OSError: there is no space.
        """
        if shutil.disk_usage(self.scratch).free < _DISK_MIN_MB * 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.scratch))

    def _ending(self) -> tuple[str, str]:
        """Say how the process ended, and name the signal if one ended it."""
        assert self._process is not None
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            return f"was ended by signal {name}", name
        return f"exited with status {code}", ""

    def _resident_mb(self) -> float:
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).memory_info().rss / 2**20
        except psutil.Error:
            return 0.0
