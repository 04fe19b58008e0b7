"""Animals on land and in the air: a tiger and a parrot."""

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import ease, flight, held, swell, wave
from render.blender.samples.paint import (
    band,
    colour,
    dimmed,
    disc,
    eye,
    fade,
    fill,
    over,
    plain,
    ripple,
    stripes,
)
from render.blender.samples.surface import Array, Paint, Part, Texels, ellipsoid, floor, tube

_ORANGE, _CREAM, _BLACK = "#f28a2e", "#fff3df", "#2a1a14"
_SIDES = ((1, "L"), (-1, "R"))


def tiger(model: Model) -> None:
    """Build a tiger cub: walks, gallops, looks about wagging its tail, pounces."""
    model.fps = 24
    model.bone("hips", (0, 0.3, 0.5), (0, 0.45, 0.5))
    model.bone("chest", (0, 0.05, 0.5), (0, -0.3, 0.52), "hips")
    model.bone("head", (0, -0.36, 0.6), (0, -0.62, 0.72), "chest")
    for s, side in _SIDES:
        for end, y, parent in (("fore", -0.24, "chest"), ("hind", 0.36, "hips")):
            knee = (s * 0.125, y + 0.01, 0.25)
            model.bone(f"{end}.{side}", (s * 0.12, y, 0.46), knee, parent)
            model.bone(f"{end}foot.{side}", knee, (s * 0.13, y - 0.02, 0.06), f"{end}.{side}")
    tail = model.chain("tail", _TAIL, "hips")
    parts = [*_tiger_body(), *_tiger_head(), *_tiger_legs()]
    parts.append(
        tube(_TAIL, [0.05, 0.045, 0.042, 0.04, 0.045], _tail_paint, detail=(10, 14)).on(*tail)
    )
    model.add("tiger", parts, skinned=True)
    _tiger_walk(model)
    _tiger_gallop(model)
    _tiger_look(model)
    _tiger_pounce(model)


_TAIL = [(0, 0.5, 0.58), (0, 0.66, 0.6), (0, 0.79, 0.7), (0, 0.84, 0.85), (0, 0.79, 0.99)]


def _tail_paint(s: Texels) -> Array:
    share = s.q[..., 2]
    return over(fill(s, _ORANGE), _BLACK, stripes(share, 6, 0.35) | (share > 0.88))


def _tiger_body() -> list[Part]:
    def coat(s: Texels) -> Array:
        x, y, z = s.p[..., 0], s.p[..., 1], s.p[..., 2]
        up = s.q[..., 1]
        picture = over(fill(s, _ORANGE), _CREAM, up < -0.62 + 0.1 * np.sin(30 * y))
        bend = y + 0.035 * np.sin(9 * z + 4 * np.abs(x)) + 0.02 * ripple(s.p, s.rng, 2.5)
        thick = np.clip(0.5 * (up + 0.55), 0, 0.46)
        return over(picture, _BLACK, stripes(bend, 7.5, thick))

    def bib(s: Texels) -> Array:
        return over(fill(s, _ORANGE), _CREAM, s.q[..., 2] < 0.45)

    trunk = tube(
        [(0, -0.26, 0.54), (0, 0.05, 0.51), (0, 0.4, 0.53)],
        [(0.18, 0.19), (0.185, 0.185), (0.175, 0.18)],
        coat,
        detail=(20, 12),
        pixels=(192, 160),
        caps=0.8,
    )
    chest = ellipsoid((0, -0.32, 0.52), (0.15, 0.13, 0.17), bib, detail=10)
    return [trunk.on("hips", "chest"), chest.on("chest")]


