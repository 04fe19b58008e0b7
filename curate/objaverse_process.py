"""Run ``curate.objaverse_client``: one process per request, with limits of time and bytes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from curate.config import FetchConfig
from shards.errors import AssetError

_POLL_S = 0.05
_LOG_TAIL_BYTES = 4000
_ROOT = Path(__file__).resolve().parents[1]
_GITHUB = "https://github.com"


def ask(
    request: dict[str, Any],
    config: FetchConfig,
    *,
    folder: Path | None = None,
    timeout_s: float | None = None,
    bytes_max: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Send a request and yield its answers, the last one without ``ok``.

    Args:
        request: ``op`` and its fields.
        config: limits and mirrors.
        folder: what the request may fill, temporary files included.
        timeout_s: for the whole request; none: no limit, as for gigabytes of annotations.
        bytes_max: of the folder.

    Raises:
        AssetError: stage ``fetch``, with the client's rule.
    """
    request = request | {
        "timeout_s": config.timeout_s,
        "mirrors": config.mirrors,
        "annotations": str(config.annotations.expanduser()),
    }
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "curate.objaverse_client"],
            stdin=subprocess.PIPE,
            stdout=answers,
            stderr=log,
            env=_environment(config, folder),
            start_new_session=True,  # its own group, so that a kill reaches git
        )
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            _watch(process, folder, timeout_s, bytes_max)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answers.seek(0)
        answer: dict[str, Any] = {}
        for line in answers:
            if not line.endswith(b"\n"):
                answer = {}  # it was killed over this one
                break
            answer = json.loads(line)
            if "ok" not in answer:
                yield answer
        tail = _tail(log)
    if "ok" not in answer:
        status = process.returncode
        raise _error("objaverse_client_failed", f"it ended with status {status}", tail)
    if not answer.pop("ok"):
        raise _error(answer["rule"], answer["error"], tail)
    yield answer


def bytes_in(folder: Path) -> int:
    """Add up the files in a folder that others may be changing."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _watch(
    process: subprocess.Popen[bytes],
    folder: Path | None,
    timeout_s: float | None,
    bytes_max: float | None,
) -> None:
    started = time.monotonic()
    looked = started
    while process.poll() is None:
        time.sleep(_POLL_S)
        now = time.monotonic()
        if timeout_s is not None and now - started > timeout_s:
            raise _error("fetch_timeout", f"took longer than {timeout_s:g} s; ended", "")
        if folder is not None and bytes_max is not None and now - looked > 1:
            looked = now
            if (found := bytes_in(folder)) > bytes_max:
                limit_mb, found_mb = bytes_max / 2**20, found / 2**20
                raise _error("too_large", f"{found_mb:.0f} MB, limit {limit_mb:.0f} MB; ended", "")


def _environment(config: FetchConfig, folder: Path | None) -> dict[str, str]:
    """Keep git from asking anybody anything, and from writing links of a stranger."""
    settings = {
        "core.symlinks": "false",
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": str(max(int(config.timeout_s), 1)),
    }
    for beginning, other in config.mirrors.items():
        if beginning.startswith(_GITHUB):
            settings[f"url.{other}.insteadOf"] = beginning
    first = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    environment = os.environ | {
        "PYTHONPATH": str(_ROOT),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GCM_INTERACTIVE": "never",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "GIT_CONFIG_COUNT": str(first + len(settings)),
        "LC_ALL": "C",  # what git says is looked at
    }
    for number, (name, value) in enumerate(settings.items(), first):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    if folder is not None:
        environment["TMPDIR"] = str(folder)
    return environment


def _error(rule: str, message: str, tail: str) -> AssetError:
    return AssetError(message, rule=rule, stage="fetch", detail=tail)


def _tail(log: Any) -> str:
    log.seek(max(log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES, 0))
    return log.read().decode(errors="replace").strip()
