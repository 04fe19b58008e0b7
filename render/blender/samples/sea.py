"""Animals of the sea: a clownfish and an octopus."""

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import ease, held, swell, wave
from render.blender.samples.paint import band, dimmed, disc, eye, fade, fill, over, plain, spots
from render.blender.samples.surface import Array, Part, Point, Texels, ellipsoid, tube

_ORANGE, _WHITE, _BLACK = "#ff7a1c", "#ffffff", "#1c1a22"
_SIDES = ((1, "L"), (-1, "R"))
_ARMS = 8


def clownfish(model: Model) -> None:
    """Build a clownfish that hovers above the ground: swims, darts, turns about."""
    model.fps = 25
    model.roughness = 0.4
    model.bone("body", (0, -0.1, 0.45), (0, -0.38, 0.45))
    line: list[Point] = [(0, y, 0.45) for y in (-0.1, 0.1, 0.28, 0.42, 0.64)]
    spine = model.chain("spine", line, "body")
    for s, side in _SIDES:
        model.bone(f"fin.{side}", (s * 0.13, -0.12, 0.4), (s * 0.33, 0.0, 0.36), "body")
    model.add("clownfish", [*_fish_body(("body", *spine)), *_fish_fins(spine)], skinned=True)
    _swim(model, "swim", 1.2, 2, 1.0)
    _swim(model, "dart", 0.8, 3, 1.35)
    _fish_turn(model)


def _bands(s: Texels, below: Array) -> Array:
    y = s.p[..., 1] + 0.04 * np.cos(7 * (s.p[..., 2] - 0.45))
    picture = below
    for at, wide in ((-0.17, 0.062), (0.1, 0.07), (0.34, 0.04)):
        far = np.abs(y - at)
        picture = over(over(picture, _BLACK, far < wide), _WHITE, far < wide - 0.016)
    return picture


def _fish_body(bones: tuple[str, ...]) -> list[Part]:
    def scales(s: Texels) -> Array:
        picture = _bands(s, fade("#ff6a10", "#ff9a3a", 0.5 - 0.6 * s.q[..., 1]))
        smile = (np.abs(s.p[..., 2] - 0.41 - 2.2 * s.p[..., 0] ** 2) < 0.008) & (
            s.p[..., 1] < -0.36
        )
        return over(picture, "#7a2b10", smile)

    trunk = tube(
        [(0, -0.36, 0.44), (0, -0.2, 0.45), (0, 0.05, 0.45), (0, 0.3, 0.45), (0, 0.44, 0.45)],
        [(0.08, 0.1), (0.135, 0.19), (0.14, 0.22), (0.075, 0.12), (0.035, 0.065)],
        scales,
        detail=(20, 20),
        pixels=(192, 256),
    )
    parts = [trunk.on(*bones)]
    for s, _ in _SIDES:
        gaze = (s * 0.75, -0.66, 0.05)
        parts.append(
            ellipsoid((s * 0.1, -0.3, 0.51), (0.05, 0.06, 0.062), eye("#5a3a1c", gaze)).on("body")
        )
        lip = ellipsoid((s * 0.02, -0.44, 0.42), (0.035, 0.025, 0.018), plain("#ff9a5a"), detail=6)
        parts.append(lip.on("body"))
    return parts


def _fish_fins(spine: list[str]) -> list[Part]:
    def fin(s: Texels) -> Array:
        rim = np.hypot(s.q[..., 1], s.q[..., 2]) > 0.9
        rays = ((np.arctan2(s.q[..., 2], s.q[..., 1] + 1.2) * 9) % 1.0) < 0.2
        picture = over(fill(s, _ORANGE), "#e0590a", rays)
        return over(picture, _BLACK, rim)

    def tail(s: Texels) -> Array:
        share = s.q[..., 2]
        rays = ((s.q[..., 1] * 3.5) % 1.0) < 0.2
        picture = over(over(fill(s, _ORANGE), "#e0590a", rays), _WHITE, share > 0.72)
        return over(picture, _BLACK, (share > 0.8) | (np.abs(s.q[..., 1]) > 0.93))

    fan = tube(
        [(0, 0.42, 0.45), (0, 0.52, 0.45), (0, 0.66, 0.45)],
        [(0.03, 0.06), (0.022, 0.15), (0.012, 0.2)],
        tail,
        detail=(16, 8),
        caps=2.0,
    )
    parts = [
        fan.on(*spine[-2:]),
        ellipsoid((0, 0.02, 0.66), (0.018, 0.24, 0.085), fin, turn=(-8, 0, 0)).on(*spine[:3]),
        ellipsoid((0, 0.2, 0.27), (0.018, 0.12, 0.1), fin, turn=(25, 0, 0)).on(*spine[1:3]),
    ]
    for s, side in _SIDES:
        wing = ellipsoid(
            (s * 0.22, -0.03, 0.375), (0.016, 0.125, 0.085), fin, turn=(20, 0, -s * 48)
        )
        parts.append(wing.on(f"fin.{side}"))
    return parts


