"""Which rows may repeat one another, in a few numbers each, so that the page can drop copies anew.

Which clip of several alike is kept depends on limits: the first that passes them. Being alike does
not, but it does not carry over either: of three motions the first may be like the second, that one
like the third, and the first not like the third. So rows get the number of their motion, and
numbers that are alike are listed. ``Kept`` is ``curate.duplicates.Seen`` over such numbers, and has
a twin in ``report_copies.js``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int

from curate.config_assets import DuplicateConfig
from curate.duplicates import LEVELS, Seen
from shards.likeness import Sketch

NONE = -1
BYTES, CLIPS, GEOMETRY = 1, 2, 3  # places in duplicates.LEVELS
_PAIRED = 256  # motions that are held against all others of their block at once

Numbers = Int[np.ndarray, " k"]


@dataclass(frozen=True, slots=True)
class Copies:
    """Rows that share anything with another row; ``NONE`` where they do not share that.

    Attributes:
        rows: (k,) their places in the ledger, increasing.
        files: (k,) equal numbers: the same clip of the same bytes.
        shapes: (k,) the family, where a setting makes all of a family copies.
        motions: (k,) equal numbers: motions that are alike.
        looks: (k,) equal numbers: equal materials and images.
        kinds: of each look, by which reader it was described.
        alike: other motions that one is like.
        level: which kinds of copies are rejected: this one and those before, in ``LEVELS``.
    """

    rows: Numbers
    files: Numbers
    shapes: Numbers
    motions: Numbers
    looks: Numbers
    kinds: list[int]
    alike: dict[int, list[int]]
    level: int


def prepare(
    table: pa.Table, candidates: Bool[np.ndarray, " n"], first: Bool[np.ndarray, " n"],
    config: DuplicateConfig,
) -> Copies:  # fmt: skip
    """Find what rows have in common, whatever the limits.

    Args:
        table: rows of a ledger, in its order.
        candidates: rows that could be kept.
        first: rows that begin an asset.
        config: what counts as a copy.
    """
    level = LEVELS.index(config.reject or "clips")
    if not candidates.any():
        none = np.zeros(0, np.int64)
        return Copies(none, none, none, none, none, [], {}, level)
    blank = np.full(len(table), NONE)
    files = _files(table, candidates) if level >= BYTES else blank
    families = _families(table, first, config) if level >= CLIPS else blank
    looks, texts = _codes(table, "look")
    motions, alike = blank, {}
    if level >= CLIPS:
        motions, alike = _motions(table, candidates & (families >= 0), families, config)
    shapes = _shared(np.where(candidates, families, NONE)) if level >= GEOMETRY else blank
    rows = np.flatnonzero(candidates & ((files >= 0) | (shapes >= 0) | (motions >= 0)))
    numbers: dict[str, int] = {}
    kinds = [numbers.setdefault((text or "").partition(":")[0], len(numbers)) for text in texts]
    return Copies(
        rows, files[rows], shapes[rows], motions[rows], looks[rows], kinds, alike, level
    )  # fmt: skip


def _codes(table: pa.Table, name: str) -> tuple[Numbers, list[str | None]]:
    """Number the texts of a column; null and empty count as one text."""
    column = table[name].combine_chunks().fill_null("").dictionary_encode()
    return np.asarray(column.indices).astype(np.int64), column.dictionary.to_pylist()


def _shared(numbers: Numbers) -> Numbers:
    """Take away the numbers that only one row has, and count the others from 0."""
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    common = (counts[inverse] > 1) & (numbers >= 0)
    return np.where(common, inverse, NONE)


def _files(table: pa.Table, candidates: np.ndarray) -> Numbers:
    contents, texts = _codes(table, "content")
    known = np.array([bool(text) for text in texts], bool)[contents] & candidates
    clips = np.asarray(table["clip_index"].fill_null(NONE)).astype(np.int64)
    key = contents * (int(clips.max(initial=0)) + 1) + clips
    return _shared(np.where(known, key, NONE))


def _families(table: pa.Table, first: np.ndarray, config: DuplicateConfig) -> Numbers:
    """Number the shapes as a build does: in input order, by the first asset alike."""
    seen = Seen(config)
    shapes, texts = _codes(table, "geometry")
    found: dict[int, int] = {}
    numbers: dict[str, int] = {}
    starts = np.flatnonzero(first)
    of_asset: list[int] = []
    for start, stop in zip(starts, [*starts[1:], len(table)], strict=True):
        shape = next((s for s in shapes[start:stop].tolist() if texts[s]), NONE)
        if shape >= 0 and shape not in found:
            seen.enter([{"uid": str(start), "geometry": texts[shape]}])
            name = seen.family
            found[shape] = NONE if name is None else numbers.setdefault(name, len(numbers))
        of_asset.append(found.get(shape, NONE))
    return np.repeat(np.array(of_asset, np.int64), np.diff([*starts, len(table)]))


def _motions(
    table: pa.Table, candidates: np.ndarray, families: Numbers, config: DuplicateConfig
) -> tuple[Numbers, dict[int, list[int]]]:
    """Number the motions of each family, and list which of the numbers are alike."""
    codes, texts = _codes(table, "clip_sketch")
    sketches = {code: Sketch.decode(texts[code]) for code in np.unique(codes[candidates]).tolist()}
    readable = np.array(
        [code in sketches and sketches[code] is not None for code in codes.tolist()]
    )
    places = np.flatnonzero(candidates & readable)
    if not len(places):
        return np.full(len(table), NONE), {}
    pairs, inverse = np.unique(
        np.stack([families[places], codes[places]], axis=1), axis=0, return_inverse=True
    )
    inverse = inverse.reshape(-1)
    chosen = [sketches[code] for code in pairs[:, 1].tolist()]
    width = max(len(one.values) for one in chosen if one)
    points = np.array([np.pad(one.values, (0, width - len(one.values))) for one in chosen if one])
    kinds = np.array([(one.kind, len(one.values)) for one in chosen if one])
    groups = np.concatenate([pairs[:, :1], kinds], axis=1)
    numbers, alike = _alike(groups, points, config.motion_tolerance)
    found = np.full(len(table), NONE)
    found[places] = numbers[inverse]
    lonely = np.bincount(found[places], minlength=numbers.max() + 1) == 1
    for number in alike:
        lonely[number] = False
    found[places] = np.where(lonely[found[places]], NONE, found[places])
    return found, alike


def _alike(
    groups: Int[np.ndarray, "m g"], points: Float64[np.ndarray, "m d"], tolerance: float
) -> tuple[Int[np.ndarray, " m"], dict[int, list[int]]]:
    """Number points; equal numbers, and those listed, are within the tolerance in each dimension.

    Points that could be alike form blocks. Where a whole block fits into the tolerance, as copies
    do, it needs one number and no list.
    """
    blocks = _blocks(
        np.unique(groups, axis=0, return_inverse=True)[1].reshape(-1), points, tolerance
    )
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    spread = np.maximum.reduceat(points[order], starts) - np.minimum.reduceat(points[order], starts)
    numbers = np.empty(len(points), np.int64)
    alike: dict[int, list[int]] = {}
    following = 0
    for start, stop, fits in zip(
        starts, [*starts[1:], len(order)], (spread <= tolerance).all(axis=1), strict=True
    ):
        members = order[start:stop]
        if fits:
            numbers[members] = following
            following += 1
            continue
        numbers[members] = following + np.arange(len(members))
        for first, second in _pairs(points[members], tolerance):
            alike.setdefault(following + first, []).append(following + second)
        following += len(members)
    return numbers, alike


def _blocks(groups: np.ndarray, points: np.ndarray, tolerance: float) -> np.ndarray:
    """Part points where a gap in any dimension is wider than the tolerance, until none is left."""
    blocks, count = groups, -1
    while blocks.max() != count:
        count = blocks.max()
        for values in points.T:
            order = np.lexsort((values, blocks))
            parted = np.diff(blocks[order], prepend=-1) != 0
            parted[1:] |= np.diff(values[order]) > tolerance
            following = np.empty_like(blocks)
            following[order] = np.cumsum(parted) - 1
            blocks = following
    return blocks


def _pairs(points: np.ndarray, tolerance: float) -> Iterable[tuple[int, int]]:
    for start in range(0, len(points), _PAIRED):
        apart = np.abs(points[start : start + _PAIRED, None] - points[None]).max(axis=2)
        for first, second in np.argwhere(apart <= tolerance).tolist():
            if start + first != second:
                yield start + first, second


@dataclass(slots=True)
class Kept:
    """What was kept so far, and whether a further row repeats it."""

    copies: Copies
    _files: set[int] = field(default_factory=set)
    _shapes: dict[int, int] = field(default_factory=dict)  # kept ones -> the asset's turn
    _led: set[tuple[int, int]] = field(default_factory=set)  # motion, look
    _first: dict[int, tuple[int, int]] = field(default_factory=dict)  # motion -> order, kind
    _turn: int = 0

    def enter(self) -> None:
        """Turn to the next asset."""
        self._turn += 1

    def judge(self, place: int) -> int:
        """Say as what kind of copy the row is rejected; 0 if it is not.

        Args:
            place: of the row in ``copies.rows``.
        """
        copies = self.copies
        if copies.files[place] in self._files:
            return BYTES
        if self._shapes.get(int(copies.shapes[place]), self._turn) < self._turn:
            return GEOMETRY
        look, near = int(copies.looks[place]), self._near(place)
        if any((motion, look) in self._led for motion in near):
            return CLIPS
        leaders = [self._first[motion] for motion in near if motion in self._first]
        return CLIPS if leaders and min(leaders)[1] != copies.kinds[look] else 0

    def keep(self, place: int) -> None:
        """Note that a row is kept."""
        copies = self.copies
        if copies.files[place] >= 0:
            self._files.add(int(copies.files[place]))
        if copies.shapes[place] >= 0:
            self._shapes.setdefault(int(copies.shapes[place]), self._turn)
        look, near = int(copies.looks[place]), self._near(place)
        if not near:
            return
        if not any((motion, look) in self._led for motion in near):
            self._led.add((near[0], look))
        if not any(motion in self._first for motion in near):
            self._first[near[0]] = int(copies.rows[place]), copies.kinds[look]

    def _near(self, place: int) -> list[int]:
        motion = int(self.copies.motions[place])
        return [] if motion == NONE else [motion, *self.copies.alike.get(motion, ())]