def _tiger_head() -> list[Part]:
    def face(s: Texels) -> Array:
        x, y, z = s.q[..., 0], s.q[..., 1], s.q[..., 2]
        picture = over(fill(s, _ORANGE), _CREAM, disc(s.q, (0.75, -0.5, -0.45), 27))
        picture = over(picture, _CREAM, disc(s.q, (-0.75, -0.5, -0.45), 27))
        for side in (-1, 1):
            picture = over(picture, _CREAM, disc(s.q, (side * 0.42, -0.8, 0.55), 15))
        brow = (np.abs(x) < 0.34) & (z > 0.55) & stripes(z + 0.35 * np.abs(x), 5.5, 0.42)
        cheek = (np.abs(x) > 0.72) & stripes(z - 0.5 * y, 4.2, 0.36) & (z < 0.5)
        back = (y > 0.1) & stripes(z, 3.6, 0.36)
        return over(picture, _BLACK, brow | cheek | back)

    def muzzle(s: Texels) -> Array:
        x, z = s.q[..., 0], s.q[..., 2]
        picture = fill(s, _CREAM)
        mouth = (np.abs(z + 0.42 - 0.5 * np.abs(np.abs(x) - 0.35)) < 0.06) & (np.abs(x) < 0.72)
        line = (np.abs(x) < 0.04) & band(z, -0.3, 0.5)
        dots = stripes(x, 6, 0.35) & stripes(z, 5, 0.3) & band(np.abs(x), 0.35, 0.85)
        return over(picture, _BLACK, (mouth | line | (dots & (z < 0.25))) & (s.q[..., 1] < 0.2))

    def ear(s: Texels) -> Array:
        pink = (s.q[..., 1] < -0.3) & (np.hypot(s.q[..., 0], s.q[..., 2]) < 0.68)
        return over(over(fill(s, _BLACK), _ORANGE, s.q[..., 1] < 0.1), "#f7b3a5", pink)

    parts = [
        ellipsoid((0, -0.5, 0.72), (0.215, 0.185, 0.185), face, detail=14, pixels=128),
        ellipsoid((0, -0.655, 0.65), (0.115, 0.085, 0.078), muzzle, detail=10, pixels=96),
        ellipsoid((0, -0.735, 0.69), (0.038, 0.022, 0.026), plain("#d9656b"), detail=6, pixels=16),
    ]
    for s, _ in _SIDES:
        parts.append(
            ellipsoid((s * 0.088, -0.65, 0.765), (0.044, 0.03, 0.052), eye("#4f8f3a"), detail=8)
        )
        parts.append(
            ellipsoid((s * 0.15, -0.46, 0.885), (0.07, 0.035, 0.07), ear, turn=(0, s * 20, 0))
        )
    return [part.on("head") for part in parts]


def _tiger_legs() -> list[Part]:
    def leg(s: Texels) -> Array:
        share = s.q[..., 2]
        bars = stripes(share, 5, 0.36) & band(share, 0.12, 0.85) & (np.abs(s.q[..., 0]) > 0.35)
        return over(over(fill(s, _ORANGE), _BLACK, bars), _CREAM, share > 0.84)

    def paw(s: Texels) -> Array:
        toes = stripes(s.q[..., 0] + 0.62, 1.7, 0.1) & (s.q[..., 1] < -0.55)
        return over(fill(s, _CREAM), _BLACK, toes & (np.abs(s.q[..., 0]) < 0.6))

    parts = []
    for s, side in _SIDES:
        for end, y, wide in (("fore", -0.24, 0.085), ("hind", 0.36, 0.1)):
            bones = (f"{end}.{side}", f"{end}foot.{side}")
            line = [(s * 0.11, y, 0.5), (s * 0.125, y + 0.02, 0.27), (s * 0.13, y - 0.01, 0.06)]
            parts.append(tube(line, [wide, 0.075, 0.066], leg, caps=0.5).on(*bones))
            foot = ellipsoid((s * 0.13, y - 0.04, 0.05), (0.078, 0.1, 0.062), paw, detail=8)
            parts.append(foot.bent(floor).on(bones[1]))
    return parts


def _step(model: Model, name: str, duration_s: float, lag: float, wide: float) -> None:
    """Move the legs: ``lag`` is the hind legs' delay, ``wide`` the swing in degrees."""
    clip = model.clip(name, duration_s, loop=True)
    t = clip.phase
    pairs = (("fore.L", 0.0), ("fore.R", 0.5), ("hind.L", lag), ("hind.R", lag + 0.5))
    if name == "gallop":
        pairs = (("fore.L", 0.0), ("fore.R", 0.1), ("hind.L", lag), ("hind.R", lag + 0.1))
    for leg, shift in pairs:
        end, side = leg.split(".")
        clip.turn(leg, x=-wide * wave(t, 1, shift))
        bend = swell(t, 1, shift + 0.25)
        clip.turn(f"{end}foot.{side}", x=(0.9 if end == "hind" else 1.0) * wide * bend)


