"""Draco streams, decoded in a process of their own: the decoder is C++ and the bytes a stranger's.

The process starts with the first stream, serves all that follow, and is ended when one of them
crashes it, takes too long or asks for too much memory. That costs the asset and nothing else.
"""

import atexit
import os
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from curate.inspect_types import InspectLimits, fault
from shards.errors import AssetError

_TIMEOUT_S = 60.0
_MEMORY_BYTES = 6 * 1024**3
_ROOT = Path(__file__).resolve().parents[1]

Arrays = dict[str, np.ndarray]


class _Decoder:
    """The helper process: one stream in, one archive of arrays out, in turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def decode(self, data: bytes) -> Arrays:
        """Decode a stream; ``error`` holds the reason where that is all there is.

        Raises:
            AssetError: the helper came to grief.
        """
        with self._lock:
            process = self._running()
            timer = threading.Timer(_TIMEOUT_S, process.kill)
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                _send(process.stdin, data)
                answer = _receive(process.stdout)
            except OSError:
                answer = None
            finally:
                timer.cancel()
            if answer is None:
                self.close()
                raise _refusal("the decoder crashed or hung over it")
        with np.load(BytesIO(answer)) as arrays:
            return dict(arrays)

    def close(self) -> None:
        """End the helper, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "curate.draco"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )
        return self._process


_decoder = _Decoder()


def decode_draco(data: bytes, limits: InspectLimits) -> Arrays:
    """Decode a mesh.

    Returns:
        ``indices`` (3 f,), and each attribute by the decimal of its unique id, (n, c).

    Raises:
        AssetError: rule ``bad_draco``.
    """
    found = _decoder.decode(data)
    if "error" in found:
        raise _refusal(str(found["error"]))
    vertices = max((len(found[name]) for name in found if name != "indices"), default=0)
    triangles = len(found["indices"]) // 3
    if vertices > limits.vertices_max or triangles > limits.triangles_max:
        raise _refusal(f"it holds {vertices:,} vertices and {triangles:,} triangles")
    return found


def _refusal(reason: str) -> AssetError:
    return fault("bad_draco", f"a Draco stream cannot be decoded: {reason}; export it again.")


def _send(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(8, "little"))
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    head = stream.read(8)
    length = int.from_bytes(head, "little")
    content = stream.read(length) if len(head) == 8 else b""
    return content if len(head) == 8 and len(content) == length else None


def _serve() -> None:
    """Decode until stdin closes: what the helper process runs."""
    import resource

    import DracoPy

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the decoder prints is no answer
    while (data := _receive(sys.stdin.buffer)) is not None:
        try:
            mesh = DracoPy.decode(data)
            found = {str(a["unique_id"]): np.asarray(a["data"]) for a in mesh.attributes}
            found["indices"] = np.asarray(mesh.faces, np.int64).reshape(-1)
        except MemoryError:
            found = {"error": np.array("it asks for too much memory")}
        except Exception as error:  # the decoder has exceptions of its own
            found = {"error": np.array(f"{type(error).__name__}: {error}")}
        archive = BytesIO()
        np.savez(archive, **found)  # type: ignore[arg-type]
        _send(answers, archive.getvalue())


if __name__ == "__main__":
    _serve()
