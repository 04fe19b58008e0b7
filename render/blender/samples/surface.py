"""Smooth solids as parametric patches: the same formula gives the mesh and the texture.

A ``Part`` is a closed solid made of charts. A chart maps (u, v) in the unit square to a point, so a
texel knows where on the solid it lies and can be painted by position. Axes: x to the figure's
left, y to its back, z up; the face looks along -y. Lengths in metres, angles in degrees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

Array = np.ndarray
Point = tuple[float, float, float]
Paint = Callable[["Texels"], Array]
_CAP = 0.16  # share of v on each rounded end of a tube


@dataclass(frozen=True)
class Texels:
    """What a paint function sees of a chart: arrays over the chart's texels.

    Attributes:
        q: (h, w, 3) position in the part's own coordinates; on an ellipsoid the unit direction,
            on a tube (side, back, share of the length), on a box -1..1.
        p: (h, w, 3) position in the object, metres.
        u: (h, w) around, 0..1.
        v: (h, w) along, 0..1.
        rng: the asset's generator, for spots and stripes.
    """

    q: Array
    p: Array
    u: Array
    v: Array
    rng: np.random.Generator


@dataclass(frozen=True)
class Chart:
    """A patch: ``local`` maps u and v to the part's own coordinates, ``world`` these to metres."""

    local: Callable[[Array, Array], Array]
    u: Array  # grid lines, ascending from 0 to 1
    v: Array
    pixels: tuple[int, int]  # texture width and height


@dataclass(frozen=True)
class Part:
    """One closed solid of a mesh, with its paint and the bones that carry it."""

    charts: tuple[Chart, ...]
    place: Callable[[Array], Array]
    paint: Paint
    bones: tuple[str, ...] = ()
    label: str = ""
    steps: tuple[Callable[[Array], Array], ...] = field(default=())

    def world(self, local: Array) -> Array:
        """Map the part's own coordinates to the object's, metres."""
        points = self.place(local)
        for step in self.steps:
            points = step(points)
        return points

    def on(self, *bones: str) -> "Part":
        """Carry the part by these bones; several are blended by distance."""
        return replace(self, bones=bones)

    def bent(self, step: Callable[[Array], Array]) -> "Part":
        """Apply one more map to the part's points."""
        return replace(self, steps=(*self.steps, step))

    def named(self, label: str) -> "Part":
        """Label the part, so that shape keys can find its vertices."""
        return replace(self, label=label)


def turned(points: Array, degrees: Point, about: Point = (0.0, 0.0, 0.0)) -> Array:
    """Rotate points about x, then y, then z through a pivot."""
    return (points - np.asarray(about)) @ rotation(degrees).T + np.asarray(about)