def _tiger_walk(model: Model) -> None:
    _step(model, "walk", 1.25, 0.25, 33)
    clip = model.clips[-1]
    t = clip.phase
    clip.move("hips", z=0.015 * wave(t, 2) - 0.004).turn("hips", y=4 * wave(t), z=5 * wave(t))
    clip.turn("chest", z=-9 * wave(t), y=-4 * wave(t)).turn("head", x=4 * wave(t, 2), z=5 * wave(t))
    for k in range(1, 5):
        clip.turn(f"tail.{k}", z=13 * wave(t, 1, -0.12 * k))
    clip.known("fore.L", "rotation", 33.0)


def _tiger_gallop(model: Model) -> None:
    _step(model, "gallop", 0.75, 0.5, 48)
    clip = model.clips[-1]
    t = clip.phase
    clip.move("hips", z=0.09 * swell(t, 1, 0.1)).turn("hips", x=11 * wave(t, 1, 0.05))
    clip.turn("chest", x=-20 * wave(t, 1, 0.05)).turn("head", x=10 * wave(t))
    for k in range(1, 5):
        clip.turn(f"tail.{k}", x=-22 * (k == 1) - 11 * wave(t, 1, -0.1 * k))


def _tiger_look(model: Model) -> None:
    clip = model.clip("look", 2.5)
    t = clip.phase
    clip.turn("hips", x=-38 * held(t, 0, 1, 0.2)).move("hips", z=-0.16 * held(t, 0, 1, 0.2))
    sit = held(t, 0, 1, 0.2)
    clip.turn("chest", x=6 * sit).turn(
        "head", z=40 * wave(t, 1) * sit, x=26 * sit, y=9 * wave(t, 2)
    )
    for _, side in _SIDES:
        clip.turn(f"hind.{side}", x=-34 * sit).turn(f"hindfoot.{side}", x=74 * sit)
        clip.turn(f"fore.{side}", x=34 * sit)
    for k in range(1, 5):
        clip.turn(f"tail.{k}", z=24 * wave(t, 4, -0.1 * k) * sit)


def _tiger_pounce(model: Model) -> None:
    clip = model.clip("pounce", 1.5)
    t = clip.phase
    low, air = held(t, 0, 0.42, 0.14), flight(t, 0.38, 0.78)
    clip.move("hips", z=0.42 * air - 0.05 * low, y=-0.3 * ease(t, 0.38, 0.78))
    clip.turn("hips", x=-14 * low - 26 * air)
    clip.turn("chest", x=12 * low + 10 * air).turn("head", x=-10 * low)
    for s, side in _SIDES:
        clip.turn(f"fore.{side}", x=-34 * low - 55 * air, y=s * -6 * low)
        clip.turn(f"forefoot.{side}", x=62 * low)
        clip.turn(f"hind.{side}", x=-36 * low + 52 * air).turn(f"hindfoot.{side}", x=70 * low)
    for k in range(1, 5):
        clip.turn(f"tail.{k}", z=20 * wave(t, 5, -0.1 * k) * low, x=-12 * air)


def parrot(model: Model) -> None:
    """Build a parrot: flies, hops, struts with a nodding head."""
    model.fps = 30
    model.bone("body", (0, 0.03, 0.3), (0, 0.02, 0.52))
    model.bone("head", (0, -0.02, 0.58), (0, -0.1, 0.74), "body")
    model.bone("tail", (0, 0.13, 0.24), (0, 0.4, 0.1), "body")
    for s, side in _SIDES:
        model.bone(f"wing.{side}", (s * 0.13, 0.03, 0.5), (s * 0.36, 0.06, 0.49), "body")
        model.bone(f"tip.{side}", (s * 0.37, 0.06, 0.49), (s * 0.66, 0.12, 0.46), f"wing.{side}")
        model.bone(f"leg.{side}", (s * 0.07, 0.02, 0.2), (s * 0.07, 0, 0.02), "body")
    model.add("parrot", [*_parrot_body(), *_parrot_head(), *_wings()], skinned=True)
    _parrot_fly(model)
    _parrot_hop(model)
    _parrot_strut(model)


