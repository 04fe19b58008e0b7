"""Toys: a bouncing ball, a spinning top, a jack-in-the-box, a hovering saucer."""

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import ease, flight, held, swell, wave
from render.blender.samples.paint import band, disc, eye, fade, fill, over, plain, segments, stripes
from render.blender.samples.surface import Array, Part, Texels, box, ellipsoid, lathe, tube

_YELLOW, _RED, _BLUE, _CREAM = "#f5c02a", "#e2483d", "#2f7fd0", "#fff6e3"


def ball(model: Model) -> None:
    """Build a ball with a face: bounces with squash and stretch, rolls along."""
    model.fps = 60
    model.roughness = 0.35
    model.add("squash")
    model.add(
        "ball",
        [ellipsoid((0, 0, 0), 0.25, _ball_paint, detail=16, pixels=160)],
        parent="squash",
        at=(0, 0, 0.25),
    )
    clip = model.clip("bounce", 1.0, loop=True)
    t = clip.phase
    # on the ground for the first and last tenth, in the air between: a parabola of 0.7 m
    touch = 1 - ease(t, 0.0, 0.1) + ease(t, 0.9, 1.0)
    speed = np.abs(1 - 2 * np.clip((t - 0.1) / 0.8, 0, 1)) * (1 - touch)
    tall = 1 - 0.4 * touch + 0.22 * speed
    clip.move("squash", z=0.7 * flight(t, 0.1, 0.9))
    clip.grow("squash", x=tall**-0.5, y=tall**-0.5, z=tall).turn(
        "ball", x=14 * wave(t), z=30 * wave(t)
    )
    clip.known("squash", "translation", 0.7)
    clip = model.clip("roll", 2.0)
    t = clip.phase
    away = 0.75 * ease(t, 0.05, 0.95)
    clip.move("squash", x=away).turn("ball", y=np.rad2deg(away / 0.25))
    clip.known("squash", "translation", 0.75)


def _ball_paint(s: Texels) -> Array:
    picture = segments(s, [_RED, _CREAM, _BLUE, _CREAM, _YELLOW, _CREAM])
    picture = over(picture, "#2fa36b", np.abs(s.q[..., 2]) > 0.94)
    picture = over(picture, _YELLOW, disc(s.q, (0, -1, 0), 38))
    x, z, front = s.q[..., 0], s.q[..., 2], s.q[..., 1] < 0
    for side in (-1, 1):
        picture = over(
            picture, "#23190f", front & (np.hypot((x - side * 0.2) / 0.75, z - 0.14) < 0.13)
        )
        picture = over(
            picture, "#ffffff", front & (np.hypot(x - side * 0.2 - 0.03, z - 0.19) < 0.04)
        )
        picture = over(picture, "#f08a4b", front & (np.hypot(x - side * 0.4, z + 0.1) < 0.09))
    smile = front & (z > -0.34 + 1.2 * x**2) & (z < -0.14 + 0.1 * x**2) & (np.abs(x) < 0.34)
    return over(picture, "#8e2b2b", smile)


def top(model: Model) -> None:
    """Build a spinning top: hums upright, then staggers about its tip."""
    model.fps = 60
    model.roughness = 0.3
    model.add("lean")
    model.add("top", _top_parts(), parent="lean")
    clip = model.clip("hum", 0.8, loop=True, period_s=0.4)
    t = clip.phase
    clip.turn("top", z=720 * t).turn("lean", x=4 * wave(t, 1, 0.25), y=4 * wave(t, 1))
    clip.known("top", "turns", 720.0)
    clip = model.clip("stagger", 2.5)
    t = clip.phase
    tilt = 6 + 20 * ease(t, 0, 0.9)
    clip.turn("top", z=1200 * (t - 0.3 * t**2))
    clip.turn("lean", x=tilt * np.cos(2 * np.pi * 3 * t), y=tilt * np.sin(2 * np.pi * 3 * t))
    clip.known("top", "turns", 840.0)


def _top_parts() -> list[Part]:
    def body(s: Texels) -> Array:
        far, z = np.hypot(s.q[..., 0], s.q[..., 1]), s.q[..., 2]
        picture = segments(s, [_RED, _YELLOW, "#2fa36b", _BLUE, "#8d4fd1", "#f2872c"])
        star = (((s.u * 6) % 1.0) - 0.5) ** 2 + ((z - 0.53) * 5) ** 2 < 0.05
        picture = over(picture, "#ffffff", star & (z > 0.4))
        picture = over(picture, _CREAM, band(z, 0.395, 0.43) & (far > 0.3))
        return over(picture, "#8a929e", z < 0.06)

    shape = [(0.012, 0), (0.03, 0.05), (0.2, 0.25), (0.36, 0.39), (0.38, 0.42), (0.36, 0.45)]
    shape += [(0.22, 0.58), (0.08, 0.65), (0.035, 0.68), (0.03, 0.86)]
    handle = ellipsoid((0, 0, 0.88), (0.055, 0.055, 0.05), plain(_RED), detail=8, pixels=16)
    return [lathe(shape, body, around=36, pixels=(256, 192)), handle]


