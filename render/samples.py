"""Make the built-in sample assets: animated 3D files with known motion, from nothing.

The work is done by a Blender process (``render/blender/samples``); this module starts it,
watches it and reads what it wrote. A folder that is already complete is left alone.
"""

import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from shards.errors import Orbit4dError
from shards.files import clear_temporaries, sha256_of

_TIMEOUT_S = 300.0  # some 15 s on two free cores
_TAIL_CHARS = 2000
_SOURCE = Path(__file__).resolve().parent / "blender" / "samples"


class SamplesError(Orbit4dError):
    """The sample assets could not be made."""


def make_samples(out: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Make the sample assets in a folder, or find them there.

    Beside each ``NAME.glb`` stands ``NAME.truth.json``: the clips with index, duration in
    seconds, expected verdict and rule, and a known amplitude. ``samples.json`` lists
    everything and is written last. The same seed and versions give the same bytes.

    Returns:
        The truth of every asset, in the order of the catalogue.
    """
    out = out.resolve()
    version = _version()
    found = _complete(out, seed, version)
    if found is not None:
        return found
    out.mkdir(parents=True, exist_ok=True)
    clear_temporaries(out)
    _run([str(out), "--seed", str(seed), "--version", version])
    made = _complete(out, seed, version)
    if made is None:
        raise SamplesError(f"{out}: Blender ended without error but the sample set is not complete")
    return made


def _version() -> str:
    """Identify what decides the bytes: the sources of the samples and Blender's version."""
    digest = hashlib.sha256(importlib.metadata.version("bpy").encode())
    for path in sorted(_SOURCE.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _complete(out: Path, seed: int, version: str) -> list[dict[str, Any]] | None:
    try:
        head = json.loads((out / "samples.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(head, dict) or (head.get("seed"), head.get("version")) != (seed, version):
        return None
    samples: list[dict[str, Any]] = head["samples"]
    for sample in samples:
        path = out / sample["file"]
        if not path.is_file() or sha256_of(path) != sample["sha256"]:
            return None
        if not (out / f"{sample['name']}.truth.json").is_file():
            return None
    return samples


def _run(arguments: list[str]) -> None:
    # A group of its own: on a timeout Blender goes with everything it started.
    process = subprocess.Popen(
        [sys.executable, "-m", "render.blender.samples", *arguments],
        cwd=_SOURCE.parents[2],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=_TIMEOUT_S)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            tail = _tail(errors)
            raise SamplesError(f"making the samples took over {_TIMEOUT_S:.0f} s\n{tail}") from None
        raise
    if process.returncode != 0:
        raise SamplesError(
            f"making the samples ended with status {process.returncode}\n{_tail(errors)}"
        )


def _tail(errors: bytes) -> str:
    return errors.decode(errors="replace")[-_TAIL_CHARS:].strip()
