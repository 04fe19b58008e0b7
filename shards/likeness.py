"""Find what looks alike among millions without comparing all pairs.

A sketch is a short vector of which equal things have equal values, up to rounding. Sketches are
sorted into the cells of a grid that is much coarser than the tolerance. Whatever lies within the
tolerance of a sketch lies in its cell or, near a border, in the next one: a few look-ups, and none
is missed.
"""

import base64
import binascii
import itertools
import sqlite3
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
from jaxtyping import Float

GEOMETRY_TOLERANCE = 5e-4  # between two copies of a shape, in units of its own size
_CELL = 32  # tolerances: one sketch in sixteen lies near a border in a given dimension
_GRID_DIMS = 4  # dimensions that choose the cell: at most 2**4 look-ups, whatever the sketch


@dataclass(frozen=True, slots=True)
class Sketch:
    """What a thing is known again by: a whole number that copies share, and values alike."""

    kind: int
    values: Float[np.ndarray, " d"]

    def encode(self) -> str:
        """Write as text: the number, a colon, base64 of little-endian float32."""
        # the last bits of linear algebra differ from run to run; those who store it need equal text
        values = np.round(self.values, 6).astype("<f4")
        return f"{self.kind}:{base64.b64encode(values.tobytes()).decode()}"

    @classmethod
    def decode(cls, text: str | None) -> "Sketch | None":
        """Read a text; None for anything else, so that a stray one is like nothing."""
        kind, _, data = (text or "").partition(":")
        try:
            values = np.frombuffer(base64.b64decode(data, validate=True), "<f4").astype(np.float64)
            return cls(int(kind), values) if len(values) and np.isfinite(values).all() else None
        except (ValueError, binascii.Error):
            return None


@dataclass(frozen=True, slots=True)
class Match:
    """The number that the older one was given, and the largest difference in any dimension."""

    number: int
    distance: float


class Cells(Protocol):
    """Which leaders lie in which cell of the grid, in the order of their numbers."""

    def get(self, cell: Hashable) -> Iterable[tuple[int, np.ndarray]]:
        """Return the leaders of a cell."""
        ...

    def add(self, cell: Hashable, number: int, values: np.ndarray) -> None:
        """Put a leader into a cell."""
        ...


class MemoryCells:
    """Cells as lists in memory."""

    def __init__(self) -> None:
        self._cells: dict[Hashable, list[tuple[int, np.ndarray]]] = {}

    def get(self, cell: Hashable) -> Iterable[tuple[int, np.ndarray]]:
        """Return the leaders of a cell."""
        return self._cells.get(cell, ())

    def add(self, cell: Hashable, number: int, values: np.ndarray) -> None:
        """Put a leader into a cell."""
        self._cells.setdefault(cell, []).append((number, values))


class ScratchCells:
    """Cells in a scratch database, known by 16 bytes of hash; see ``shards.scratch``."""

    def __init__(self, scratch: sqlite3.Connection, name: str) -> None:
        """Make an empty table under a name of its own."""
        self._scratch = scratch
        scratch.execute(
            f"CREATE TABLE {name} (cell BLOB, number INTEGER, sketch BLOB, "
            "PRIMARY KEY (cell, number)) WITHOUT ROWID"
        )
        self._get = f"SELECT number, sketch FROM {name} WHERE cell = ? ORDER BY number"
        self._add = f"INSERT INTO {name} VALUES (?, ?, ?)"

    def get(self, cell: Hashable) -> Iterable[tuple[int, np.ndarray]]:
        """Return the leaders of a cell."""
        found = self._scratch.execute(self._get, (_named(cell),)).fetchall()
        return [(number, np.frombuffer(sketch)) for number, sketch in found]

    def add(self, cell: Hashable, number: int, values: np.ndarray) -> None:
        """Put a leader into a cell."""
        sketch = np.ascontiguousarray(values, np.float64).tobytes()
        self._scratch.execute(self._add, (_named(cell), number, sketch))


def _floor(place: np.ndarray) -> list[float]:
    return (np.floor(place) + 0.0).tolist()  # minus zero is zero, in writing too


def _named(cell: Hashable) -> bytes:
    return blake2b(repr(cell).encode(), digest_size=16).digest()


class Leaders:
    """Sketches, each within no tolerance of an earlier one of the same kind.

    What comes first leads; what comes later follows the first leader that it is like. So the
    result depends on the order given and on nothing else.
    """

    def __init__(
        self,
        tolerance: float,
        dims: Sequence[int] = range(_GRID_DIMS),
        cells: Cells | None = None,
    ) -> None:
        """Start empty.

        Args:
            tolerance: largest difference, in every dimension, of what counts as alike.
            dims: dimensions that vary most from thing to thing; they choose the cell.
            cells: where leaders are kept; none: in memory.
        """
        self.tolerance = tolerance
        self._dims = list(dims)
        self._cells = cells or MemoryCells()

    def find(self, sketch: Sketch, group: Hashable = None) -> Match | None:
        """Find the first leader of the same kind and group that a sketch is like."""
        place = self._place(sketch)
        reach = 1.0 / _CELL
        sides = zip(_floor(place - reach), _floor(place + reach), strict=True)
        cells = itertools.product(*({low, high} for low, high in sides))
        found: Match | None = None
        for cell in cells:
            for number, other in self._cells.get((group, sketch.kind, cell)):
                if found is not None and number >= found.number:
                    break  # each cell lists its leaders in order
                if len(other) == len(sketch.values):
                    distance = float(np.abs(other - sketch.values).max())
                    if distance <= self.tolerance:
                        found = Match(number, distance)
                        break
        return found

    def add(self, sketch: Sketch, number: int, group: Hashable = None) -> None:
        """Make a sketch a leader; numbers are given in growing order."""
        cell = tuple(_floor(self._place(sketch)))
        self._cells.add((group, sketch.kind, cell), number, sketch.values)

    def _place(self, sketch: Sketch) -> np.ndarray:
        return sketch.values[self._dims[: len(sketch.values)]] / (_CELL * self.tolerance)
