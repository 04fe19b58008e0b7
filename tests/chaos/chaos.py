"""Kill what a build consists of, again and again, and compare what is left with an undisturbed one.

Run ``python -m tests.chaos.chaos [--kills N] [--seed S] [--store s3]``. A driver builds a few
assets on a Ray cluster of three nodes inside this machine; a killer with a seed sends SIGKILL to
Blender, to Ray workers, to raylets (a whole node; another takes its place) and to the driver. What
the driver's death interrupts is started again with the same command. When a build ends, its samples
are compared and the next begins, until the kills are spent. With a store the RUNs lie in a local S3
server behind a proxy that refuses, cuts and swallows a share of all requests, and whoever uploads a
shard dies too.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from curate import ledger
from shards import index
from shards.mirror import as_folder
from shards.objects import Objects, is_object_url
from tests.faulty_store import Fault, Proxy, faulty, now_and_then
from tests.render.make_gltf import moving_cube

ROOT = Path(__file__).resolve().parents[2]
_SETTINGS = [
    "render.sequences.width=32", "render.sequences.height=32", "render.sequences.frames=4",
    "render.engine.samples=1", "shards.target_mb=0.03", "curate.duplicates.reject=nothing",
    "limits.threads=1", "limits.retry.machine_faults_max=1000", "limits.retry.pause_s=0.05",
    "limits.retry.pause_max_s=0.5", "store.lease_s=5", "store.pause_s=0.05", "store.timeout_s=5",
]  # fmt: skip
_CUT_OFF = "the Ray node that this build is connected to"
_END_TIMEOUT_S = 300.0  # for a build to end once nothing is killed any more
_FAULTY_SHARE = 0.05  # of all requests to a bad store
_CARDS = {"blender": 4, "worker": 3, "driver": 2, "node": 1}  # how often each dies
_WRITERS = 2  # likewise, of those who upload a shard
_WAIT_FOR_KIND_S = 10.0
_MISSES_MAX = 3  # of one deck; beyond, what is not met is left out
_UPLOAD_S = 1.0  # as of a large shard; else nobody who uploads one is ever met
Outcome = tuple[Counter[tuple[str, str]], list[tuple[Any, ...]]]


def command(inputs: Path, run: Path | str, *more: str) -> list[str]:
    """Return the one command that is given all the time."""
    settings = [part for setting in _SETTINGS for part in ("--set", setting)]
    argv = [sys.executable, "-m", "orbit4d", "build", str(inputs), "--out", str(run)]
    return [*argv, *settings, *more]


def outcome(run: Path | str) -> Outcome:
    """Return the multiset of (key, sha256) over all shards, and the ledger's verdicts."""
    with as_folder(run) as folder:
        return _outcome(folder)


def nothing_is_staged(run: Path | str) -> bool:
    """Tell whether all that was staged is packed."""
    if is_object_url(run):
        return not Objects(str(run)).list("staging")
    return not (Path(run) / "staging").exists()


def _outcome(run: Path) -> Outcome:
    samples = Counter(
        (entry.key, entry.sha256) for part in index.committed(run).values() for entry in part
    )
    names = ("uid", "clip_index", "verdict", "rule", "sample_key", "fingerprint")
    return samples, [tuple(row[name] for name in names) for row in ledger.load(run)]


