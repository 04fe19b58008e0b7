"""A child with a backpack, and a ball that moves in one clip only."""

import numpy as np

from render.blender.samples.model import Clip, Model
from render.blender.samples.motion import ease, flight, held, swell, wave
from render.blender.samples.paint import (
    band,
    dimmed,
    disc,
    eye,
    fill,
    over,
    plain,
    segments,
    stripes,
)
from render.blender.samples.surface import Array, Part, Texels, box, ellipsoid, floor, lathe, tube

_SKIN, _BLUE, _RED, _CREAM = "#f3c29b", "#2f5fb3", "#e2483d", "#fff4dc"
_SIDES = ((1, "L"), (-1, "R"))


def child(model: Model) -> None:
    """Build Pip: walks, waves, jumps, dances, kicks the ball; one clip holds still."""
    model.fps = 30
    _bones(model)
    model.add("pip", [*_head(), *_body(), *_limbs()], skinned=True)
    ball = ellipsoid((0, 0, 0), 0.1, _ball_paint, detail=10, pixels=48)
    model.add("ball", [ball], at=(-0.2, -0.3, 0.1))
    _walk(model)
    _wave(model)
    _jump(model)
    _dance(model)
    _kick(model)
    still = model.clip("rest", 1.0).turn("head").turn("hips").rejected("too_still")
    still.known("head", "rotation", 0.0)


def _bones(model: Model) -> None:
    model.bone("hips", (0, 0, 0.36), (0, 0, 0.45))
    model.bone("chest", (0, 0, 0.46), (0, 0, 0.66), "hips")
    model.bone("head", (0, 0, 0.68), (0, 0, 1.05), "chest")
    for s, side in _SIDES:
        model.bone(f"arm.{side}", (s * 0.15, 0, 0.61), (s * 0.25, -0.01, 0.49), "chest")
        model.bone(f"fore.{side}", (s * 0.25, -0.01, 0.49), (s * 0.35, -0.03, 0.38), f"arm.{side}")
        model.bone(f"leg.{side}", (s * 0.08, 0, 0.36), (s * 0.085, 0, 0.22), "hips")
        model.bone(f"shin.{side}", (s * 0.085, 0, 0.22), (s * 0.085, 0, 0.09), f"leg.{side}")
        model.bone(f"foot.{side}", (s * 0.085, 0, 0.08), (s * 0.088, -0.1, 0.03), f"shin.{side}")


def _head() -> list[Part]:
    def face(s: Texels) -> Array:
        x, y, z = s.q[..., 0], s.q[..., 1], s.q[..., 2]
        picture = over(fill(s, _SKIN), "#f08f7f", disc(s.q, (0.72, -0.72, -0.28), 13))
        picture = over(picture, "#f08f7f", disc(s.q, (-0.72, -0.72, -0.28), 13))
        smile = (z > -0.62 + 1.9 * x**2) & (z < -0.40 + 0.25 * x**2) & (y < 0)
        picture = over(picture, "#8e2b2b", smile)
        picture = over(picture, "#ff8f8f", smile & (z < -0.53))
        brow = (np.abs(z - 0.36 + 0.9 * (np.abs(x) - 0.36) ** 2) < 0.035) & (y < 0)
        return over(picture, "#6b3d1e", brow & band(np.abs(x), 0.2, 0.53))

    def knit(s: Texels) -> Array:
        return over(fill(s, _RED), _CREAM, stripes(s.p[..., 2] - 0.95, 12, 0.4))

    ring = [(0.235 + 0.03 * np.cos(a), 0.03 * np.sin(a)) for a in np.linspace(3.1, -3.1, 13)]
    cap = ellipsoid((0, 0.012, 0.95), (0.24, 0.228, 0.2), knit, pixels=96)
    parts = [
        ellipsoid((0, 0, 0.87), (0.232, 0.212, 0.212), face, detail=16, pixels=160),
        ellipsoid((0, 0.035, 0.86), (0.237, 0.205, 0.2), plain("#6b3d1e"), detail=12),
        ellipsoid((0, -0.212, 0.855), (0.032, 0.03, 0.026), plain("#eda884"), detail=6, pixels=16),
        cap.bent(lambda p: np.concatenate([p[..., :2], np.maximum(p[..., 2:], 0.945)], -1)),
        lathe(ring, plain(_CREAM), at=(0, 0.012, 0.955), turn=(-6, 0, 0), pixels=(32, 32)),
        ellipsoid((0, 0.01, 1.17), 0.06, plain(_CREAM), detail=8, pixels=32),
    ]
    for s, _ in _SIDES:
        parts.append(
            ellipsoid((s * 0.085, -0.185, 0.9), (0.047, 0.03, 0.058), eye("#3f7fbf"), detail=8)
        )
        parts.append(ellipsoid((s * 0.23, 0, 0.86), (0.03, 0.03, 0.05), plain(_SKIN), detail=6))
    return [part.on("head") for part in parts]


