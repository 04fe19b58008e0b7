"""Machines of rigid parts: a windmill, a carousel."""

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import ease, wave
from render.blender.samples.paint import checks, fill, over, plain, segments, stripes
from render.blender.samples.surface import (
    Array,
    Paint,
    Part,
    Texels,
    box,
    ellipsoid,
    lathe,
    tube,
)

_SIDES = ((1, "L"), (-1, "R"))
_STEEL, _DARK, _YELLOW = "#6d7480", "#2f333b", "#f5b81f"


def windmill(model: Model) -> None:
    """Build a windmill: the sails turn in one clip, cap and sails in the other."""
    model.fps = 24
    model.add("tower", _tower())
    model.add("cap", _cap(), at=(0, 0, 1.06))
    model.add("sails", _sails(), parent="cap", at=(0, -0.36, 0.12))
    clip = model.clip("turn", 2.0, loop=True)
    clip.turn("sails", y=360 * clip.phase).known("sails", "turns", 360.0)
    clip = model.clip("seek wind", 3.0)
    t = clip.phase
    yaw = 55 * (ease(t, 0.05, 0.4) - ease(t, 0.5, 0.95))
    clip.turn("cap", z=yaw).turn("sails", y=270 * ease(t, 0.0, 1.0))
    clip.known("cap", "rotation", 55.0)


def _tower() -> list[Part]:
    def wall(s: Texels) -> Array:
        z, front = s.p[..., 2], s.p[..., 1] < 0
        course = np.floor(z * 16)
        joint = stripes(z, 16, 0.1) | stripes(s.u * 22 + 0.5 * (course % 2), 1, 0.06)
        picture = over(fill(s, "#f6ecd9"), "#e6d6ba", joint)
        picture = over(picture, "#a9876a", z < 0.09)
        x = s.p[..., 0]
        door = front & (np.abs(x) < 0.1) & (z < 0.26 + 0.5 * np.sqrt(np.maximum(0.01 - x**2, 0)))
        picture = over(over(picture, "#6b3f22", door), "#9c5f34", door & stripes(x, 18, 0.75))
        for at, side in ((0.55, True), (0.86, True), (0.7, False)):
            pane = (front == side) & (np.abs(x) < 0.062) & (np.abs(z - at) < 0.08)
            glass = (front == side) & (np.abs(x) < 0.045) & (np.abs(z - at) < 0.062)
            bars = (np.abs(x) < 0.007) | (np.abs(z - at) < 0.007)
            picture = over(over(picture, "#7a4a2a", pane), "#8fd0ea", glass & ~bars)
        return picture

    shape = [(0.36, 0), (0.345, 0.09), (0.33, 0.09), (0.23, 1.05)]
    return [lathe(shape, wall, around=32, pixels=(256, 256))]


def _cap() -> list[Part]:
    def tiles(s: Texels) -> Array:
        row = np.floor(s.v * 16)
        edge = stripes(s.v, 16, 0.16) | stripes(s.u * 26 + 0.5 * (row % 2), 1, 0.12)
        return over(fill(s, "#d8452f"), "#a92f20", edge)

    roof = [(0.25, 0), (0.27, 0.02), (0.25, 0.09), (0.19, 0.2), (0.1, 0.29), (0.02, 0.32)]
    axle = tube([(0, 0.1, 0.12), (0, -0.34, 0.12)], [0.035, 0.03], plain(_STEEL), pixels=(16, 16))
    knob = ellipsoid((0, 0, 0.335), 0.035, plain(_YELLOW), detail=8, pixels=16)
    return [lathe(roof, tiles, around=28, pixels=(192, 96)), axle, knob]


def _sails() -> list[Part]:
    def hub(s: Texels) -> Array:
        return over(fill(s, "#7a4a2a"), _YELLOW, s.q[..., 1] < -0.6)

    def cloth(code: str) -> Paint:
        def paint(s: Texels) -> Array:
            return over(fill(s, code), "#fff6e3", checks(s.q[..., 0] * 0.5, s.q[..., 2] * 1.5, 2.0))

        return paint

    parts = [ellipsoid((0, 0, 0), (0.07, 0.06, 0.07), hub, detail=8, pixels=32)]
    for k, code in enumerate(("#2f7fd0", "#e2483d", "#2fa36b", "#f5b81f")):
        turn = (0.0, 90.0 * k, 0.0)
        spar = box((0, 0, 0.36), (0.035, 0.03, 0.7), plain("#7a4a2a"), bevel=0.008, pixels=8)
        sail = box((0.095, -0.01, 0.42), (0.17, 0.012, 0.54), cloth(code), bevel=0.004, cuts=4)
        # a little pitch, so that a sail is not edge on from the side
        pitched = sail.bent(
            lambda p: p + np.stack([0 * p[..., 0], 0.25 * p[..., 0], 0 * p[..., 0]], -1)
        )
        parts += [_around_y(part, turn[1]) for part in (spar, pitched)]
    return parts


def _around_y(part: Part, degrees: float) -> Part:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return part.bent(lambda p: p @ matrix.T)


