"""Vehicles of rigid parts: an excavator, a steam engine."""

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import ease, held, swell, wave
from render.blender.samples.paint import band, fill, over, plain, stripes
from render.blender.samples.surface import (
    Array,
    Part,
    Texels,
    box,
    ellipsoid,
    lathe,
    tube,
)

_SIDES = ((1, "L"), (-1, "R"))
_STEEL, _DARK, _YELLOW = "#6d7480", "#2f333b", "#f5b81f"


def excavator(model: Model) -> None:
    """Build an excavator: digs with boom, stick and bucket; swings; nothing is skinned."""
    model.fps = 30
    model.add("tracks", _tracks())
    model.add("house", _house(), parent="tracks", at=(0, 0.05, 0.36))
    model.add("boom", _boom(), parent="house", at=(0.02, -0.32, 0.2))
    model.add("stick", _stick(), parent="boom", at=(0, -0.72, 0.44))
    model.add("bucket", _bucket(), parent="stick", at=(0, -0.16, -0.62))
    clip = model.clip("dig", 3.0)
    t = clip.phase
    down, curl = held(t, 0.0, 0.62, 0.25), ease(t, 0.3, 0.6) - ease(t, 0.75, 1.0)
    clip.turn("boom", x=24 * down - 26 * held(t, 0.5, 1.0, 0.2))
    clip.turn("stick", x=-30 * down + 42 * curl)
    clip.turn("bucket", x=-36 * down + 78 * curl)
    clip = model.clip("swing", 2.0, loop=True)
    t = clip.phase
    clip.turn("house", z=48 * wave(t)).turn("boom", x=-9 * swell(t, 2))
    clip.known("house", "rotation", 48.0)


def _tracks() -> list[Part]:
    def tread(s: Texels) -> Array:
        picture = over(fill(s, "#3b3f47"), "#22252a", stripes(s.p[..., 1] + s.p[..., 2], 14, 0.4))
        side = np.abs(s.q[..., 0]) > 0.98
        picture = over(picture, "#2b2f36", side)
        for y in (-0.4, -0.2, 0.0, 0.2, 0.4):
            far = np.hypot(s.p[..., 1] - y, s.p[..., 2] - 0.15)
            picture = over(picture, "#8b93a0", side & (far < 0.085))
            picture = over(picture, _YELLOW, side & (far < 0.04))
        return picture

    parts = [box((0, 0, 0.22), (0.5, 0.6, 0.14), plain(_DARK), bevel=0.03, pixels=16)]
    for s, _ in _SIDES:
        parts.append(box((s * 0.36, 0, 0.15), (0.22, 1.16, 0.3), tread, bevel=0.13, pixels=96))
    return [*parts, lathe([(0.22, 0.28), (0.22, 0.36)], plain(_STEEL), pixels=(16, 16))]


def _house() -> list[Part]:
    def body(s: Texels) -> Array:
        picture = over(fill(s, _YELLOW), "#2f333b", s.q[..., 2] < -0.72)
        back = s.q[..., 1] > 0.97
        picture = over(picture, "#2f333b", back & stripes(s.q[..., 0], 6, 0.45) & (s.q[..., 2] > 0))
        return over(
            picture,
            "#2f333b",
            (np.abs(s.q[..., 0]) > 0.97)
            & stripes(s.q[..., 1] + s.q[..., 2], 3, 0.5)
            & band(s.q[..., 2], 0.1, 0.6)
            & (s.q[..., 1] > 0.1),
        )

    def cab(s: Texels) -> Array:
        x, y, z = s.q[..., 0], s.q[..., 1], s.q[..., 2]
        side = (np.abs(x) > 0.95) & (np.abs(y) < 0.75) & band(z, -0.2, 0.72)
        front = (np.abs(y) > 0.95) & (np.abs(x) < 0.74) & band(z, -0.45, 0.76)
        picture = over(fill(s, _YELLOW), "#7cc3e6", side | front)
        shine = (side | front) & (np.abs(z - 0.3 - x - y * 0.6) < 0.12)
        return over(over(picture, "#c9ecfa", shine), _DARK, z > 0.92)

    lamp = ellipsoid((-0.2, -0.1, 0.7), (0.045, 0.045, 0.05), plain("#ff8a1f"), detail=6, pixels=16)
    pipe = tube([(0.2, 0.38, 0.4), (0.2, 0.38, 0.6)], [0.035, 0.035], plain(_DARK), pixels=(8, 8))
    return [
        box((0, 0.14, 0.22), (0.72, 0.84, 0.4), body, bevel=0.06, pixels=80),
        box((-0.215, -0.12, 0.38), (0.32, 0.46, 0.62), cab, bevel=0.05, pixels=80),
        lamp,
        pipe,
    ]


