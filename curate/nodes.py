"""What a node must have to work on a build: the inputs, the RUN folder, the same code and Blender.

Nodes share nothing but what is mounted on them. A node that does not see an input would fail every
asset it is given, and one with another Blender would make other bytes under the same fingerprint.
So all nodes are looked at before the first asset, and each worker looks again as it starts, for
nodes that join later.
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from curate.code_package import code_digest, code_on_disk
from curate.sources import Source
from shards.errors import ConfigError, MachineError
from shards.objects import Objects
from shards.store import Missing

_TOKEN = ".seen"  # in RUN/logs
_STORE_S = 20.0  # for a store to answer
_LOOKS, _LOOK_PAUSE_S = 3, 0.5
_LOOK_TIMEOUT_S = 300.0  # a node may have to be sent the code first


@dataclass(frozen=True, slots=True)
class Needs:
    """What every node must see.

    Attributes:
        inputs: path -> size in bytes; None: a folder.
        run: the RUN folder; None where it is no folder.
        store: the object store that the RUN lies in; None where it is a folder.
        token: what stands in a file of it, so that another folder of that name is noticed.
        blender, code: versions that decide the bytes of a sample.
    """

    inputs: Mapping[str, int | None]
    run: Path | None
    token: str
    blender: str
    code: str
    store: Objects | None = None

    def missing(self) -> str:
        """Say what this machine lacks; an empty string if nothing."""
        return (
            self._missing_version()
            or next(filter(None, map(_missing_input, self.inputs, self.inputs.values())), "")
            or (_missing_run(self.run, self.token) if self.run is not None else "")
            or (_missing_store(self.store) if self.store is not None else "")
        )

    def check(self) -> None:
        """Raise MachineError, naming this machine, if it lacks something."""
        if missing := self.missing():
            raise MachineError(f"node {socket.gethostname()}: {missing}")

    def _missing_version(self) -> str:
        try:
            blender = metadata.version("bpy")
        except metadata.PackageNotFoundError:
            blender = "none"
        if blender != self.blender:
            return f"has bpy {blender}, expected {self.blender} as where the build was started"
        if (here := code_on_disk()) != self.code:
            return (
                f"has other code of orbit4d ({here}) than where the build was started "
                f"({self.code}): its image is another, or the code changed meanwhile; renew the "
                "image, give --code ship, or start the build again"
            )
        return ""


@contextlib.contextmanager
def needs_of(
    sources: Sequence[Source], roots: Sequence[Path], run: Path | Objects
) -> Iterator[Needs]:
    """Give what nodes must see for these assets; while it is given, a token lies in RUN/logs."""
    inputs: dict[str, int | None] = {}
    for root in roots:
        inputs[str(root)] = None if root.is_dir() else root.stat().st_size
    seen: set[Path] = set()
    for source in sources:  # the first file of each folder
        if source.remote is None and source.root not in seen and source.file.is_file():
            seen.add(source.root)
            inputs[str(source.file.absolute())] = source.file.stat().st_size
    token = secrets.token_hex(8)
    versions = metadata.version("bpy"), code_digest()
    if isinstance(run, Objects):
        yield Needs(inputs, None, token, *versions, store=run)
        return
    needs = Needs(inputs, run.absolute(), token, *versions)
    file = run / "logs" / _TOKEN
    file.write_text(token)
    try:
        yield needs
    finally:
        file.unlink(missing_ok=True)


def check_nodes(ray: Any, needs: Needs, resources: Mapping[str, float]) -> None:
    """Look at all nodes on which a worker could run.

    Args:
        ray: connected.
        needs: what they must see.
        resources: of the smallest worker, by Ray's names (``CPU``, ``GPU``, custom ones).

    Raises:
        MachineError: one lacks something; names all such nodes and what each lacks.
    """
    for left in reversed(range(_LOOKS)):
        lacking = _lacking(ray, needs, resources)
        if not lacking:
            return
        if left == 0 or not all(may_pass for _, may_pass in lacking):
            raise MachineError("; ".join(sorted(sentence for sentence, _ in lacking)))
        time.sleep(_LOOK_PAUSE_S)


def _lacking(ray: Any, needs: Needs, resources: Mapping[str, float]) -> list[tuple[str, bool]]:
    """Say what each node lacks, and whether that may pass within moments.

    Code does: where nodes share a disk, Ray lays down anew what was sent for each of them, under
    the processes of the others.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    looks: dict[Any, str] = {}
    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    for node in ray.nodes():
        offered = node["Resources"]
        if node["Alive"] and all(offered.get(name, 0) >= n for name, n in resources.items()):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            looks[look.options(scheduling_strategy=there).remote(needs)] = name
    done, late = ray.wait(list(looks), num_returns=len(looks), timeout=_LOOK_TIMEOUT_S)
    lacking = [(f"node {looks[r]}: no answer in {_LOOK_TIMEOUT_S:g} s", False) for r in late]
    for reference in done:
        missing, may_pass = _answer(ray, reference)
        if missing:
            lacking.append((f"node {looks[reference]}: {missing}", may_pass))
    return lacking


def _look(needs: Needs) -> tuple[str, bool]:
    missing = needs.missing()
    return missing, bool(missing) and code_on_disk() != needs.code


def _answer(ray: Any, reference: Any) -> tuple[str, bool]:
    try:
        return ray.get(reference)
    except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
        return "", False  # it went away meanwhile; another may come
    except ray.exceptions.OutOfMemoryError:
        return "Ray ended what ran there: the machine has no memory left", True
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"cannot run orbit4d: {lines[-1] if lines else type(error).__name__}", True


def _missing_store(store: Objects) -> str:
    config = store.config.model_copy(update={"patience_s": min(_STORE_S, store.config.patience_s)})
    try:
        Objects(store.url, config).read("run.json")
    except Missing:
        return f"sees another {store.url}: run.json is not there"
    except (MachineError, ConfigError) as error:
        return str(error)
    return ""


def _missing_input(path: str, size: int | None) -> str:
    hint = "; mount it there under the same path, or give URLs as inputs"
    try:
        found = os.stat(path)
        if size is None:
            os.listdir(path)
        else:
            with open(path, "rb") as stream:
                stream.read(1)
    except OSError as error:
        return f"cannot read the input {path} ({error.strerror}){hint}"
    if size is not None and found.st_size != size:
        return f"has another file at {path} ({found.st_size} bytes, expected {size}){hint}"
    return ""


def _missing_run(run: Path, token: str) -> str:
    hint = "; --out has to be a folder that all nodes share, mounted under the same path"
    mine = run / "logs" / f"{_TOKEN}-{secrets.token_hex(8)}"
    try:
        seen = (run / "logs" / _TOKEN).read_text()
        mine.touch()
        mine.unlink()
    except OSError as error:
        return f"cannot read and write the RUN folder {run} ({error.strerror}){hint}"
    return "" if seen == token else f"has another folder at {run}{hint}"
