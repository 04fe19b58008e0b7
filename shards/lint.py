"""Is a RUN fit for readers as they are? Cheap: looks at tar headers and the index, not at bytes."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from shards import index
from shards.check import Fault
from shards.errors import ShardError

_RETAR = "write the folder again: orbit4d shards merge RUN --out NEW"
_UNEVEN = 2.0  # the largest shard over the smallest


def lint_run(run: Path, ranks: int = 1, workers: int = 1) -> list[Fault]:
    """Find what trips readers that split by shard, as stock WebDataset does.

    Members of a sample lie side by side, one ``KEY.json`` each; no truncated tar; no key twice;
    enough shards for ``ranks * workers``, of about equal size. Works without an index, on any
    folder with ``shards/*.tar``.

    Raises:
        ShardError: if there are no tars.
    """
    tars = index.tars(run)
    if not tars:
        raise ShardError(f"{run}: no shards/*.tar here; give a RUN folder")
    faults: list[Fault] = []
    keys: Counter[str] = Counter()
    counts: list[int] = []
    for tar in tars:
        found: list[str] = []
        faults += _tar_faults(tar, found)
        keys.update(found)
        counts.append(len(found))
    faults += [
        Fault(key, f"comes {count} times", _RETAR) for key, count in keys.items() if count > 1
    ]
    return faults + list(_size_faults(run, tars, counts, ranks * workers))


def _tar_faults(tar: Path, keys: list[str]) -> Iterator[Fault]:
    documents: Counter[str] = Counter()
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                key, dot, _ = info.name.partition(".")
                if not info.isreg() or not dot or "/" in key:
                    yield Fault(tar.stem, f"member {info.name!r} is no KEY.NAME file", _RETAR)
                    continue
                if not keys or keys[-1] != key:
                    if key in documents:
                        what = "its members are not side by side"
                        yield Fault(f"{tar.stem} {key}", what, _RETAR)
                    keys.append(key)
                documents[key] += info.name == f"{key}.json"
            end = archive.offset
        if tar.stat().st_size < end + tarfile.BLOCKSIZE:
            yield Fault(tar.stem, "ends without an end-of-archive mark", "copy it here again")
    except tarfile.TarError as error:
        yield Fault(tar.stem, f"is cut or damaged: {error}", "copy it here again")
    for key, count in documents.items():
        if count != 1:
            yield Fault(f"{tar.stem} {key}", f"has {count} documents {key}.json", _RETAR)


def _size_faults(run: Path, tars: list[Path], counts: list[int], readers: int) -> Iterator[Fault]:
    smaller = "cut smaller shards: orbit4d shards merge RUN --out NEW --target-mb N"
    if len(tars) < readers:
        what = f"{len(tars)} shards for {readers} readers (ranks x workers)"
        yield Fault(str(run), f"{what}: those that split by shard leave some idle", smaller)
    if min(counts) * _UNEVEN < max(counts):
        what = f"shards hold {min(counts)} to {max(counts)} samples: ranks would starve"
        yield Fault(str(run), what, _RETAR)