def _plate(s: Texels) -> Array:
    return over(fill(s, _YELLOW), "#d99a10", np.abs(s.q[..., 0]) < 0.55)


def _pin() -> Part:
    return lathe(
        [(0.055, -0.1), (0.055, 0.1)], plain(_STEEL), turn=(0, 90, 0), around=14, pixels=(16, 16)
    )


def _boom() -> list[Part]:
    line = [(0, 0, 0), (0, -0.28, 0.42), (0, -0.72, 0.44)]
    arm = tube(line, [(0.07, 0.09), (0.07, 0.11), (0.06, 0.07)], _plate, top=(0, -0.5, 0.5))
    ram = tube(
        [(0.0, -0.08, -0.06), (0, -0.36, 0.3)], [0.035, 0.03], plain("#c8d0da"), pixels=(8, 8)
    )
    return [arm, ram, _pin()]


def _stick() -> list[Part]:
    arm = tube([(0, 0.12, 0.12), (0, 0, 0), (0, -0.16, -0.62)], [0.05, 0.075, 0.045], _plate)
    return [arm, _pin()]


def _bucket() -> list[Part]:
    def iron(s: Texels) -> Array:
        return over(
            fill(s, "#4b515c"), "#8b93a0", (s.q[..., 2] < -0.4) & stripes(s.q[..., 0], 3, 0.5)
        )

    shell = tube(
        [(-0.21, 0.06, -0.14), (0.21, 0.06, -0.14)],
        [(0.16, 0.13)] * 2,
        iron,
        caps=0.05,
        pixels=(96, 64),
    )
    teeth = [
        tube(
            [(x, -0.06, -0.22), (x, -0.17, -0.2)],
            [0.028, 0.012],
            plain("#e8ecf2"),
            pixels=(8, 8),
            detail=(8, 3),
        )
        for x in (-0.15, -0.05, 0.05, 0.15)
    ]
    return [shell, *teeth, _pin()]


def engine(model: Model) -> None:
    """Build a steam engine in centimetres under a root that is scaled, turned and animated."""
    model.fps = 30
    model.add("engine", _frame(), scale=0.01, turn=(0, 0, -28))
    for row, y in enumerate((-34, 0, 34)):
        for s, side in _SIDES:
            model.add(f"wheel.{row}.{side}", _wheel(s), parent="engine", at=(s * 25.0, y, 15))
    for s, side in _SIDES:
        rod = box((0, 0, 0), (3, 76, 4), plain("#d5dae2"), bevel=1.0, pixels=16)
        model.add(f"rod.{side}", [rod], parent="engine", at=(s * 31.5, 0, 15 - 7))
    for k in range(3):
        puff = ellipsoid((0, 0, 0), 9.0, plain("#f4f4f7"), detail=8, pixels=8)
        model.add(f"puff.{k}", [puff], parent="engine", at=(0, -40, 84 + 9 * k))
    _chug(model, "chug", 1.6, 2, 0.0)
    _chug(model, "roll", 2.0, 2, 0.9)