def _swim(model: Model, name: str, duration_s: float, beats: int, wide: float) -> None:
    clip = model.clip(name, duration_s, loop=True, period_s=duration_s / beats)
    t = clip.phase
    for k, degrees in enumerate((7, 12, 17, 24), 1):
        clip.turn(f"spine.{k}", z=wide * degrees * wave(t, beats, -0.13 * k))
    clip.turn("body", z=wide * 11 * wave(t, beats, 0.08), y=5 * wave(t, 1))
    clip.move("body", x=0.02 * wave(t, beats), z=0.03 * wave(t, 1))
    for s, side in _SIDES:
        clip.turn(
            f"fin.{side}", z=s * (10 + 24 * wave(t, beats, 0.1 * s)), y=s * 14 * wave(t, beats)
        )


def _fish_turn(model: Model) -> None:
    clip = model.clip("turn", 2.0)
    t = clip.phase
    around = ease(t, 0.08, 0.92)
    bend = np.sin(np.pi * around)
    clip.turn("body", z=360 * around, y=-16 * bend)
    for k in range(1, 5):
        clip.turn(f"spine.{k}", z=-20 * bend + 9 * wave(t, 4, -0.13 * k))
    for s, side in _SIDES:
        clip.turn(f"fin.{side}", z=s * 26 * wave(t, 5))


def octopus(model: Model) -> None:
    """Build an octopus: sways, swims up in pulses, waves hello with two arms."""
    model.fps = 30
    model.roughness = 0.35
    model.bone("body", (0, 0, 0.24), (0, 0, 0.4))
    model.bone("head", (0, 0, 0.45), (0, 0.05, 0.85), "body")
    parts = [*_octopus_head()]
    for k in range(_ARMS):
        line = _arm_line(k)
        names = model.chain(f"arm{k}", line, "body")
        arm = tube(
            line, [0.088, 0.07, 0.052, 0.036, 0.02], _arm_paint, detail=(10, 16), top=(0, 0, 1)
        )
        parts.append(arm.on("body", *names))
    model.add("octopus", parts, skinned=True)
    _octopus_sway(model)
    _octopus_pulse(model)
    _octopus_hello(model)


def _angle(k: int) -> float:
    return 2 * np.pi * (k + 0.5) / _ARMS - np.pi / 2  # arms 0 and 7 frame the face


def _arm_line(k: int) -> list[Point]:
    out = np.array([np.cos(_angle(k)), np.sin(_angle(k))])
    rows = ((0.13, 0.2), (0.33, 0.11), (0.52, 0.062), (0.68, 0.055), (0.76, 0.15))
    return [(float(out[0] * far), float(out[1] * far), up) for far, up in rows]


def _arm_paint(s: Texels) -> Array:
    share, up = s.q[..., 2], s.q[..., 1]
    picture = fade("#8d4fd1", "#e06bb5", share)
    across, along = s.q[..., 0] / 0.45, ((share * 11) % 1.0 - 0.5) * 2
    picture = over(picture, "#f7c9e4", up < -0.25)
    cup = np.hypot(np.abs(across) - 0.55, along * 0.9)
    cups = (up < -0.4) & (cup < 0.55) & band(share, 0.1, 0.95)
    picture = over(over(picture, "#c65a9f", cups), "#f7c9e4", cups & (cup < 0.28))
    return over(picture, "#6a35ad", (up > 0.35) & (((share * 5) % 1.0) < 0.22))