def jack(model: Model) -> None:
    """Build a jack-in-the-box: five seconds, of which only the middle moves."""
    model.fps = 24
    model.add("box", [box((0, 0, 0.28), (0.56, 0.56, 0.56), _box_paint, bevel=0.025, pixels=128)])
    lid = box((0, -0.28, 0.02), (0.58, 0.58, 0.045), _lid_paint, bevel=0.015, pixels=64)
    model.add("lid", [lid], at=(0, 0.28, 0.56))
    # small enough in the box to fit under the lid; it grows as it comes out
    model.add("jack", _jack_parts(), at=(0, 0, 0.2), scale=0.56)
    spring = [lathe(_coils(), _spring_paint, around=20, pixels=(32, 64))]
    model.add("spring", spring, at=(0, 0, 0.04))
    clip = model.clip("surprise", 5.0)
    t = clip.phase
    out = held(t, 0.42, 0.72, 0.06)
    ring = np.exp(-9 * np.clip(t - 0.47, 0, 1)) * ease(t, 0.44, 0.5) * (1 - ease(t, 0.62, 0.68))
    rise = 0.62 * out
    clip.turn("lid", x=-115 * held(t, 0.4, 0.74, 0.06))
    clip.move("jack", x=0.16 * ring * wave(t, 12), z=rise + 0.1 * ring * wave(t, 16))
    size = 1 + 0.79 * out
    clip.grow("jack", x=size, y=size, z=size).turn("jack", y=26 * ring * wave(t, 12))
    clip.grow("spring", x=1.0, y=1.0, z=1 + 3.1 * out).known("lid", "rotation", 115.0)
    model.note = "long clip, motion only between 2.0 s and 3.7 s"


def _coils() -> list[tuple[float, float]]:
    up = np.linspace(0, 1, 25)
    return [(float(0.13 + 0.035 * np.cos(2 * np.pi * 6 * u)), float(0.03 + 0.2 * u)) for u in up]


def _spring_paint(s: Texels) -> Array:
    return over(fill(s, "#9aa3b0"), "#d8dee8", np.hypot(s.q[..., 0], s.q[..., 1]) > 0.135)


def _box_paint(s: Texels) -> Array:
    x, y, z = s.q[..., 0], s.q[..., 1], s.q[..., 2]
    a = np.where(np.abs(x) > 0.97, y, x)
    front = y < -0.97
    picture = np.where((np.abs(x) > 0.97)[..., None], fill(s, _BLUE), fill(s, _RED))
    picture = over(picture, "#2fa36b", y > 0.97)
    diamond = (((a + z) * 2) % 1.0 < 0.5) ^ (((a - z) * 2) % 1.0 < 0.5)
    picture = over(picture, "#ffffff", diamond & ~front & (np.abs(z) < 0.97) & (y < 0.97))
    picture = over(picture, _CREAM, (y > 0.97) & stripes(x, 3, 0.5))
    star = np.hypot(x, z) * (1 + 0.28 * np.cos(5 * np.arctan2(x, z))) ** -1
    picture = over(over(picture, _YELLOW, front & (star < 0.62)), _RED, front & (star < 0.34))
    rim = (np.maximum(np.abs(a), np.abs(z)) > 0.86) & (np.abs(z) < 0.995)
    return over(over(picture, _YELLOW, rim), "#2a1d3a", z > 0.97)


def _lid_paint(s: Texels) -> Array:
    return over(fill(s, _YELLOW), _RED, np.hypot(s.q[..., 0], s.q[..., 1]) < 0.55)


