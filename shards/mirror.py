"""A RUN in an object store as a local folder: its small files, and stand-ins for its shards.

Ledger, index and settings are copied; of a tar there is only a sparse file of its size. What needs
a sample's bytes asks ``read_sample_bytes``, which knows of which RUN a folder is the mirror.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from shards import index
from shards.errors import ConfigError, RunError
from shards.files import own_folder
from shards.hold import Commit, numbered, read_commit
from shards.index import IndexEntry
from shards.objects import Objects, is_object_url
from shards.store import Missing

_CHUNK_BYTES = 16 * 2**20  # of a shard that is fetched whole
_AT_ONCE = 16  # small objects that are fetched at the same time
_FILES = ("run.json", "tombstones.json", "index.json", "index.parquet")

_places: dict[Path, Objects] = {}  # the mirrors of this process


def read_sample_bytes(run: Path, entry: IndexEntry) -> bytes:
    """Read a sample where the index says that it lies; less of it where the tar ends.

    Raises:
        OSError: the tar is not there.
        MachineError: the store of a mirrored RUN cannot be read.
    """
    if (objects := _places.get(run)) is not None:
        try:
            return objects.read_range(f"shards/{entry.shard}.tar", entry.offset, entry.length)
        except Missing as error:
            raise FileNotFoundError(2, "not in the store", f"{entry.shard}.tar") from error
    with (index.shard_dir(run) / f"{entry.shard}.tar").open("rb") as stream:
        stream.seek(entry.offset)
        return stream.read(entry.length)


def pull(objects: Objects, folder: Path, commit: Commit) -> None:
    """Copy the small files of all that is committed, and make stand-ins for the shards."""
    sizes = objects.list("shards")
    tars = {PurePosixPath(name).stem: sizes[name] for name in numbered(sizes)}
    parts = {PurePosixPath(name).stem for name in objects.list("index")}
    for name in ("shards", "index", "ledger"):
        (folder / name).mkdir(exist_ok=True)
    whole = [name for name in sorted(tars.keys() & parts) if commit.has_shard(name)]
    ledgers = (PurePosixPath(name) for name in numbered(objects.list("ledger")))
    fetch(
        objects,
        folder,
        [
            *_FILES,
            *(f"index/{name}.parquet" for name in whole),
            *(str(name) for name in ledgers if commit.has_part(name.stem)),
        ],
    )
    for name in whole:
        stand_in(index.shard_dir(folder) / f"{name}.tar", tars[name])


def fetch(objects: Objects, folder: Path, names: Iterable[str]) -> None:
    """Copy objects into a folder, those that there are."""

    def one(name: str) -> None:
        with contextlib.suppress(Missing):
            (folder / name).write_bytes(objects.read(name))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, names))


def stand_in(path: Path, size: int) -> None:
    """Make a file that has a size and no content."""
    with path.open("wb") as stream:
        stream.truncate(size)


@contextlib.contextmanager
def registered(folder: Path, objects: Objects) -> Iterator[None]:
    """Let ``read_sample_bytes`` know whose mirror a folder is."""
    _places[folder] = objects
    try:
        yield
    finally:
        del _places[folder]


@contextlib.contextmanager
def mirrored(objects: Objects) -> Iterator[Path]:
    """Give a temporary folder with what readers of ledger and index need of a RUN.

    Raises:
        RunError: there is no RUN.
    """
    parent = own_folder("mirror")
    folder = parent / PurePosixPath(objects.url).name  # pages are headed by its name
    try:
        folder.mkdir()
        commit, version = read_commit(objects)
        if version is None and commit == Commit():
            raise RunError(
                f"{objects.url}: holds no RUN; give what `orbit4d build --out` was given"
            )
        pull(objects, folder, commit)
        with registered(folder, objects):
            yield folder
    finally:
        shutil.rmtree(parent, ignore_errors=True)


@contextlib.contextmanager
def shard_file(run: Path, name: str) -> Iterator[Path]:
    """Give a shard as a file; one that lies in a store is here while it is looked at."""
    tar = index.shard_dir(run) / f"{name}.tar"
    if (objects := _places.get(run)) is None:
        yield tar
        return
    with tempfile.TemporaryDirectory(dir=run) as folder:
        here, size = Path(folder) / tar.name, tar.stat().st_size
        with here.open("wb") as stream:
            for start in range(0, size, _CHUNK_BYTES):
                length = min(_CHUNK_BYTES, size - start)
                stream.write(objects.read_range(f"shards/{tar.name}", start, length))
        yield here


@contextlib.contextmanager
def as_folder(run: Path | str) -> Iterator[Path]:
    """Give a RUN as a folder, be it one or the URL of an object store."""
    if not is_object_url(run):
        if "://" in str(run):
            raise ConfigError(f"{run}: expected a folder, or a URL of s3://, gs:// or az://")
        yield Path(run)
        return
    with mirrored(Objects(str(run))) as folder:
        yield folder


def publish_pages(folder: Path, run: Path | str) -> str:
    """Put the pages of a mirror into its RUN; returns where they are."""
    if (objects := _places.get(folder)) is None:
        return str(run)
    push(objects, folder, "report")
    return objects.url


def push(objects: Objects, folder: Path, below: str) -> None:
    """Copy all files below a folder of a mirror into the store, and let go of old thumbnails."""
    files: Mapping[str, Path] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted((folder / below).rglob("*"))
        if path.is_file()
    }
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: objects.write(name, files[name].read_bytes()), files))
    thumbs = f"{below}/thumbs"  # those of clips that were taken down since must not stay
    objects.delete(sorted(objects.list(thumbs).keys() - files.keys()))