def _octopus_head() -> list[Part]:
    def skin(s: Texels) -> Array:
        picture = fade("#8d4fd1", "#a768e6", s.q[..., 2] * 0.5 + 0.5)
        dots = spots(s.q, s.rng, 26, (6.5, 12.5)) & ~disc(s.q, (0, -1, -0.3), 46)
        picture = over(picture, "#6a35ad", dots)
        x, z = s.q[..., 0], s.q[..., 2]
        for side in (-1, 1):
            picture = over(picture, "#e67ac0", disc(s.q, (side * 0.62, -0.8, -0.36), 10))
        front = s.q[..., 1] < 0
        smile = (z > -0.56 + 2.2 * x**2) & (z < -0.38 + 0.6 * x**2) & front & (np.abs(x) < 0.28)
        return over(over(picture, "#4a1a5e", smile), "#ff8fb0", smile & (z < -0.48))

    def skirt(s: Texels) -> Array:
        return dimmed(fill(s, "#8d4fd1"), s.p[..., 2] / 0.25, 0.75)

    parts = [
        ellipsoid((0, 0.05, 0.62), (0.3, 0.3, 0.33), skin, turn=(-10, 0, 0), detail=16, pixels=160),
        ellipsoid((0, 0, 0.29), (0.22, 0.22, 0.15), skirt, pixels=48),
    ]
    for s, _ in _SIDES:
        look = eye("#f2b632", gaze=(s * 0.1, -1, 0.05))
        parts.append(ellipsoid((s * 0.125, -0.235, 0.62), (0.075, 0.05, 0.09), look))
    return [parts[0].on("head"), parts[1].on("body"), *(part.on("head") for part in parts[2:])]


def _curl(model: Model, index: int, up: Array, side: Array | None = None) -> None:
    """Bend one link of all arms: ``up`` degrees away from the ground, per arm and key."""
    clip = model.clips[-1]
    for k in range(_ARMS):
        a = _angle(k)
        sway = side[k] if side is not None else 0.0
        x, y, z = _about((np.sin(a), -np.cos(a)), up[k])
        clip.turn(f"arm{k}.{index}", x=x, y=y, z=z + sway)


def _about(axis: tuple[float, float], degrees: Array) -> tuple[Array, Array, Array]:
    """Write a turn about a level axis as turns about x, then y, then z; degrees."""
    c, s, (x, y) = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), axis
    down, right = -y * s, x * s  # last row of the matrix
    angles = (
        np.arctan2(right, c),
        -np.arcsin(down),
        np.arctan2(x * y * (1 - c), c + x * x * (1 - c)),
    )
    return np.rad2deg(angles[0]), np.rad2deg(angles[1]), np.rad2deg(angles[2])


def _octopus_sway(model: Model) -> None:
    clip = model.clip("sway", 2.0, loop=True)
    t = clip.phase
    for link in range(1, 5):
        lag = -0.12 * link
        up = np.array([(5 + 13 * (link > 1)) * wave(t, 1, k / _ARMS + lag) for k in range(_ARMS)])
        side = np.array([14 * wave(t, 1, k / 4 + lag) for k in range(_ARMS)])
        _curl(model, link, up + 6, side)
    clip.turn("head", x=7 * wave(t, 1, 0.25), y=13 * wave(t, 1)).turn("body", z=9 * wave(t, 1))
    clip.grow("head", x=1 + 0.04 * wave(t, 2), y=1 + 0.04 * wave(t, 2), z=1 - 0.05 * wave(t, 2))


def _octopus_pulse(model: Model) -> None:
    clip = model.clip("pulse", 1.6, loop=True)
    t = clip.phase
    shut = swell(t, 1)
    for link in range(1, 5):
        fold = (-52, -18, -8, 22)[link - 1] * swell(t, 1, -0.06 * link)
        _curl(model, link, np.broadcast_to(fold, (_ARMS, len(t))))
    clip.move("body", z=0.62 * shut)
    clip.grow("head", x=1 - 0.12 * shut, y=1 - 0.12 * shut, z=1 + 0.16 * shut)
    clip.known("body", "translation", 0.62)


def _octopus_hello(model: Model) -> None:
    clip = model.clip("hello", 2.4)
    t = clip.phase
    up = held(t, 0.0, 1.0, 0.2)
    for link in range(1, 5):
        lifts = []
        for k in range(_ARMS):
            raised = k in (1, 6)
            calm = 5 * wave(t, 1, k / _ARMS - 0.1 * link)
            waving = (48, 20, 4, -26)[link - 1] * up + 17 * up * wave(t, 4, -0.1 * link)
            lifts.append(waving if raised else calm)
        _curl(model, link, np.array(lifts))
    clip.turn("head", y=11 * up * wave(t, 2), x=-7 * up).turn("body", y=4 * up * wave(t, 2))