def _frame() -> list[Part]:
    def boiler(s: Texels) -> Array:
        share = s.q[..., 2]
        picture = over(fill(s, "#1f7a55"), _YELLOW, stripes(share + 0.05, 4, 0.1))
        return over(picture, _DARK, share < 0.0)

    def cab(s: Texels) -> Array:
        x, y, z = s.q[..., 0], s.q[..., 1], s.q[..., 2]
        picture = over(fill(s, "#c8372d"), _YELLOW, np.abs(z + 0.35) < 0.05)
        hole = (np.abs(x) > 0.95) & (np.abs(y) < 0.62) & band(z, -0.05, 0.72)
        pane = (np.abs(y) > 0.95) & (np.abs(np.abs(x) - 0.48) < 0.3) & band(z, 0.12, 0.72)
        return over(picture, "#ffe9a8", hole | pane)

    def nose(s: Texels) -> Array:
        far = np.hypot(s.q[..., 0], s.q[..., 2])
        around = np.arctan2(s.q[..., 0], s.q[..., 2]) / (2 * np.pi)
        star = far * (1 + 0.3 * np.cos(10 * np.pi * around)) ** -1
        picture = over(fill(s, _DARK), _YELLOW, band(far, 0.8, 0.88))
        picture = over(picture, "#c8372d", far < 0.66)
        picture = over(picture, "#fff4dc", star < 0.5)
        rivets = band(far, 0.69, 0.77) & (stripes(around, 16, 0.35))
        picture = over(picture, "#aeb6c2", rivets)
        return picture

    chimney = [(7, 62), (6, 66), (6, 76), (10, 80), (10, 83), (6, 83)]
    dome = ellipsoid((0, 0, 66), (9, 9, 9), plain(_YELLOW), detail=8, pixels=16)
    return [
        box((0, 2, 22), (40, 116, 8), plain("#c8372d"), bevel=2, pixels=16),
        tube(
            [(0, -50, 46), (0, 22, 46)],
            [20.5, 20.5],
            boiler,
            detail=(24, 10),
            caps=0.1,
            pixels=(96, 192),
        ),
        ellipsoid((0, -52, 46), (19.5, 5, 19.5), nose, detail=12, pixels=128),
        box((0, 38, 58), (48, 36, 62), cab, bevel=3, pixels=80),
        box((0, 38, 91), (56, 46, 5), plain(_DARK), bevel=2, pixels=8),
        lathe(chimney, plain(_DARK), at=(0, -40, 0), around=18, pixels=(16, 16)),
        dome,
        box((0, -59, 16), (50, 6, 10), plain("#c8372d"), bevel=2, pixels=8),
        *(
            ellipsoid((s * 17.0, -63, 17), 4.5, plain("#ffe9a8"), detail=6, pixels=8)
            for s, _ in _SIDES
        ),
    ]


def _wheel(side: int) -> list[Part]:
    def iron(s: Texels) -> Array:
        far = np.hypot(s.q[..., 0], s.q[..., 1])
        around = np.arctan2(s.q[..., 1], s.q[..., 0]) / (2 * np.pi)
        picture = over(fill(s, "#c8372d"), _DARK, stripes(around, 8, 0.5) & band(far, 4, 11.5))
        return over(over(picture, "#aeb6c2", far > 13), _YELLOW, far < 3.4)

    disc = lathe([(15, -2.5), (15, 2.5)], iron, turn=(0, 90, 0), around=24, pixels=(96, 48))
    crank = lathe(
        [(2.2, -3), (2.2, 9)],
        plain("#d5dae2"),
        at=(0, 0, -7),
        turn=(0, side * 90.0, 0),
        around=10,
        pixels=(8, 8),
    )
    return [disc, crank]


def _chug(model: Model, name: str, duration_s: float, turns: int, away: float) -> None:
    clip = model.clip(
        name, duration_s, loop=away == 0, period_s=duration_s / turns if away == 0 else None
    )
    t = clip.phase
    share = ease(t, 0, 1) if away else t
    angle = 2 * np.pi * turns * share
    for row in range(3):
        for _, side in _SIDES:
            clip.turn(f"wheel.{row}.{side}", x=np.rad2deg(angle))
    for _, side in _SIDES:
        # the rod hangs on the crank pins, 7 cm below the axles at the start
        clip.move(f"rod.{side}", y=7 * np.sin(angle), z=7 - 7 * np.cos(angle))
    for k in range(3):
        p = (t * turns + k / 3) % 1.0
        size = np.sin(np.pi * p) ** 0.7 * (0.5 + 1.1 * p) + 0.02
        clip.grow(f"puff.{k}", x=size, y=size, z=size).move(f"puff.{k}", y=16 * p, z=34 * p - 9 * k)
    turn = np.deg2rad(-28)
    if away:
        clip.move("engine", x=away * np.sin(turn) * share, y=-away * np.cos(turn) * share)
        clip.known("engine", "translation", away)
    else:
        clip.move("engine", z=0.012 * swell(t, 4)).turn(
            "engine", y=2.2 * wave(t, 2), x=1.5 * wave(t, 4)
        )
        clip.known("wheel.0.L", "turns", 360.0 * turns)
