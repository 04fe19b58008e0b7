"""Which clips are held out of training."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from shards.index import IndexEntry


@dataclass(frozen=True, slots=True)
class Split:
    """Keys of the clips to train on, in index order, and of those held out, in the order drawn."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def split_clips(entries: Sequence[IndexEntry], share: float) -> Split:
    """Hold out clips of assets whose other clips are trained on.

    Assets with one clip are trained on whole. The others give up one clip each, in the order of
    their names' hashes, then a second, and so on, until ``share`` of all clips (at least one) is
    held out or each has one clip left. Keys alone decide: no seed, no file order.

    Args:
        entries: the index of a RUN folder.
        share: 0 holds nothing out.
    """
    clips: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        clips[entry.uid].append(entry.key)
    rounds: list[tuple[int, str, str]] = []
    for uid, keys in clips.items():
        ordered = sorted(keys, key=_hash)
        rounds += [(turn, _hash(uid), key) for turn, key in enumerate(ordered[:-1])]
    wanted = max(1, round(share * len(entries))) if share > 0 else 0
    held_out = tuple(key for _, _, key in sorted(rounds)[:wanted])
    train = tuple(entry.key for entry in entries if entry.key not in held_out)
    return Split(train, held_out)


def _hash(name: str) -> str:
    return hashlib.sha256(f"held out {name}".encode()).hexdigest()