def _parrot_body() -> list[Part]:
    def plumage(s: Texels) -> Array:
        scale = np.abs(((s.u * 20 + np.floor(s.v * 14) * 0.5) % 1.0) - 0.5)
        edge = ((s.v * 14) % 1.0) < 0.9 * scale**2 * 4 * 0.35
        picture = fade("#c81f2c", "#ee3f35", s.q[..., 2] * 0.5 + 0.5)
        picture = over(picture, "#f7c531", s.q[..., 2] < -0.72)
        return over(picture, "#a81825", edge & (s.q[..., 2] > -0.72))

    def plume(code: str) -> Paint:
        def paint(s: Texels) -> Array:
            picture = over(fill(s, code), "#1d3f8f", s.q[..., 1] > 0.45)
            return over(picture, "#ffffff", np.abs(s.q[..., 0]) < 0.05)

        return paint

    def leg(s: Texels) -> Array:
        return over(fill(s, "#f09a2b"), "#c9761a", stripes(s.q[..., 2], 5, 0.25))

    parts = [
        ellipsoid((0, 0.03, 0.4), (0.17, 0.165, 0.25), plumage, turn=(-14, 0, 0), pixels=128).on(
            "body"
        )
    ]
    for x, code, long in ((-0.06, "#2f6fd0", 0.2), (0.06, "#2f6fd0", 0.2), (0, "#e2333a", 0.25)):
        at = (x, 0.15 + 0.8 * long, 0.24 - 0.45 * long)
        parts.append(
            ellipsoid(at, (0.05, long, 0.018), plume(code), turn=(-28, 0, x * -110), detail=8).on(
                "tail"
            )
        )
    for s, side in _SIDES:
        parts.append(
            tube([(s * 0.07, 0.03, 0.2), (s * 0.07, 0.01, 0.03)], [0.035, 0.022], leg).on(
                f"leg.{side}"
            )
        )
        for toe in (-28, 0, 28):
            shape = ellipsoid(
                (s * 0.07 + 0.045 * np.sin(np.deg2rad(toe)), -0.045, 0.016),
                (0.018, 0.058, 0.02),
                plain("#f09a2b"),
                turn=(0, 0, float(toe)),
                detail=6,
                pixels=16,
            )
            parts.append(shape.bent(floor).on(f"leg.{side}"))
    return parts


def _parrot_head() -> list[Part]:
    def face(s: Texels) -> Array:
        picture = fill(s, "#ee3f35")
        for side in (-1, 1):
            cheek = disc(s.q, (side * 0.8, -0.66, 0.0), 34)
            picture = over(picture, "#fff6ea", cheek)
            lines = cheek & stripes(s.q[..., 2] + 0.25 * s.q[..., 1], 6, 0.2) & (s.q[..., 2] < 0)
            picture = over(picture, "#d8434a", lines)
        return picture

    def beak(s: Texels) -> Array:
        return over(fill(s, "#3a3540"), "#f3e4c4", s.q[..., 2] < 0.55)

    hook = [(0, -0.16, 0.74), (0, -0.25, 0.735), (0, -0.295, 0.69), (0, -0.285, 0.63)]
    parts = [
        ellipsoid((0, -0.06, 0.71), (0.145, 0.145, 0.14), face, detail=14, pixels=96),
        tube(hook, [(0.06, 0.05), (0.055, 0.045), (0.035, 0.03), (0.01, 0.008)], beak),
        ellipsoid((0, -0.215, 0.665), (0.035, 0.04, 0.025), plain("#3a3540"), detail=6, pixels=16),
    ]
    for k, code in enumerate(("#ee3f35", "#f7c531", "#2f6fd0")):
        at = (0.0, -0.04 + 0.05 * k, 0.86 - 0.015 * k)
        parts.append(
            ellipsoid(at, (0.022, 0.03, 0.085), plain(code), turn=(-30.0 - 22 * k, 0, 0), detail=6)
        )
    for s, _ in _SIDES:
        look = eye("#f2c53d", gaze=(s * 0.8, -0.6, 0.05))
        parts.append(ellipsoid((s * 0.1, -0.14, 0.75), 0.036, look, detail=8))
    return [part.on("head") for part in parts]


