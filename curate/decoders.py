"""Compressed streams, decoded in a process of their own: decoders are C++, the bytes a stranger's.

The process starts with the first stream, serves all that follow, and is ended when one of them
crashes it, takes too long or asks for too much memory. That costs the asset and nothing else. What
the machine does to it, a kill or a start that fails, costs no asset: it is tried again.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from curate.inspect_types import InspectLimits, Rule, fault
from shards.errors import FROM_OUTSIDE, AssetError, MachineError

_TIMEOUT_S = 60.0
_MEMORY_BYTES = 6 * 1024**3
_TRIES, _PAUSE_S = 3, 0.5
_GRACE_S = 5.0
_READY = b"ready"
_ROOT = Path(__file__).resolve().parents[1]

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class MeshoptLayout:
    """What a meshopt stream holds: ``count`` elements of ``size`` bytes.

    ``mode`` and ``filter`` are words of EXT_meshopt_compression.
    """

    count: int
    size: int
    mode: str
    filter: str


class _Decoder:
    """The helper process: one stream in, one archive of arrays out, in turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def decode(self, about: Mapping[str, Any], data: bytes) -> Arrays | str:
        """Decode a stream; returns the reason where that fails.

        Args:
            about: ``codec``, and what that has to know.
            data: the stream.
        """
        with self._lock:
            for _ in range(_TRIES):
                answer, killed = self._ask(json.dumps(about).encode(), data)
                if answer is not None:
                    with np.load(BytesIO(answer)) as arrays:
                        found = dict(arrays)
                    return str(found["error"]) if "error" in found else found
                if not killed:
                    break
        return "the decoder crashed or hung over it"

    def _ask(self, *words: bytes) -> tuple[bytes | None, bool]:
        """Return the answer, if there is one, and whether somebody else killed the helper."""
        process = self._running()
        assert process.stdin is not None
        answer: bytes | None = None
        with _deadline(process) as is_late, contextlib.suppress(OSError):
            for word in words:
                _send(process.stdin, word)
            answer = _receive(process.stdout)
        if answer is not None:
            return answer, False
        code = 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_GRACE_S)  # its pipe closes a moment before it is gone
        self.close()
        killed = code < 0 and signal.Signals(-code).name in FROM_OUTSIDE
        return None, killed and not is_late()

    def close(self) -> None:
        """End the helper, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        """Give the helper once it is ready.

        Raises:
            MachineError: it does not start.
        """
        if self._process is not None and self._process.poll() is None:
            return self._process
        for number in range(_TRIES):
            self.close()
            time.sleep(number * _PAUSE_S)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "curate.decoders"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            with _deadline(self._process):
                if _receive(self._process.stdout) == _READY:
                    return self._process
        self.close()
        raise MachineError(
            f"the decoder of compressed meshes did not start {_TRIES} times; see what it says: "
            f"PYTHONPATH={_ROOT} {sys.executable} -m curate.decoders"
        )


@contextlib.contextmanager
def _deadline(process: subprocess.Popen[bytes]) -> Iterator[Callable[[], bool]]:
    """Kill a process where the block takes too long; gives what tells whether it did."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(_TIMEOUT_S, end)
    timer.start()
    try:
        yield late.is_set
    finally:
        timer.cancel()


_decoder = _Decoder()


def decode_draco(data: bytes, limits: InspectLimits) -> Arrays:
    """Decode a mesh.

    Returns:
        ``indices`` (3 f,), and each attribute by the decimal of its unique id, (n, c).

    Raises:
        AssetError: rule ``bad_draco``.
    """
    found = _decoder.decode({"codec": "draco"}, data)
    if isinstance(found, str):
        raise _refusal("bad_draco", "Draco", found)
    vertices = max((len(found[name]) for name in found if name != "indices"), default=0)
    triangles = len(found["indices"]) // 3
    if vertices > limits.vertices_max or triangles > limits.triangles_max:
        holds = f"it holds {vertices:,} vertices and {triangles:,} triangles"
        raise _refusal("bad_draco", "Draco", holds)
    return found


def decode_meshopt(data: bytes, layout: MeshoptLayout) -> np.ndarray:
    """Decode a buffer view; the caller bounds its size.

    Returns:
        uint8 (count * size,).

    Raises:
        AssetError: rule ``bad_meshopt``.
    """
    found = _decoder.decode({"codec": "meshopt"} | asdict(layout), data)
    if isinstance(found, str):
        raise _refusal("bad_meshopt", "meshopt", found)
    return found["bytes"]


def _refusal(rule: Rule, codec: str, reason: str) -> AssetError:
    return fault(rule, f"a {codec} stream cannot be decoded: {reason}; export it again.")


def _send(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(8, "little"))
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> bytes | None:
    assert stream is not None
    head = stream.read(8)
    length = int.from_bytes(head, "little")
    content = stream.read(length) if len(head) == 8 else b""
    return content if len(head) == 8 and len(content) == length else None


def _draco(data: bytes) -> Arrays:
    import DracoPy

    mesh = DracoPy.decode(data)
    found = {str(a["unique_id"]): np.asarray(a["data"]) for a in mesh.attributes}
    return found | {"indices": np.asarray(mesh.faces, np.int64).reshape(-1)}


def _meshopt(data: bytes, count: int, size: int, mode: str, filter: str) -> Arrays:
    import meshopt

    decoded = meshopt.decode_gltf_buffer(data, count, size, mode, filter)  # type: ignore[arg-type]
    return {"bytes": np.ascontiguousarray(decoded).view(np.uint8).reshape(-1)}


def _serve() -> None:
    """Decode until stdin closes: what the helper process runs."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    codecs = {"draco": _draco, "meshopt": _meshopt}
    _send(answers, _READY)
    while (header := _receive(sys.stdin.buffer)) is not None:
        data = _receive(sys.stdin.buffer)
        if data is None:
            return
        about = json.loads(header)
        try:
            found = codecs[about.pop("codec")](data, **about)
        except MemoryError:
            found = {"error": np.array("it asks for too much memory")}
        except Exception as error:  # decoders have exceptions of their own
            found = {"error": np.array(f"{type(error).__name__}: {error}")}
        archive = BytesIO()
        np.savez(archive, **found)  # type: ignore[arg-type]
        _send(answers, archive.getvalue())


if __name__ == "__main__":
    _serve()