def rotation(degrees: Point) -> Array:
    """Give the 3x3 matrix that turns about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def floor(points: Array) -> Array:
    """Press everything below the ground onto it: flat soles."""
    return np.concatenate([points[..., :2], np.maximum(points[..., 2:], 0.0)], axis=-1)


def ellipsoid(  # noqa: PLR0913 - a shape is its measures; those after * have defaults
    at: Point,
    radii: Point | float,
    paint: Paint,
    *,
    turn: Point = (0.0, 0.0, 0.0),
    detail: int = 12,
    pixels: int = 64,
    square: float = 1.0,
) -> Part:
    """Make an ellipsoid; ``square`` below 1 swells it towards a box. The seam is at the back."""
    scale = np.broadcast_to(np.asarray(radii, float), (3,))
    matrix = rotation(turn)

    def local(u: Array, v: Array) -> Array:
        around, up = 2 * np.pi * u, np.pi * (v - 0.5)
        flat = np.cos(up)
        return np.stack([-np.sin(around) * flat, np.cos(around) * flat, np.sin(up)], axis=-1)

    def place(q: Array) -> Array:
        shape = np.sign(q) * np.abs(q) ** square
        return (shape * scale) @ matrix.T + np.asarray(at)

    lines = np.linspace(0, 1, 2 * detail + 1), np.linspace(0, 1, detail + 1)
    return Part((Chart(local, *lines, (2 * pixels, pixels)),), place, paint)


def tube(  # noqa: PLR0913 - a shape is its measures; those after * have defaults
    points: Sequence[Point],
    radii: Sequence[float] | Sequence[tuple[float, float]],
    paint: Paint,
    *,
    detail: tuple[int, int] = (12, 8),
    pixels: tuple[int, int] = (64, 64),
    caps: float = 1.0,
    top: Point | None = None,
) -> Part:
    """Sweep an ellipse along a smooth line through points; ``radii`` are (side, top) halves.

    The caps are rounded; ``caps`` is their length in units of the end's radius. ``top`` is the
    direction of q[1] = 1: by default the back, or up for a tube that starts along y.
    """
    spine = _Spine(np.asarray(points, float), radii, caps, top)

    def local(u: Array, v: Array) -> Array:
        around = 2 * np.pi * u
        return np.stack([-np.sin(around), np.cos(around), spine.share(v)], axis=-1)

    def place(q: Array) -> Array:
        return spine.surface(q)

    cap = np.linspace(0, _CAP, 4)
    middle = np.linspace(_CAP, 1 - _CAP, detail[1] + 1)[1:-1]
    along = np.concatenate([cap, middle, 1 - cap[::-1]])
    lines = np.linspace(0, 1, detail[0] + 1), along
    return Part((Chart(local, *lines, pixels),), place, paint)


class _Spine:
    """A smooth centre line with frames and radii, tabulated densely along its length."""

    def __init__(
        self,
        points: Array,
        radii: Sequence[float] | Sequence[tuple[float, float]],
        caps: float,
        top: Point | None,
    ) -> None:
        widths = np.array([np.broadcast_to(np.asarray(r, float), (2,)) for r in radii])
        knots = np.linspace(0, 1, 97)
        self.centre = _through(points, knots)
        self.width = _through(widths, knots)
        steps = np.linalg.norm(np.diff(self.centre, axis=0), axis=1)
        self.at = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
        self.tangent = np.gradient(self.centre, axis=0)
        self.tangent /= np.linalg.norm(self.tangent, axis=1, keepdims=True)
        self.side = self._sides(top)
        ends = self.width[[0, -1]].min(axis=1) * caps / steps.sum()
        self.cap = np.maximum(ends, 1e-4)  # share of the length taken by each rounded end
        self.length = steps.sum()

    def _sides(self, top: Point | None) -> Array:
        if top is None:
            top = (0.0, 1.0, 0.0) if abs(self.tangent[0, 1]) < 0.8 else (0.0, 0.0, 1.0)
        side = np.cross(np.array(top), self.tangent[0])
        sides = []
        for tangent in self.tangent:
            side = side - tangent * (side @ tangent)
            side = side / np.linalg.norm(side)
            sides.append(side)
        return np.array(sides)

    def share(self, v: Array) -> Array:
        """Map v to the share of the length, below 0 and above 1 in the rounded ends.

        Over the caps v runs evenly in angle.
        """
        begin = -self.cap[0] * np.cos(np.clip(v / _CAP, 0, 1) * np.pi / 2)
        middle = np.clip((v - _CAP) / (1 - 2 * _CAP), 0, 1)
        final = self.cap[1] * np.sin(np.clip((v - 1 + _CAP) / _CAP, 0, 1) * np.pi / 2)
        return begin + middle + final

    def surface(self, q: Array) -> Array:
        share = np.clip(q[..., 2], 0, 1)
        over = np.where(q[..., 2] < 0, -q[..., 2] / self.cap[0], 0)
        over = np.where(q[..., 2] > 1, (q[..., 2] - 1) / self.cap[1], over)
        shrink = np.sqrt(np.maximum(1 - over**2, 0))[..., None]
        centre, tangent = self._look(self.centre, share), self._look(self.tangent, share)
        side = self._look(self.side, share)
        back = np.cross(tangent, side)
        width = self._look(self.width, share) * shrink
        past = (q[..., 2] - share)[..., None] * self.length
        return (
            centre
            + tangent * past
            + side * q[..., :1] * width[..., :1]
            + back * q[..., 1:2] * width[..., 1:]
        )

    def _look(self, table: Array, share: Array) -> Array:
        return np.stack(
            [np.interp(share, self.at, table[:, i]) for i in range(table.shape[1])], axis=-1
        )


def _through(knots: Array, at: Array) -> Array:
    """Interpolate rows smoothly (Catmull-Rom with mirrored ends); ``at`` in 0..1."""
    if len(knots) == 2:
        return knots[0] + (knots[1] - knots[0]) * at[:, None]
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    scaled = at * (len(knots) - 1)
    index = np.minimum(scaled.astype(int), len(knots) - 2)
    t = (scaled - index)[:, None]
    a, b, c, d = (padded[index + k] for k in range(4))
    return 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )


def lathe(
    profile: Sequence[tuple[float, float]],
    paint: Paint,
    *,
    at: Point = (0.0, 0.0, 0.0),
    turn: Point = (0.0, 0.0, 0.0),
    around: int = 24,
    pixels: tuple[int, int] = (128, 64),
) -> Part:
    """Turn a profile of (radius, height) about z; open ends are closed flat."""
    rows = np.array([(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])], float)
    keep = np.concatenate([[True], np.linalg.norm(np.diff(rows, axis=0), axis=1) > 1e-9])
    rows = rows[keep]
    steps = np.linalg.norm(np.diff(rows, axis=0), axis=1)
    at_v = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    matrix = rotation(turn)

    def local(u: Array, v: Array) -> Array:
        radius, height = np.interp(v, at_v, rows[:, 0]), np.interp(v, at_v, rows[:, 1])
        return np.stack(
            [-np.sin(2 * np.pi * u) * radius, np.cos(2 * np.pi * u) * radius, height], axis=-1
        )

    def place(q: Array) -> Array:
        return q @ matrix.T + np.asarray(at)

    return Part((Chart(local, np.linspace(0, 1, around + 1), at_v, pixels),), place, paint)


def box(  # noqa: PLR0913 - a shape is its measures; those after * have defaults
    at: Point,
    size: Point,
    paint: Paint,
    *,
    bevel: float = 0.02,
    turn: Point = (0.0, 0.0, 0.0),
    pixels: int = 32,
    cuts: int = 1,
) -> Part:
    """Make a box with rounded edges, one chart per face; ``size`` is the full extent."""
    half = np.asarray(size, float) / 2
    edge = min(bevel, float(half.min()) * 0.95)
    matrix = rotation(turn)
    charts = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            charts.append(_face(axis, sign, half, edge, (pixels, cuts)))

    def place(q: Array) -> Array:
        cube = q * half
        core = np.clip(cube, -(half - edge), half - edge)
        out = cube - core
        far = np.linalg.norm(out, axis=-1, keepdims=True)
        return (core + out / np.maximum(far, 1e-12) * edge) @ matrix.T + np.asarray(at)

    return Part(tuple(charts), place, paint)


def _face(axis: int, sign: float, half: Array, edge: float, fine: tuple[int, int]) -> Chart:
    pixels, cuts = fine
    first, second = (k for k in range(3) if k != axis)
    # u runs so that u, v and the outward normal are right-handed on all six faces
    along = sign * (-1.0 if axis == 1 else 1.0)

    def local(u: Array, v: Array) -> Array:
        q = np.empty((*np.broadcast_shapes(u.shape, v.shape), 3))
        q[..., axis], q[..., first], q[..., second] = sign, along * (2 * u - 1), 2 * v - 1
        return q

    def lines(k: int) -> Array:
        inner = 0.5 * edge / half[k]
        middle = np.linspace(inner, 1 - inner, cuts + 1)
        return np.concatenate([[0, inner * 0.42], middle, [1 - inner * 0.42, 1]])

    return Chart(local, lines(first), lines(second), (pixels, pixels))
