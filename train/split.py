"""Which clips are held out of training."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shards.families import families_of
from shards.index import IndexEntry


@dataclass(frozen=True, slots=True)
class Split:
    """Keys of the clips to train on, in index order, and of those held out, in the order drawn."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def split_clips(
    entries: Sequence[IndexEntry], share: float, unit: Literal["assets", "clips"] = "assets"
) -> Split:
    """Hold out some of the clips.

    Copies of a shape count as one asset, see ``shards.families``. Names alone decide: no seed, no
    order of files.

    Args:
        entries: the index of a RUN folder.
        share: of all clips, held out at least one unit; 0 holds nothing out.
        unit: ``assets``: with all their clips, in the order of their names' hashes, until
            ``share`` is reached or one asset is left. ``clips``: new motions of known assets, for
            runs of few assets. Those with one clip are trained on whole; the others give up one
            clip each, then a second, and so on, until each has one left.
    """
    families = families_of(entries)
    names: dict[str, str] = {}  # a family goes by the least uid of its assets
    for entry, family in zip(entries, families, strict=True):
        names[family] = min(entry.uid, names.get(family, entry.uid))
    clips: dict[str, list[str]] = defaultdict(list)
    for entry, family in zip(entries, families, strict=True):
        clips[names[family]].append(entry.key)
    if share <= 0:
        held_out: list[str] = []
    elif unit == "assets":
        held_out = _whole_assets(clips, share * len(entries))
    else:
        held_out = _single_clips(clips, max(1, round(share * len(entries))))
    known = set(held_out)
    train = tuple(entry.key for entry in entries if entry.key not in known)
    return Split(train, tuple(held_out))


def names_kept_out(held_out: Sequence[str], unit: Literal["assets", "clips"]) -> frozenset[str]:
    """Name what stays out of training while a run grows: the keys, and assets held out whole."""
    assets = {key.rpartition("-")[0] for key in held_out} if unit == "assets" else set[str]()
    return frozenset(held_out) | assets


def _whole_assets(clips: dict[str, list[str]], wanted: float) -> list[str]:
    held_out: list[str] = []
    for name in sorted(clips, key=_hash)[:-1]:
        if held_out and len(held_out) + len(clips[name]) / 2 > wanted:
            break
        held_out += sorted(clips[name])
    return held_out


def _single_clips(clips: dict[str, list[str]], wanted: int) -> list[str]:
    rounds: list[tuple[int, str, str]] = []
    for name, keys in clips.items():
        ordered = sorted(keys, key=_hash)
        rounds += [(turn, _hash(name), key) for turn, key in enumerate(ordered[:-1])]
    return [key for _, _, key in sorted(rounds)[:wanted]]


def _hash(name: str) -> str:
    return hashlib.sha256(f"held out {name}".encode()).hexdigest()