def _body() -> list[Part]:
    def shirt(s: Texels) -> Array:
        x, y, z = s.p[..., 0], s.p[..., 1], s.p[..., 2]
        picture = over(fill(s, _CREAM), "#f2a33c", stripes(z, 16, 0.45))
        bib = (z < 0.5) | ((np.abs(x) < 0.085) & (y < 0) & (z < 0.6))
        strap = (np.abs(np.abs(x) - 0.075) < 0.022) & (z > 0.5)
        picture = over(picture, _BLUE, bib | strap)
        pocket = (np.abs(x) < 0.05) & band(z, 0.5, 0.555) & (y < 0)
        picture = over(picture, "#244a8c", pocket)
        button = (np.hypot(np.abs(x) - 0.075, z - 0.585) < 0.016) & (y < 0)
        return over(picture, "#ffd34d", button)

    def pack(s: Texels) -> Array:
        x, z = s.q[..., 0], s.q[..., 2]
        picture = over(fill(s, "#27a37f"), "#1c7f63", z > 0.35)
        picture = over(picture, "#ffd34d", (np.abs(x) < 0.16) & band(z, 0.1, 0.5))
        return over(picture, "#e2483d", band(z, -0.8, -0.05) & (np.abs(x) < 0.6))

    torso = tube(
        [(0, 0, 0.39), (0, 0, 0.52), (0, 0, 0.64)],
        [(0.145, 0.12), (0.16, 0.13), (0.11, 0.09)],
        shirt,
        detail=(20, 10),
        pixels=(192, 128),
        caps=0.6,
    )
    bag = box((0, 0.155, 0.53), (0.22, 0.13, 0.24), pack, bevel=0.05, pixels=48)
    return [torso.on("hips", "chest"), bag.on("chest")]


def _limbs() -> list[Part]:
    def sleeve(s: Texels) -> Array:
        share = s.q[..., 2]
        picture = over(fill(s, _SKIN), _CREAM, share < 0.55)
        return over(picture, "#f2a33c", (share < 0.55) & stripes(share, 7, 0.45))

    def trousers(s: Texels) -> Array:
        picture = over(fill(s, _BLUE), "#87a8e0", band(s.q[..., 2], 0.86, 1.5))
        return dimmed(picture, s.p[..., 2] / 0.2, 0.85)

    def shoe(s: Texels) -> Array:
        picture = over(fill(s, _RED), "#ffffff", s.p[..., 2] < 0.022)
        lace = (s.p[..., 2] > 0.05) & stripes(s.p[..., 1], 28, 0.4) & (np.abs(s.q[..., 0]) < 0.4)
        return over(picture, "#ffffff", lace)

    parts = []
    for s, side in _SIDES:
        arm = [(s * 0.13, 0, 0.62), (s * 0.25, -0.01, 0.49), (s * 0.345, -0.025, 0.385)]
        parts.append(
            tube(arm, [0.055, 0.045, 0.036], sleeve, pixels=(48, 64)).on(
                f"arm.{side}", f"fore.{side}"
            )
        )
        parts.append(
            ellipsoid((s * 0.365, -0.03, 0.365), (0.046, 0.042, 0.05), plain(_SKIN), detail=8).on(
                f"fore.{side}"
            )
        )
        leg = [(s * 0.075, 0, 0.4), (s * 0.085, 0, 0.22), (s * 0.085, 0, 0.07)]
        parts.append(
            tube(leg, [0.075, 0.066, 0.06], trousers, pixels=(48, 64), caps=0.3).on(
                f"leg.{side}", f"shin.{side}"
            )
        )
        foot = ellipsoid(
            (s * 0.088, -0.035, 0.05), (0.07, 0.115, 0.066), shoe, detail=10, pixels=64
        )
        parts.append(foot.bent(floor).on(f"foot.{side}"))
    return parts


def _ball_paint(s: Texels) -> Array:
    picture = segments(s, ["#ffffff", "#e2483d", "#ffffff", "#2f7de2"])
    return over(picture, "#ffd34d", np.abs(s.q[..., 2]) > 0.93)


