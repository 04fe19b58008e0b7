"""Where a worker leaves what it finished: the asset's staging folder.

Of a RUN in an object store the same files go there too, clip by clip, so that whoever goes on with
the asset may be on another machine. A clip's sample is uploaded before its record, and
``asset.json`` after all else: what lies in the store can be gone on from at any moment.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.job import Job
from shards.mirror import fetch
from shards.objects import Objects

DONE = "asset.json"
_KINDS = (".tar", ".json")  # in this order
Document = dict[str, Any]


class Stage:
    """One asset's staging folder, and its copy in a store."""

    def __init__(self, job: Job) -> None:
        self.folder = job.staging
        self.objects: Objects | None = job.store
        self._there: dict[str, tuple[int, int]] = {}  # uploaded: name -> bytes, time of change

    def push(self) -> None:
        """Upload what is finished and not there yet."""
        if self.objects is None:
            return
        for path in _in_order(self.folder):
            about = path.stat()
            stamp = about.st_size, about.st_mtime_ns
            if self._there.get(path.name) != stamp:
                self.objects.write(f"staging/{self.folder.name}/{path.name}", path.read_bytes())
                self._there[path.name] = stamp

    def pull(self) -> None:
        """Fetch what another worker finished of this asset."""
        if self.objects is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        here = {path.name for path in self.folder.iterdir()}
        below = f"staging/{self.folder.name}/"
        names = {name.removeprefix(below) for name in self.objects.list(below.rstrip("/"))}
        parent = self.folder.parents[1]
        fetch(self.objects, parent, (below + name for name in sorted(names - here - {DONE})))
        for path in _in_order(self.folder):
            if path.name in names:
                about = path.stat()
                self._there[path.name] = about.st_size, about.st_mtime_ns


def _in_order(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.iterdir()) if path.suffix in _KINDS]
    found = [path for path in found if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.name == DONE, _KINDS.index(path.suffix)))


@contextlib.contextmanager
def staging(job: Job) -> Iterator[Stage]:
    """Work on an asset's staging folder; of a store's RUN it is not kept unless the job says so."""
    stage = Stage(job)
    stage.pull()
    try:
        yield stage
        stage.push()
    finally:
        if job.store is not None and not job.keeps:
            shutil.rmtree(job.staging, ignore_errors=True)


def sizes_of(folder: Path) -> dict[str, int]:
    """Return the bytes of each sample in a staging folder: key -> bytes."""
    return {path.stem: path.stat().st_size for path in folder.glob("[!.]*.tar")}