def _jack_parts() -> list[Part]:
    def face(s: Texels) -> Array:
        x, z, front = s.q[..., 0], s.q[..., 2], s.q[..., 1] < 0
        picture = fill(s, "#ffe3cc")
        for side in (-1, 1):
            picture = over(picture, "#f59a8a", disc(s.q, (side * 0.7, -0.75, -0.22), 14))
            tall = np.abs(x - side * 0.36) < 0.045
            picture = over(picture, _BLUE, front & tall & band(z, -0.06, 0.62))
        smile = front & (z > -0.66 + 0.9 * x**2) & (z < -0.3 + 0.1 * x**2) & (np.abs(x) < 0.56)
        return over(over(picture, "#b3202a", smile), "#ffffff", smile & (z > -0.41 + 0.1 * x**2))

    def hat(s: Texels) -> Array:
        return over(fill(s, "#8d4fd1"), _YELLOW, stripes(s.q[..., 2] + s.u * 0.25, 7, 0.4))

    parts = [
        ellipsoid((0, 0, 0.2), (0.15, 0.14, 0.145), face, detail=14, pixels=128),
        ellipsoid((0, -0.15, 0.195), 0.036, plain(_RED), detail=8, pixels=16),
        lathe([(0.12, 0.29), (0.1, 0.33), (0.015, 0.53)], hat, around=20, pixels=(96, 64)),
        ellipsoid((0, 0, 0.54), 0.035, plain(_YELLOW), detail=6, pixels=16),
        lathe([(0.1, 0.03), (0.19, 0.05), (0.19, 0.07), (0.08, 0.1)], _collar, around=24),
    ]
    for s in (1, -1):
        parts.append(
            ellipsoid((s * 0.055, -0.122, 0.235), (0.034, 0.022, 0.042), eye(_BLUE), detail=8)
        )
        parts.append(
            ellipsoid(
                (s * 0.15, 0.02, 0.24), (0.055, 0.06, 0.065), plain("#f2872c"), detail=8, pixels=16
            )
        )
        parts.append(
            ellipsoid(
                (s * 0.12, 0.04, 0.31), (0.05, 0.05, 0.05), plain("#f2872c"), detail=8, pixels=16
            )
        )
    return parts


def _collar(s: Texels) -> Array:
    return segments(s, [_RED, _CREAM], 8)


def saucer(model: Model) -> None:
    """Build a flying saucer that rises as one rigid body: only its place changes."""
    model.fps = 25
    model.roughness = 0.3
    model.add("saucer", _saucer_parts(), at=(0, 0, 0.35))
    clip = model.clip("hover", 2.0, loop=True)
    clip.move("saucer", z=0.5 * swell(clip.phase), x=0.12 * wave(clip.phase))
    clip.known("saucer", "translation", 0.5)
    clip = model.clip("land", 1.6)
    t = clip.phase
    clip.move("saucer", z=0.8 * (1 - ease(t, 0, 0.9)))
    clip.turn("saucer", z=200 * (1 - ease(t, 0, 0.95)), y=14 * wave(t, 2) * (1 - ease(t, 0.2, 0.9)))
    clip.known("saucer", "translation", 0.8)


def _saucer_parts() -> list[Part]:
    def hull(s: Texels) -> Array:
        z, far = s.q[..., 2], np.hypot(s.q[..., 0], s.q[..., 1])
        picture = over(fade("#7d8fa8", "#c9d6e6", z * 4 + 0.6), _RED, band(z, -0.012, 0.022))
        lamp = np.hypot(((s.u * 12) % 1.0) - 0.5, (far - 0.4) * 9) < 0.28
        glow = segments(s, [_YELLOW, "#59e0a0", "#ff7ab8"], 4)
        picture = np.where((lamp & (z > 0.02))[..., None], glow, picture)
        return over(picture, "#59e0a0", (far < 0.16) & (z < 0))

    def alien(s: Texels) -> Array:
        x, z, front = s.q[..., 0], s.q[..., 2], s.q[..., 1] < 0
        picture = fill(s, "#7fdc6a")
        for side in (-1, 1):
            eye_shape = np.hypot(
                (x - side * 0.36) / 0.9, (z - 0.15) - side * 0.25 * (x - side * 0.36)
            )
            picture = over(picture, "#10131a", front & (eye_shape < 0.26))
            picture = over(
                picture, "#ffffff", front & (np.hypot(x - side * 0.36 - 0.06, z - 0.26) < 0.07)
            )
        smile = front & (np.abs(z + 0.4 - 0.5 * x**2) < 0.05) & (np.abs(x) < 0.3)
        return over(picture, "#2f6f2a", smile)

    shape = [
        (0.15, -0.1),
        (0.3, -0.07),
        (0.54, -0.005),
        (0.56, 0.005),
        (0.54, 0.02),
        (0.3, 0.1),
        (0.2, 0.13),
    ]
    parts = [
        lathe(shape, hull, around=36, pixels=(256, 128)),
        ellipsoid((0, 0, 0.22), (0.13, 0.12, 0.15), alien, detail=12, pixels=96),
    ]
    for s in (1, -1):
        stalk = [(s * 0.04, 0, 0.35), (s * 0.07, 0, 0.43)]
        parts.append(tube(stalk, [0.012, 0.01], plain("#7fdc6a"), detail=(8, 3), pixels=(8, 8)))
        parts.append(ellipsoid((s * 0.075, 0, 0.45), 0.025, plain("#ff7ab8"), detail=6, pixels=8))
    for k in range(3):
        a = 2 * np.pi * (k / 3 + 0.25)
        x, y = 0.3 * np.cos(a), 0.3 * np.sin(a)
        leg = [(0.8 * x, 0.8 * y, -0.08), (1.15 * x, 1.15 * y, -0.32)]
        parts.append(tube(leg, [0.022, 0.03], plain("#5a6678"), detail=(8, 3), pixels=(8, 8)))
    return parts
