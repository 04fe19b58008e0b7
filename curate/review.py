"""Marks that a person gave on the audit page, turned into lists that a build takes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.errors import ConfigError, RunError

FORMAT = 1
_MARKS = ("keep", "drop")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the marks say of whole assets, since lists name assets.

    Attributes:
        allow: assets with a clip to keep and none to drop.
        deny: assets with a clip to drop and none to keep.
        mixed: assets with both; no list can say that.
        samples: keys of the samples to drop of mixed assets, for ``shards tombstone``.
    """

    allow: list[str]
    deny: list[str]
    mixed: list[str]
    samples: list[str]


def read_marks(path: Path) -> list[dict[str, Any]]:
    """Read the file that the page saves.

    Raises:
        ConfigError: if it is not such a file.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(document, dict) or document.get("orbit4d_review") != FORMAT:
        raise ConfigError(
            f"{path}: expected the file that `Save the marks` on the audit page writes, with "
            f'"orbit4d_review": {FORMAT}'
        )
    marks = document.get("marks")
    if not isinstance(marks, list):
        raise ConfigError(f"{path}: marks: expected a list, found {type(marks).__name__}")
    for place, mark in enumerate(marks):
        known = isinstance(mark, dict) and isinstance(mark.get("uid"), str)
        if not known or not isinstance(mark.get("clip_index"), int):
            raise ConfigError(f"{path}: marks[{place}]: expected uid and clip_index")
        if mark.get("mark") not in _MARKS:
            raise ConfigError(
                f"{path}: marks[{place}] of {mark['uid']!r}: expected keep or drop, found "
                f"{mark.get('mark')!r}"
            )
    return marks


def judge(marks: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> Verdicts:
    """Gather marks by asset; the last mark of a clip counts.

    Args:
        marks: of ``read_marks``, of one or several files.
        rows: the ledger: ``uid``, ``clip_index``, ``sample_key``.

    Raises:
        RunError: if a marked clip is not in the ledger: the marks are of another run.
    """
    keys = {(row["uid"], row["clip_index"]): row["sample_key"] or "" for row in rows}
    last = {(mark["uid"], mark["clip_index"]): mark["mark"] for mark in marks}
    if unknown := sorted(set(last) - set(keys)):
        named = ", ".join(f"{uid} #{clip}" for uid, clip in unknown[:3])
        raise RunError(
            f"{len(unknown)} of {len(last)} marked clips are not in this ledger: {named}; give "
            "the RUN folder whose page was reviewed"
        )
    said: dict[str, set[str]] = {}
    for (uid, _), mark in last.items():
        said.setdefault(uid, set()).add(mark)
    mixed = {uid for uid, words in said.items() if len(words) == 2}
    dropped = (clip for clip, mark in last.items() if mark == "drop" and clip[0] in mixed)
    return Verdicts(
        allow=sorted(uid for uid, words in said.items() if words == {"keep"}),
        deny=sorted(uid for uid, words in said.items() if words == {"drop"}),
        mixed=sorted(mixed),
        samples=sorted(keys[clip] for clip in dropped if keys[clip]),
    )