class Nodes:
    """A Ray cluster of a head without CPUs and two nodes with one each, all on this machine."""

    def __init__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ["PYTHONPATH"] = str(ROOT)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self._add() for _ in range(2)]

    @property
    def address(self) -> str:
        return self.cluster.address

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)

    def raylets(self) -> list[int]:
        return [node.all_processes["raylet"][0].process.pid for node in self.nodes]

    def kill_node(self, place: int) -> None:
        """Kill a raylet as a machine dies: with all that it runs; and start another node."""
        raylet = psutil.Process(self.raylets()[place])
        family = [*raylet.children(recursive=True), raylet]
        for process in reversed(family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(self.nodes[place], allow_graceful=False)
        self.nodes[place] = self._add()

    def inside(self) -> Iterator[psutil.Process]:
        """List everything that the two nodes run."""
        for pid in self.raylets():
            with contextlib.suppress(psutil.NoSuchProcess):
                yield from psutil.Process(pid).children(recursive=True)

    def close(self) -> None:
        self.cluster.shutdown()


class Killer:
    """Chooses by a seed what dies and when.

    Kinds are dealt like cards, and waited for: drawn anew each time, most kills would meet the
    driver, which is there also while nothing else is yet.
    """

    def __init__(
        self, nodes: Nodes, seed: int, pause_max_s: float, *, writers: bool = False
    ) -> None:
        self.nodes = nodes
        self.pause_max_s = pause_max_s
        self.draw = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self._cards = {**_CARDS, "writer": _WRITERS} if writers else _CARDS
        self._deck: list[str] = []
        self._missed = 0

    def pause_s(self) -> float:
        return self.draw.uniform(0.1, self.pause_max_s)

    def strike(self, driver: subprocess.Popen[bytes]) -> None:
        """Kill the next thing, once there is such a thing; another first if that takes long."""
        if not self._deck:
            self._deck = [kind for kind, count in self._cards.items() for _ in range(count)]
            self.draw.shuffle(self._deck)
            self._missed = 0
        kind = self._deck.pop()
        until = time.monotonic() + _WAIT_FOR_KIND_S
        while driver.poll() is None:
            if self._kill(kind, driver):
                self.killed[kind] += 1
                return
            if time.monotonic() > until:
                break
            time.sleep(0.05)
        self._missed += 1
        if self._missed <= _MISSES_MAX:
            self._deck.insert(self.draw.randrange(len(self._deck) + 1), kind)

    def _kill(self, kind: str, driver: subprocess.Popen[bytes]) -> bool:
        if kind == "driver":
            driver.send_signal(signal.SIGKILL)
            return True
        if kind == "node":
            self.nodes.kill_node(self.draw.randrange(2))
            return True
        found = [process for process in self.nodes.inside() if _is(kind, process)]
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.draw.choice(found).kill()
        return True


def _is(kind: str, process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    if kind == "blender":
        return "render.blender" in words
    named = "upload_shard" if kind == "writer" else "Worker"
    return bool(words) and words[0].startswith("ray::") and named in words[0]


def storm(
    inputs: Path,
    place: Path | str,
    kills: int,
    seed: int,
    pause_max_s: float = 2.5,
    on_end: Callable[[str, Outcome, Counter[str]], None] | None = None,
) -> tuple[Counter[str], list[Outcome]]:
    """Build under fire until so many kills were made; returns what died, and each build's end.

    RUNs are made below ``place``, a folder or a URL. As a build ends, ``on_end`` is told its RUN,
    what it left, and what died until then.
    """
    nodes = Nodes()
    killer = Killer(nodes, seed, pause_max_s, writers=is_object_url(place))
    ends: list[Outcome] = []
    try:
        while killer.killed.total() < kills:
            name = f"run{len(ends)}"
            run = place / name if isinstance(place, Path) else f"{place}/{name}"
            _build_under_fire(inputs, run, nodes, killer, kills)
            ends.append(outcome(run))
            assert nothing_is_staged(run)
            if on_end is not None:
                on_end(str(run), ends[-1], killer.killed)
    finally:
        nodes.close()
    return killer.killed, ends


def _build_under_fire(
    inputs: Path, run: Path | str, nodes: Nodes, killer: Killer, kills: int
) -> None:
    """Give the same command until it ends well."""
    # every second build has one worker that curates and one that renders
    apart = str(run)[-1] in "13579"
    crew = ("--workers", "1", "--curate-workers", "1") if apart else ("--workers", "2")
    argv = command(inputs, run, *crew, "--address", nodes.address)
    while True:
        with tempfile.TemporaryFile() as said:
            driver = subprocess.Popen(argv, cwd=ROOT, stdout=said, stderr=said)
            try:
                while driver.poll() is None and killer.killed.total() < kills:
                    time.sleep(killer.pause_s())
                    if driver.poll() is None:
                        killer.strike(driver)
                driver.wait(timeout=_END_TIMEOUT_S)
            finally:
                driver.kill()
            said.seek(0)
            words = said.read().decode(errors="replace")[-3000:]
        if driver.returncode == 0:
            return
        # a driver is connected to one of the nodes; it cannot go on when that one dies
        was_cut_off = driver.returncode == 1 and _CUT_OFF in " ".join(words.split())
        assert was_cut_off or driver.returncode == -signal.SIGKILL, f"ended by itself: {words}"


@contextlib.contextmanager
def bad_store(seed: int) -> Iterator[tuple[str, Proxy]]:
    """Serve an empty bucket that now and then refuses, cuts and swallows requests."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with faulty(f"http://{host}:{port}") as proxy:
            keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
            region = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": proxy.url}
            before = dict(os.environ)
            os.environ.update(keys | region)
            try:
                urllib.request.urlopen(urllib.request.Request(f"{proxy.url}/chaos", method="PUT"))
                faults = now_and_then(_FAULTY_SHARE, seed, ("503", "slow_down", "cut", "mute"))

                def plan(method: str, path: str) -> Fault:
                    is_shard = method == "PUT" and "/shards/" in path
                    return faults(method, path) or ("stall" if is_shard else "")

                proxy.plan, proxy.stall_s = plan, _UPLOAD_S
                yield "s3://chaos", proxy
            finally:
                os.environ.clear()
                os.environ.update(before)
    finally:
        server.stop()


def make_inputs(folder: Path, assets: int) -> Path:
    """Write assets with two clips each, and one that is broken."""
    folder.mkdir()
    for number in range(assets):
        moving_cube(folder / f"cube{number}.gltf")
    (folder / "text.glb").write_text("no model at all")
    return folder


def differences(end: Outcome, undisturbed: Outcome) -> str:
    """List samples and rows that only one of two builds has, a line each."""
    lines: list[str] = []
    for name, one, other in (("only here", end, undisturbed), ("missing", undisturbed, end)):
        lines += [f"{name}: sample {key}" for key in (one[0] - other[0])]
        lines += [f"{name}: row {row}" for row in one[1] if row not in other[1]]
    return "\n".join(lines)


def reasons(run: str) -> str:
    """Say why clips of a build failed, a paragraph each."""
    with as_folder(run) as folder:
        failed = [row for row in ledger.load(folder) if row["verdict"] == "failed"]
    return "\n".join(
        f"{row['sample_key'] or row['uid']} {row['clip_index']}: {row['error']}\n{row['log_tail']}"
        for row in failed
    )


def main() -> None:
    """Let a storm pass and print what died and what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause-max-s", type=float, default=6.0, help="between two kills")
    parser.add_argument("--assets", type=int, default=4)
    parser.add_argument("--store", choices=("", "s3"), default="", help="where the RUNs lie")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as until_done:
        folder = Path(name)
        inputs = make_inputs(folder / "inputs", options.assets)
        calm = command(inputs, folder / "calm")
        subprocess.run(calm, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        place: Path | str = folder
        faults: Counter[str] = Counter()
        if options.store:
            place, proxy = until_done.enter_context(bad_store(options.seed))
            faults = proxy.done
        started = time.monotonic()
        undisturbed = outcome(folder / "calm")
        wrong: list[str] = []

        def compare(run: str, end: Outcome, killed: Counter[str]) -> None:
            done, spent_s = killed.total(), time.monotonic() - started
            if end != undisturbed:
                wrong.append(run)
                print(f"{run} differs:\n{differences(end, undisturbed)}\n{reasons(run)}")
            left_s = spent_s * (options.kills - done) / max(done, 1)
            now = f"{done} of {options.kills} kills, {len(wrong)} builds differ, {spent_s:.0f} s"
            print(f"{now}, ETA {left_s:.0f} s", file=sys.stderr, flush=True)

        killed, ends = storm(
            inputs, place, options.kills, options.seed, options.pause_max_s, compare
        )
        figures = {
            "kills": killed.total(), **killed, "builds": len(ends),
            "builds_that_differ": len(wrong),
            "requests_that_failed": faults.total() - faults["stall"],
            "seconds": round(time.monotonic() - started, 1),
        }  # fmt: skip
    print(json.dumps(figures))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
