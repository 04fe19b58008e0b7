"""The Blender process: reads one JSON request a line from stdin, answers one line each.

Started by ``render.runner`` as ``python -m render.blender DATA_MAX_MB THREADS WRITABLE
READABLE...``.
Answers go to the original stdout; everything that Blender prints goes to stderr, which the host
keeps as the log.

Requests: ``load``, ``probe``, ``render``. Before its answer a request may tell of its progress in
lines that hold ``event``: ``render`` does after each image. A request that fails is answered with
``{"ok": false, "kind": ..., "error": ...}`` and the process lives on; the host decides what next.
"""

import faulthandler
import json
import os
import sys
from functools import partial
from typing import Any, TextIO

from render.blender import sandbox


def main() -> None:
    """Serve until stdin closes."""
    sandbox.die_with_parent()
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    data_max_mb, threads, folders, *readable = sys.argv[1:]
    writable = folders.split(os.pathsep)
    sandbox.limit_memory(int(data_max_mb))
    state = sandbox.shut_in(readable, writable)
    print(f"sandbox: {state}", file=sys.stderr, flush=True)
    # After the sandbox has closed, so that the threads that start with it are shut in too.
    with sandbox.few_cores(int(threads)):
        import bpy

        from render.blender.server import Server

    _answer(answers, {"ok": True, "sandbox": state, "blender": bpy.app.version_string})
    server = Server(partial(_answer, answers))
    for line in sys.stdin:
        _answer(answers, server.handle(json.loads(line)))


def _answer(stream: TextIO, answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
