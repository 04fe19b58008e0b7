"""Rewrite RUN folders: merge several, split one by asset, drop what was taken down."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shards import index
from shards.codec import Codec
from shards.errors import RunError, ShardError
from shards.families import families_of
from shards.index import IndexEntry
from shards.read import SampleReader
from shards.sample import decode_sequence, encode_members, sample_to_tar
from shards.store import LocalStore
from shards.tombstones import is_content, is_entry_named, is_named, read_tombstones
from shards.write import ShardWriter, StagedSample

_STAGING = "staging/.withdrawn"  # where a build looks for samples of withdrawn shards, too


@dataclass(frozen=True, slots=True)
class Found:
    """One sample of one of the runs that are worked on."""

    reader: SampleReader
    number: int
    entry: IndexEntry


def balanced(sizes: Sequence[int], target: int) -> list[int]:
    """Cut a row of samples into shards of about equal bytes, none much smaller than the others.

    Args:
        sizes: bytes of each sample.
        target: bytes that a shard should have.

    Returns:
        How many samples each shard takes, in order; each at least one.
    """
    total, left = sum(sizes), len(sizes)
    shards = min(max(1, round(total / max(target, 1))), max(left, 1))
    counts: list[int] = []
    place, done = 0, 0
    for shard in range(shards):
        start, goal = place, (total - done) / (shards - shard)
        taken = 0
        last = shard == shards - 1
        while place < len(sizes) - (shards - shard - 1):
            over = taken + sizes[place] - goal
            if place > start and not last and over > goal - taken:
                break
            taken += sizes[place]
            place += 1
        counts.append(place - start)
        done += taken
    return [count for count in counts if count]


def side_of(family: str, shares: dict[str, float], seed: int = 0) -> str:
    """Say on which side of a split a family of assets lies.

    Its name alone decides: adding or removing other families moves nothing.

    Args:
        family: see ``shards.families``: equal files and copies of one shape are one.
        shares: side -> share, for example ``{"train": 0.9, "val": 0.1}``.
        seed: another one draws other sides.
    """
    digest = hashlib.sha256(f"split {seed} {family}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for side, share in shares.items():
        place -= share
        if place < 0:
            return side
    return list(shares)[-1]


def merge_runs(runs: Sequence[Path], out: Path, target_bytes: int, codec: Codec | None) -> int:
    """Write the samples of several runs into one; what was taken down stays behind.

    Copies of a file that was taken down in one of the runs stay behind in all. A sample that is in
    several of them, byte for byte, is written once.

    Returns:
        How many samples were written.

    Raises:
        ShardError: if a key stands for different samples, or ``out`` has shards already.
    """
    found: dict[str, Found] = {}
    buried = {name for run in runs for name in read_tombstones(LocalStore(run)) if is_content(name)}
    for run in runs:
        for sample in standing(run, buried):
            known = found.setdefault(sample.entry.key, sample)
            if known.entry.sha256 != sample.entry.sha256:
                raise ShardError(
                    f"{run}: sample {sample.entry.key!r} differs from that of {known.reader.run}; "
                    "merge runs of different inputs, or tombstone one of the two"
                )
    return write_run(list(found.values()), out, target_bytes, codec)


def split_run(
    run: Path, out: Path, shares: dict[str, float], target_bytes: int, seed: int = 0
) -> dict[str, int]:
    """Write ``out/SIDE`` for each side; returns side -> samples.

    Raises:
        ShardError: if a side has shards already.
    """
    sides: dict[str, list[Found]] = {side: [] for side in shares}
    samples = list(standing(run))
    for sample, side in zip(samples, sides_of(samples, shares, seed), strict=True):
        sides[side].append(sample)
    return {side: write_run(found, out / side, target_bytes) for side, found in sides.items()}


def sides_of(samples: Sequence[Found], shares: dict[str, float], seed: int = 0) -> list[str]:
    """Say on which side of a split each sample lies; equal files and equal shapes on one."""
    families = families_of([sample.entry for sample in samples])
    return [side_of(family, shares, seed) for family in families]


def standing(run: Path, others: Collection[str] = ()) -> Iterator[Found]:
    """Find the samples of a run that were not taken down, there or by others, in index order."""
    reader = SampleReader(run)
    names = {*reader.tombstones.names, *others}
    for number, entry in enumerate(reader.entries()):
        if not is_entry_named(entry, names):
            yield Found(reader, number, entry)


def write_run(
    samples: Sequence[Found], out: Path, target_bytes: int, codec: Codec | None = None
) -> int:
    """Write samples into a new folder of shards, optionally in another codec."""
    writer = ShardWriter(out, target_bytes)
    if writer.keys:
        raise ShardError(f"{out}: holds {len(writer.keys)} samples already; give another --out")
    rest = iter(samples)
    for count in balanced([sample.entry.length for sample in samples], target_bytes):
        folder = out / _STAGING
        folder.mkdir(parents=True, exist_ok=True)
        writer.commit([_stage(next(rest), folder, codec) for _ in range(count)])
        shutil.rmtree(out / "staging")
    writer.finish()
    return len(samples)


def compact_run(run: Path, target_bytes: int) -> dict[str, int]:
    """Rewrite the shards that hold samples taken down, without those.

    Killed at any moment, calling it again ends the same way. The list of names stays: a later
    build that makes such a sample again does not bring it back to readers.

    Returns:
        ``shards`` rewritten, ``samples`` removed, ``bytes`` freed.
    """
    with _locked(run):
        names = read_tombstones(LocalStore(run))
        writer = ShardWriter(run, target_bytes)
        folder = run / _STAGING
        before = sum(path.stat().st_size for path in index.tars(run))
        gone = [entry for entry in writer.keys.values() if is_entry_named(entry, names)]
        hit = sorted({entry.shard for entry in gone})
        dead = {entry.key for entry in gone}
        for shard in hit:
            held = {entry.key for entry in writer.keys.of_shard(shard)}
            writer.withdraw(shard, folder, held - dead)
        # also those that an interrupted call left behind
        waiting = [
            StagedSample(path.stem, path)
            for path in sorted(folder.glob("*.tar"))
            if path.stem not in writer.keys and not is_named(path.stem, names)
        ]
        rest = iter(waiting)
        for count in balanced([sample.path.stat().st_size for sample in waiting], target_bytes):
            writer.commit([next(rest) for _ in range(count)])
        writer.finish()
        shutil.rmtree(folder, ignore_errors=True)
        after = sum(path.stat().st_size for path in index.tars(run))
    return {"shards": len(hit), "samples": len(gone), "bytes": before - after}


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Keep builds out, and stay out of a build's way: theirs is the same lock."""
    path = run / "logs" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(f"{run}: a build is working on this folder; wait for it or end it") from None
    finally:
        os.close(handle)


def _stage(sample: Found, folder: Path, codec: Codec | None) -> StagedSample:
    data = sample.reader.read_bytes(sample.number)
    path = folder / f"{sample.entry.key}.tar"
    path.write_bytes(recoded(sample, data, codec) if codec else data)
    return StagedSample(sample.entry.key, path)


def recoded(sample: Found, data: bytes, codec: Codec) -> bytes:
    """Write a sample's images in another codec; its other members stay as they are."""
    meta, members = sample.reader.read(sample.number, data)
    names = [name for name, about in meta.sequences.items() if "rgba" in about.passes]
    frames = {name: decode_sequence(meta, members, name) for name in names}
    images, layouts = encode_members(frames, codec)
    sequences = {
        name: about.model_copy(update={"layout": layouts[name]}) if name in layouts else about
        for name, about in meta.sequences.items()
    }
    others = {
        name.removeprefix(f"{meta.key}."): content
        for name, content in members.items()
        if name != f"{meta.key}.json" and not _is_image(name, names)
    }
    return sample_to_tar(meta.model_copy(update={"sequences": sequences}), images | others)


def _is_image(name: str, sequences: Iterable[str]) -> bool:
    return any(name.split(".")[1:3] == [sequence, "rgba"] for sequence in sequences)
