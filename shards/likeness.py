"""Find what looks alike among millions without comparing all pairs.

A sketch is a short vector of which equal things have equal values, up to rounding. Sketches are
sorted into the cells of a grid that is much coarser than the tolerance. Whatever lies within the
tolerance of a sketch lies in its cell or, near a border, in the next one: a few look-ups, and none
is missed.
"""

import base64
import binascii
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

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


class Leaders:
    """Sketches, each within no tolerance of an earlier one of the same kind.

    What comes first leads; what comes later follows the first leader that it is like. So the
    result depends on the order given and on nothing else.
    """

    def __init__(self, tolerance: float, dims: Sequence[int] = range(_GRID_DIMS)) -> None:
        """Start empty.

        Args:
            tolerance: largest difference, in every dimension, of what counts as alike.
            dims: dimensions that vary most from thing to thing; they choose the cell.
        """
        self.tolerance = tolerance
        self._dims = list(dims)
        self._cells: dict[Hashable, list[tuple[int, np.ndarray]]] = {}

    def find(self, sketch: Sketch, group: Hashable = None) -> Match | None:
        """Find the first leader of the same kind and group that a sketch is like."""
        place = self._place(sketch)
        reach = 1.0 / _CELL
        sides = zip(np.floor(place - reach).tolist(), np.floor(place + reach).tolist(), strict=True)
        cells = itertools.product(*({low, high} for low, high in sides))
        found: Match | None = None
        for cell in cells:
            for number, other in self._cells.get((group, sketch.kind, cell), ()):
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
        cell = tuple(np.floor(self._place(sketch)).tolist())
        leaders = self._cells.setdefault((group, sketch.kind, cell), [])
        leaders.append((number, sketch.values))

    def _place(self, sketch: Sketch) -> np.ndarray:
        return sketch.values[self._dims[: len(sketch.values)]] / (_CELL * self.tolerance)