def carousel(model: Model) -> None:
    """Build a carousel: the platform turns while four horses rise and fall on it."""
    model.fps = 30
    model.add("base", _base())
    model.add("platform", _platform(), at=(0, 0, 0.1))
    coats = (
        ("#ffffff", "#e2483d"),
        ("#8a5a34", "#2f7fd0"),
        ("#3b3f4a", "#f5b81f"),
        ("#e8b98a", "#8d4fd1"),
    )
    for k, (coat, saddle) in enumerate(coats):
        a = np.pi / 2 * k - np.pi / 2
        at = (0.46 * np.cos(a), 0.46 * np.sin(a), 0.36)
        model.add(
            f"horse.{k}",
            _horse(coat, saddle),
            parent="platform",
            at=at,
            turn=(0, 0, np.rad2deg(a) + 180),
        )
    for name, duration_s, turns in (("ride", 3.0, 120), ("whirl", 1.5, 360)):
        clip = model.clip(name, duration_s, loop=turns == 360)
        t = clip.phase
        clip.turn("platform", z=turns * t).known("platform", "turns", float(turns))
        for k in range(4):
            clip.move(f"horse.{k}", z=0.07 * wave(t, 2, k / 4))


def _base() -> list[Part]:
    def skirt(s: Texels) -> Array:
        return over(segments(s, ["#e2483d", "#fff4dc"], 12), _YELLOW, s.q[..., 2] > 0.085)

    return [lathe([(0.74, 0), (0.74, 0.09), (0.7, 0.1)], skirt, around=36, pixels=(256, 48))]


def _platform() -> list[Part]:
    def floorboards(s: Texels) -> Array:
        return over(fill(s, "#c98a4f"), "#a86d38", stripes(s.u, 48, 0.15))

    def column(s: Texels) -> Array:
        return over(fill(s, "#fff4dc"), "#2f7fd0", ((s.u * 2 + s.q[..., 2] * 2.2) % 1.0) < 0.4)

    def roof(s: Texels) -> Array:
        picture = segments(s, ["#e2483d", "#fff4dc", "#2f7fd0", "#fff4dc"], 4)
        rim = s.q[..., 2] < 0.94
        bulbs = rim & (np.hypot(((s.u * 32) % 1.0) - 0.5, (s.q[..., 2] - 0.89) * 9) < 0.3)
        return over(over(picture, "#d9483b", rim), "#ffe27a", bulbs)

    canopy = [(0.7, 0.84), (0.74, 0.84), (0.74, 0.94), (0.4, 1.1), (0.12, 1.26), (0.03, 1.34)]
    return [
        lathe([(0.68, 0), (0.68, 0.02)], floorboards, around=36, pixels=(128, 48)),
        lathe([(0.12, 0.02), (0.12, 0.85)], column, around=20, pixels=(96, 96)),
        lathe(canopy, roof, around=32, pixels=(256, 128)),
        ellipsoid((0, 0, 1.36), 0.05, plain(_YELLOW), detail=8, pixels=8),
    ]


def _horse(coat: str, saddle: str) -> list[Part]:
    def trunk(s: Texels) -> Array:
        return over(fill(s, coat), saddle, (np.abs(s.q[..., 2] - 0.5) < 0.2) & (s.q[..., 1] > -0.5))

    def head(s: Texels) -> Array:
        eyes = np.hypot(np.abs(s.q[..., 0]) - 0.85, s.q[..., 2] - 0.2) < 0.3
        return over(fill(s, coat), "#14161c", eyes & (s.q[..., 1] < 0.2))

    tail_code = "#fff0d0" if coat != "#ffffff" else "#f0c060"
    parts = [
        tube([(0, -0.13, 0), (0, 0.13, 0)], [(0.07, 0.08), (0.075, 0.085)], trunk, pixels=(32, 32)),
        tube([(0, -0.13, 0.03), (0, -0.2, 0.19)], [0.06, 0.042], plain(coat), pixels=(8, 8)),
        ellipsoid(
            (0, -0.26, 0.2), (0.045, 0.085, 0.05), head, turn=(20, 0, 0), detail=8, pixels=32
        ),
        ellipsoid(
            (0, -0.14, 0.17),
            (0.018, 0.04, 0.1),
            plain(tail_code),
            turn=(20, 0, 0),
            detail=6,
            pixels=8,
        ),
        tube(
            [(0, 0.2, 0.03), (0, 0.27, 0), (0, 0.29, -0.12)],
            [0.035, 0.035, 0.012],
            plain(tail_code),
            pixels=(8, 8),
        ),
        lathe([(0.012, -0.3), (0.012, 0.5)], plain(_YELLOW), around=8, pixels=(8, 8)),
    ]
    for s, _ in _SIDES:
        for y, reach in ((-0.13, -0.1), (0.13, 0.07)):
            line = [
                (s * 0.045, y, -0.03),
                (s * 0.05, y + 0.6 * reach, -0.12),
                (s * 0.05, y + 0.2 * reach, -0.2),
            ]
            parts.append(
                tube(line, [0.035, 0.026, 0.022], plain(coat), detail=(8, 4), pixels=(8, 8))
            )
    return parts
