"""Copies: which clip repeats an earlier one, and which assets are of one family.

A pure function of ledger rows in input order, so a build, a replay and any number of workers say
the same. The first of its kind is kept. Nothing compares all pairs: files are looked up by their
hash, shapes and motions in ``shards.likeness``.
"""

import json
import sqlite3
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from curate.config_assets import DuplicateConfig
from curate.facts import Decision
from curate.rows import rejection
from shards.likeness import Leaders, ScratchCells, Sketch
from shards.sample import sample_key
from shards.scratch import ScratchMap

Row = Mapping[str, Any]
RULES = ("duplicate_bytes", "duplicate_geometry_and_clip", "duplicate_geometry")
LEVELS = ("nothing", "bytes", "clips", "geometry")  # of the setting; each includes those before
NO_SAMPLE = {"sample_key": "", "fingerprint": ""}
_COPIES = {
    "bytes": ("the same files", "bytes"),
    "clips": ("the same motion, shape and colours", "asset sizes"),
    "geometry": ("the same shape", "asset sizes"),
}


class Seen:
    """The kept clips so far, and the families of the assets they are of."""

    def __init__(self, config: DuplicateConfig, scratch: sqlite3.Connection | None = None) -> None:
        """Start with nothing seen.

        Args:
            config: what counts as a copy.
            scratch: an empty database, where this is to be kept on disk; none: in memory.
        """
        self._config = config
        self._reject = config.reject or "clips"

        def table(name: str) -> MutableMapping[str | int, str]:
            return {} if scratch is None else ScratchMap(scratch, name)

        def leaders(name: str, tolerance: float) -> Leaders:
            return Leaders(
                tolerance, cells=None if scratch is None else ScratchCells(scratch, name)
            )

        self._files = table("files")  # content and clip -> name
        self._shapes = leaders("shapes", config.geometry_tolerance)
        self._family: int | None = None  # of the asset that was entered last
        self._distance, self._is_new = 0.0, True
        self._families = table("families")  # number -> uid of the first asset of that shape
        self._next_family = 0
        self._kept = table("kept")  # family -> its first kept clip
        self._motions = leaders("motions", config.motion_tolerance)
        self._names = table("names")  # number of a leading motion -> its clip's name, look
        self._next_name = 0

    def look(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Judge the rows of one asset, the next in input order.

        Returns:
            The rows, with ``family`` where the shape is known; a kept clip that repeats an earlier
            kept one, or the same in other colours, says so, and is rejected where the settings
            ask for that.
        """
        self.enter(rows)
        found: list[dict[str, Any]] = []
        for row in rows:
            judged = dict(row) | {"family": self.family}
            is_copy = row.get("rule") in RULES  # said so before; of what, may have changed
            if is_copy or is_candidate(row):
                fields, decision = self.judge(row)
                if decision is not None:
                    judged |= fields | NO_SAMPLE | rejection("curate", decision)
                elif not is_copy:
                    judged |= fields
                    self.keep(row)
            found.append(judged)
        return found

    @property
    def family(self) -> str | None:
        """Name the first asset of the shape that was entered last."""
        return None if self._family is None else self._families[self._family]

    def enter(self, rows: Sequence[Row]) -> None:
        """Turn to the next asset in input order."""
        self._family, self._distance, self._is_new = None, 0.0, True
        text = next((row["geometry"] for row in rows if row.get("geometry")), None)
        if (sketch := Sketch.decode(text)) is None:
            return
        if (match := self._shapes.find(sketch)) is not None:
            self._family, self._distance = match.number, match.distance
            self._is_new = match.number not in self._kept
            return
        self._family = self._next_family
        self._next_family += 1
        self._shapes.add(sketch, self._family)
        self._families[self._family] = rows[0]["uid"]

    def judge(self, row: Row) -> tuple[dict[str, Any], Decision | None]:
        """Say whether a clip of the entered asset repeats one that was kept.

        Returns:
            ``duplicate_of`` and ``recolour_of``, and the rejection if there is to be one.
        """
        original = self._files.get(_file(row))
        if original is not None:
            return self._copy("bytes", original, 0.0, 0.0)
        if self._family is not None and not self._is_new and self._reject == "geometry":
            limit = self._config.geometry_tolerance
            return self._copy("geometry", self._kept[self._family], self._distance, limit)
        motion = Sketch.decode(row.get("clip_sketch"))
        if motion is None or self._family is None:
            return _fields(), None
        look, limit = row.get("look") or "", self._config.motion_tolerance
        if (same := self._motions.find(motion, (self._family, look))) is not None:
            return self._copy("clips", self._named(same.number)[0], same.distance, limit)
        if (other := self._motions.find(motion, (self._family, None))) is None:
            return _fields(), None
        original, seen = self._named(other.number)
        if look.partition(":")[0] == seen.partition(":")[0]:
            return _fields(recolour_of=original), None
        # one was read by numpy, one by Blender: their looks say nothing of each other
        return self._copy("clips", original, other.distance, limit)

    def keep(self, row: Row) -> None:
        """Note that a clip of the entered asset is kept."""
        if row.get("content"):
            self._files.setdefault(_file(row), clip_name(row))
        if self._family is None:
            return
        self._kept.setdefault(self._family, clip_name(row))
        motion, look = Sketch.decode(row.get("clip_sketch")), row.get("look") or ""
        if motion is None:
            return
        for group in ((self._family, look), (self._family, None)):
            if self._motions.find(motion, group) is None:
                self._motions.add(motion, self._next_name, group)
                self._names[self._next_name] = json.dumps((clip_name(row), look))
        self._next_name += 1

    def _named(self, number: int) -> tuple[str, str]:
        name, look = json.loads(self._names[number])
        return name, look

    def _copy(
        self, kind: str, original: str, value: float, limit: float
    ) -> tuple[dict[str, Any], Decision | None]:
        level = LEVELS.index(kind)
        if level > LEVELS.index(self._reject):
            return _fields(duplicate_of=original), None
        what, unit = _COPIES[kind]
        sentence = f"{what} as {original}, which comes first"
        decision = Decision(RULES[level - 1], round(value, 6), limit, unit, sentence)
        return _fields(duplicate_of=original), decision


def is_candidate(row: Row) -> bool:
    """Tell whether nothing else rejects a clip."""
    return row["verdict"] == "kept" or row.get("rule") == "score_only"


def clip_name(row: Row) -> str:
    """Name a clip as other rows refer to it: by the key that its sample would have."""
    return sample_key(row["uid"], row["clip_index"])


def _file(row: Row) -> str:
    return f"{row.get('content') or ''} {row['clip_index']}"


def _fields(duplicate_of: str | None = None, recolour_of: str | None = None) -> dict[str, Any]:
    return {"duplicate_of": duplicate_of, "recolour_of": recolour_of}