def _wings() -> list[Part]:
    def arm(s: Texels) -> Array:
        x = np.abs(s.p[..., 0])
        picture = over(fill(s, "#e2333a"), "#f7c531", x > 0.27)
        return over(picture, "#2f8f5b", x > 0.4)

    def quill(s: Texels) -> Array:
        picture = fade("#2f8f5b", "#2f6fd0", s.q[..., 1] * 0.9 + 0.4)
        picture = over(picture, "#1b2f78", s.q[..., 1] > 0.72)
        return dimmed(over(picture, "#cfe3ff", np.abs(s.q[..., 0]) < 0.06), 1 - s.u * 0, 1.0)

    parts = []
    for s, side in _SIDES:
        bones = (f"wing.{side}", f"tip.{side}")
        line = [(s * 0.1, 0.03, 0.5), (s * 0.36, 0.04, 0.5), (s * 0.6, 0.07, 0.475)]
        bow = tube(line, [(0.075, 0.042), (0.07, 0.03), (0.04, 0.018)], arm, top=(0, 0, 1))
        parts.append(bow.on(*bones))
        for k in range(8):
            share = k / 7
            x, lean = 0.17 + 0.45 * share, 8 + 62 * share**1.6
            long = 0.13 + 0.03 * np.sin(np.pi * share)
            at = (
                s * (x + 0.1 * np.sin(np.deg2rad(lean))),
                0.08 + 0.1 * np.cos(np.deg2rad(lean)),
                0.49 - 0.03 * share + 0.004 * (k % 2),
            )
            feather = ellipsoid(
                at, (0.048, long, 0.012), quill, turn=(0, 0, -s * lean), detail=7, pixels=32
            )
            parts.append(feather.on(*bones))
    return parts


def _parrot_fly(model: Model) -> None:
    clip = model.clip("fly", 1.0, loop=True, period_s=0.5)
    t = clip.phase
    for s, side in _SIDES:
        clip.turn(f"wing.{side}", y=-s * 48 * wave(t, 2))
        clip.turn(f"tip.{side}", y=-s * 34 * wave(t, 2, -0.2))
        clip.turn(f"leg.{side}", x=48)
    clip.move("body", z=0.12 - 0.05 * wave(t, 2, 0.1)).turn("body", x=18 + 4 * wave(t, 2))
    clip.turn("head", x=-14).turn("tail", x=12 * wave(t, 2, -0.3))
    clip.known("wing.L", "rotation", 48.0)


def _parrot_hop(model: Model) -> None:
    clip = model.clip("hop", 1.4)
    t = clip.phase
    air = flight(t, 0.12, 0.45) + 0.8 * flight(t, 0.55, 0.88)
    squat = held(t, 0, 0.16, 0.07) + held(t, 0.42, 0.58, 0.07) + held(t, 0.85, 1, 0.07)
    clip.move("body", z=0.3 * air)
    for s, side in _SIDES:
        clip.turn(f"wing.{side}", y=s * (46 - 80 * air), z=s * (62 - 60 * air))
        clip.turn(f"tip.{side}", y=s * -25 * air, z=s * 14)
        clip.turn(f"leg.{side}", x=25 * air)
    clip.turn("body", x=10 * air, z=14 * wave(t, 1)).turn("head", x=16 * squat, z=-10 * wave(t, 1))
    clip.turn("tail", x=-24 * air)
    clip.known("body", "translation", 0.3)


def _parrot_strut(model: Model) -> None:
    clip = model.clip("strut", 2.0, loop=True)
    t = clip.phase
    for s, side in _SIDES:
        clip.turn(f"wing.{side}", y=s * (46 - 40 * swell(t, 2)), z=s * (62 - 30 * swell(t, 2)))
        clip.turn(f"tip.{side}", y=s * -20 * swell(t, 2), z=s * 14)
        clip.turn(f"leg.{side}", x=-20 * s * wave(t, 2))
    clip.turn("body", y=10 * wave(t, 2), z=18 * wave(t, 1)).turn("tail", z=22 * wave(t, 2))
    clip.turn("head", x=22 * wave(t, 4), y=-20 * wave(t, 2), z=10 * wave(t, 1))


_ = colour
