"""Ray nodes that do not have orbit4d, as the machines of a cluster that was started by others."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_WITHOUT = """
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", str(f))]
"""
_START_TIMEOUT_S = 150.0
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 32}  # all nodes and drivers need it


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of a node whose Python finds no orbit4d, however it is installed."""
    (folder / "sitecustomize.py").write_text(_WITHOUT)
    left = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "PYTHONPATH"))}
    return left | TOKEN | {"PYTHONPATH": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}


@contextlib.contextmanager
def _node(folder: Path, words: list[str], around: list[str]) -> Iterator[str]:
    """Start a node; give what it says once it runs."""
    said = folder / f"node-{time.monotonic_ns()}.log"
    argv = [*around, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
    argv += ["--object-store-memory", str(80 * 2**20), "--disable-usage-stats"]
    with said.open("w") as stream:
        node = subprocess.Popen(
            argv, cwd=folder, env=_environment(folder), stdout=stream, stderr=stream
        )
    try:
        until = time.monotonic() + _START_TIMEOUT_S
        while "--block" not in (text := said.read_text()).partition("Ray runtime started")[2]:
            assert node.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.1)
        yield text
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(timeout=30)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()


@contextlib.contextmanager
def head(*words: str) -> Iterator[str]:
    """Give the address of a cluster whose head offers nothing to run on."""
    with tempfile.TemporaryDirectory(prefix="o4d") as name:
        words = ("--head", "--port=0", "--num-cpus=0", "--include-dashboard=false", *words)
        with _node(Path(name), [*words, f"--temp-dir={name}/ray"], []) as said:
            address = re.search(r"--address='([^']+)'", said)
            assert address is not None, said
            yield address[1]


@contextlib.contextmanager
def worker(address: str, *words: str, around: tuple[str, ...] = ()) -> Iterator[None]:
    """Add a node; ``around`` are words before its command."""
    with (
        tempfile.TemporaryDirectory(prefix="o4d") as name,
        _node(Path(name), [f"--address={address}", *words], list(around)),
    ):
        yield
