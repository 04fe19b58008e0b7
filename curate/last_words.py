"""What a worker said before it died, from whichever node it was on.

Ray keeps what a process prints in files of its node, and tells the driver nothing but that it
died. A small task on that node reads the end of them; what it finds goes into ``logs/workers.log``
of the RUN folder, and the last lines into the error.
"""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BYTES_MAX, _LINES_MAX = 8000, 20
_WAIT_S = 10.0
_MARKS = (":job_id:", ":actor_name:", ":task_name:")  # that Ray writes between the lines


class LastWords:
    """Asks nodes for the ends of logs, and keeps them.

    Args:
        ray: connected.
        log: file that they are added to; None: none.
    """

    def __init__(self, ray: Any, log: Path | None) -> None:
        self.ray = ray
        self.log = log

    def of(self, actor: Any, error: Exception) -> tuple[str, str]:
        """Return in one line where a worker died, and the last lines that it wrote."""
        where, lines = "a worker on an unknown node", ""
        with contextlib.suppress(Exception):  # what is asked for here must not hide the error
            where, node_id, pid = self._place_of(actor._actor_id.hex())
            lines = self._lines_of(node_id, pid) if node_id else ""
        if self.log is not None:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            with contextlib.suppress(OSError), self.log.open("a") as stream:
                stream.write(f"{now} {where}: {error}\n{lines}\n\n")
        return where, "\n".join(lines.splitlines()[-_LINES_MAX:])

    def _place_of(self, actor_id: str) -> tuple[str, str, int]:
        """Say where it worked; returns its node too where that can be asked, and its process."""
        from ray._private import state  # the public way asks the dashboard, which may not run

        found = state.actors(actor_id)
        node_id, pid = found["Address"]["NodeID"], found["Pid"]
        node = next((n for n in self.ray.nodes() if n["NodeID"] == node_id), None)
        if node is None:
            return "a worker that never had a node", "", pid
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        where = f"the worker with process id {pid} on node {name}"
        if not node["Alive"]:
            return f"{where}, which is gone with its logs", "", pid
        return where, node_id, pid

    def _lines_of(self, node_id: str, pid: int) -> str:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        read = self.ray.remote(_tails).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        return self.ray.get(read.remote(pid), timeout=_WAIT_S)


def _tails(pid: int) -> str:
    """Return the ends of what a process of this node wrote to stdout and stderr."""
    from ray._private import worker

    node: Any = worker.global_worker.node
    folder = Path(node.get_logs_dir_path())
    return "\n".join(line for kind in ("out", "err") for line in _lines(folder, pid, kind))


def _lines(folder: Path, pid: int, kind: str) -> Iterator[str]:
    for file in sorted(folder.glob(f"worker-*-{pid}.{kind}")):
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, 2) - _BYTES_MAX, 0))
            text = stream.read().decode(errors="replace")
        for line in text.splitlines():
            if line.strip() and not line.startswith(_MARKS):
                yield line