def _leg(clip: Clip, side: str, thigh: Array, shin: Array, flat: Array | float = 1.0) -> None:
    """Swing thigh and shin, degrees; ``flat`` 1 keeps the sole level, 0 lets it follow the shin."""
    clip.turn(f"leg.{side}", x=thigh).turn(f"shin.{side}", x=shin)
    clip.turn(f"foot.{side}", x=-flat * (thigh + shin))


def _walk(model: Model) -> None:
    clip = model.clip("walk", 1.0, loop=True)
    t = clip.phase
    for s, side in _SIDES:
        swing = s * wave(t)
        _leg(clip, side, -44 * swing, 20 - 20 * s * wave(t, 1, 0.25), 0.5)
        clip.turn(f"arm.{side}", x=62 * swing, y=s * 32)
        clip.turn(f"fore.{side}", x=-22 - 12 * swing)
    clip.move("hips", z=0.03 * swell(t, 2, 0.5) - 0.012)
    clip.turn("hips", z=7 * wave(t)).turn("chest", x=4, z=-18 * wave(t)).turn("head", z=7 * wave(t))
    clip.known("leg.L", "rotation", 44.0)


def _wave(model: Model) -> None:
    clip = model.clip("wave", 2.0)
    t = clip.phase
    up = held(t, 0.0, 1.0, 0.2)
    clip.turn("arm.L", y=-95 * up).turn("fore.L", y=(-30 + 32 * wave(t, 4)) * up)
    clip.turn("arm.R", y=-35 * up).turn("chest", y=-9 * up).turn("hips", z=10 * up)
    clip.turn("head", y=16 * up * wave(t, 1.5), z=4 * up)
    clip.known("arm.L", "rotation", 95.0)


def _jump(model: Model) -> None:
    clip = model.clip("jump", 1.2)
    t = clip.phase
    crouch = held(t, 0.0, 0.3, 0.12) + 0.8 * held(t, 0.7, 1.0, 0.12)
    air = flight(t, 0.25, 0.75)
    clip.move("hips", z=0.5 * air - 0.085 * crouch)
    for s, side in _SIDES:
        _leg(clip, side, -48 * crouch - 25 * air, 92 * crouch + 45 * air, crouch)
        clip.turn(f"arm.{side}", x=35 * crouch, y=s * (30 * crouch - 95 * air))
    clip.turn("chest", x=18 * crouch - 6 * air).turn("head", x=-12 * crouch)
    clip.known("hips", "translation", 0.5)


def _dance(model: Model) -> None:
    clip = model.clip("dance", 2.4, loop=True)
    t = clip.phase
    clip.move("hips", x=0.07 * wave(t, 2), z=0.02 * swell(t, 4))
    clip.turn("hips", y=9 * wave(t, 2), z=360 * ease(t, 0.5, 0.95))
    clip.turn("chest", y=-16 * wave(t, 2), z=12 * wave(t, 1)).turn("head", y=13 * wave(t, 4))
    for s, side in _SIDES:
        clip.turn(f"arm.{side}", y=-s * (45 + 45 * wave(t, 2, 0.25 * s)), x=-20)
        clip.turn(f"fore.{side}", y=-s * 40, z=-s * 20 * wave(t, 4))
        lift = swell(t, 2, 0.25 - 0.25 * s)
        _leg(clip, side, -34 * lift, 58 * lift, 0.6)
    clip.known("hips", "translation", float(np.hypot(0.07, 0.02)))


def _kick(model: Model) -> None:
    clip = model.clip("kick", 1.6)
    t = clip.phase
    back, forth = held(t, 0.0, 0.38, 0.16), held(t, 0.26, 0.75, 0.14)
    _leg(clip, "R", 40 * back - 70 * forth, 60 * back, 0.3)
    clip.turn("hips", z=14 * back - 16 * forth).turn("chest", x=-10 * forth, z=-20 * back)
    clip.turn("arm.L", x=-50 * back, y=-30 * forth).turn("arm.R", x=40 * forth, y=30 * back)
    away = ease(t, 0.33, 1.0)
    hop = 0.32 * flight(t, 0.33, 0.72) + 0.1 * flight(t, 0.72, 1.0)
    clip.move("ball", y=-0.6 * away, z=hop).turn("ball", x=540 * away)
    clip.known("ball", "turns", 540.0)
