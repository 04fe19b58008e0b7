"""Assets that curation must drop, each for one reason that is far from any limit."""

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import swell, wave
from render.blender.samples.paint import band, eye, fade, fill, over, plain, segments, stripes
from render.blender.samples.surface import Array, Part, Texels, box, ellipsoid, floor, lathe, tube


def duck(model: Model) -> None:
    """Build a rubber duck whose clips have keys but no, or almost no, motion."""
    model.fps = 24
    model.roughness = 0.3
    model.add("duck", _duck_parts())
    clip = model.clip("frozen", 1.5).turn("duck").move("duck").rejected("too_still")
    clip.known("duck", "rotation", 0.0)
    clip = model.clip("breathe", 2.0, loop=True)
    size = 1 + 0.004 * swell(clip.phase)
    clip.grow("duck", x=size, y=size, z=size).known("duck", "scale", 1.004).rejected("too_still")


def _duck_parts() -> list[Part]:
    def body(s: Texels) -> Array:
        return fade("#f2b21d", "#ffdc4a", s.q[..., 2] * 0.5 + 0.6)

    bill = ellipsoid(
        (0, -0.44, 0.52),
        (0.085, 0.1, 0.035),
        plain("#f2762c"),
        turn=(-6, 0, 0),
        detail=8,
        pixels=16,
    )
    tail = tube(
        [(0, 0.28, 0.26), (0, 0.42, 0.36), (0, 0.46, 0.46)],
        [0.12, 0.07, 0.015],
        plain("#ffd23a"),
        pixels=(16, 16),
    )
    parts = [
        ellipsoid((0, 0.04, 0.2), (0.28, 0.36, 0.21), body, detail=14).bent(floor),
        ellipsoid((0, -0.2, 0.54), (0.19, 0.19, 0.18), body, detail=14),
        bill,
        tail,
    ]
    for s in (1, -1):
        parts.append(
            ellipsoid((s * 0.085, -0.35, 0.6), (0.04, 0.03, 0.048), eye("#2f7fd0"), detail=8)
        )
        wing = ellipsoid(
            (s * 0.27, 0.06, 0.25),
            (0.05, 0.19, 0.1),
            plain("#f2b21d"),
            turn=(14, 0, s * -8.0),
            detail=8,
            pixels=16,
        )
        parts.append(wing)
    return parts


def robot(model: Model) -> None:
    """Build a toy robot that jumps sideways between two instants and holds still otherwise."""
    model.fps = 30
    model.roughness = 0.35
    model.add("robot", _robot_parts())
    clip = model.clip("teleport", 1.5)
    clip.stepped = True
    clip.move("robot", x=np.where(clip.phase < 0.52, 0.0, 1.4))
    clip.known("robot", "translation", 1.4).rejected("teleport")


def _robot_parts() -> list[Part]:
    def trunk(s: Texels) -> Array:
        x, z, front = s.q[..., 0], s.q[..., 2], s.q[..., 1] < -0.95
        picture = over(fill(s, "#48a8b8"), "#2c6f80", np.abs(z) > 0.86)
        picture = over(picture, "#1c2a38", front & (np.abs(x) < 0.6) & band(z, -0.15, 0.6))
        pulse = np.abs(z - 0.22 - 0.22 * np.sign(np.sin(9 * x))) < 0.05
        picture = over(picture, "#6dffb0", front & (np.abs(x) < 0.5) & pulse)
        for k, code in enumerate(("#ff5a4a", "#ffc93a", "#5aff8a")):
            picture = over(picture, code, front & (np.hypot(x - 0.35 * (k - 1), z + 0.5) < 0.12))
        return over(picture, "#2c6f80", (s.q[..., 1] > 0.95) & stripes(z, 4, 0.4))

    def head(s: Texels) -> Array:
        x, z, front = s.q[..., 0], s.q[..., 2], s.q[..., 1] < -0.95
        picture = over(
            fill(s, "#d5dfe6"), "#1c2a38", front & (np.abs(x) < 0.8) & band(z, -0.3, 0.62)
        )
        for side in (-1, 1):
            picture = over(picture, "#5ae8ff", front & (np.hypot(x - side * 0.38, z - 0.16) < 0.22))
        return over(picture, "#ff5a4a", front & (np.abs(x) < 0.4) & (np.abs(z + 0.6) < 0.1))

    parts = [
        box((0, 0, 0.42), (0.42, 0.3, 0.4), trunk, bevel=0.05, pixels=96),
        box((0, 0, 0.78), (0.36, 0.28, 0.26), head, bevel=0.06, pixels=96),
        lathe([(0.06, 0.6), (0.06, 0.67)], plain("#6d7480"), around=14, pixels=(8, 8)),
        tube([(0, 0, 0.9), (0, 0, 1.02)], [0.012, 0.012], plain("#6d7480"), pixels=(8, 8)),
        ellipsoid((0, 0, 1.04), 0.035, plain("#ff5a4a"), detail=8, pixels=8),
    ]
    for s in (1, -1):
        arm = [(s * 0.22, 0, 0.55), (s * 0.33, -0.02, 0.45), (s * 0.34, -0.08, 0.32)]
        parts.append(tube(arm, [0.05, 0.045, 0.05], _hose, pixels=(32, 64)))
        parts.append(ellipsoid((s * 0.34, -0.1, 0.28), 0.06, plain("#f2872c"), detail=8, pixels=8))
        parts.append(
            tube([(s * 0.11, 0, 0.24), (s * 0.11, 0, 0.08)], [0.06, 0.06], _hose, pixels=(32, 64))
        )
        foot = box(
            (s * 0.12, -0.04, 0.05), (0.17, 0.26, 0.1), plain("#f2872c"), bevel=0.04, pixels=8
        )
        parts.append(foot)
    return parts


def _hose(s: Texels) -> Array:
    return over(fill(s, "#aab6c0"), "#6d7480", stripes(s.q[..., 2], 7, 0.35))


def rocket(model: Model) -> None:
    """Build a rocket that flies away: 25 times its own height."""
    model.fps = 25
    model.add("rocket", _rocket_parts())
    clip = model.clip("launch", 2.0)
    t = clip.phase
    clip.move("rocket", z=25.0 * t**1.6, x=2.0 * t**2).turn("rocket", z=90 * t)
    clip.known("rocket", "translation", float(np.hypot(25.0, 2.0))).rejected("leaves_frame")


def _rocket_parts() -> list[Part]:
    def hull(s: Texels) -> Array:
        z = s.q[..., 2]
        picture = over(fill(s, "#f4f1ea"), "#e2483d", (z > 0.78) | band(z, 0.24, 0.3))
        picture = over(picture, "#2f5fb3", z < 0.16)
        front = s.p[..., 1] < 0
        far = np.hypot(s.p[..., 0], z - 0.58)
        picture = over(
            over(picture, "#f5b81f", front & (far < 0.1)), "#8fd0ea", front & (far < 0.075)
        )
        return over(picture, "#2f5fb3", ~front & stripes(s.p[..., 0], 12, 0.4) & band(z, 0.45, 0.7))

    shape = [
        (0.1, 0.1),
        (0.13, 0.12),
        (0.19, 0.3),
        (0.2, 0.5),
        (0.17, 0.7),
        (0.1, 0.9),
        (0.015, 1.02),
    ]
    parts = [
        lathe(shape, hull, around=28, pixels=(256, 160)),
        lathe([(0.12, 0.04), (0.08, 0.11)], plain("#4b515c"), around=20, pixels=(8, 8)),
    ]
    for k in range(4):
        a = np.pi / 2 * k + np.pi / 4
        x, y = float(np.cos(a)), float(np.sin(a))
        line = [(0.15 * x, 0.15 * y, 0.36), (0.29 * x, 0.29 * y, 0.2), (0.33 * x, 0.33 * y, 0.02)]
        fin = tube(line, [0.03, 0.06, 0.03], plain("#e2483d"), detail=(10, 6), pixels=(8, 8))
        parts.append(fin)
    return parts


def firefly(model: Model) -> None:
    """Build a firefly whose one clip is over after a single frame of a 24th of a second."""
    model.fps = 24
    model.add("firefly", _firefly_parts(), at=(0, 0, 0.12))
    clip = model.clip("blink", 1 / 24)
    clip.turn("firefly", z=np.array([0.0, 40.0])).move("firefly", z=np.array([0.0, 0.15]))
    clip.known("firefly", "rotation", 40.0).rejected("too_short")


def _firefly_parts() -> list[Part]:
    def body(s: Texels) -> Array:
        return over(fill(s, "#3a2f4a"), "#ffe94a", s.q[..., 1] > 0.05)

    def wing(s: Texels) -> Array:
        return over(fill(s, "#cfe9ff"), "#8fb8e0", stripes(s.q[..., 1], 3, 0.2))

    parts = [
        ellipsoid((0, 0.12, 0.14), (0.12, 0.22, 0.12), body, turn=(-12, 0, 0)),
        ellipsoid((0, -0.16, 0.2), (0.11, 0.1, 0.1), plain("#3a2f4a"), pixels=8),
    ]
    for s in (1, -1):
        parts.append(ellipsoid((s * 0.055, -0.235, 0.225), 0.045, eye("#e2483d"), detail=8))
        fan = ellipsoid(
            (s * 0.19, 0.1, 0.27),
            (0.17, 0.085, 0.012),
            wing,
            turn=(10, s * -24.0, s * 20.0),
            detail=8,
        )
        parts.append(fan)
        feeler = [(s * 0.04, -0.2, 0.29), (s * 0.08, -0.27, 0.36), (s * 0.11, -0.33, 0.38)]
        parts.append(
            tube(feeler, [0.01, 0.009, 0.014], plain("#3a2f4a"), detail=(8, 4), pixels=(8, 8))
        )
    return parts


def bones(model: Model) -> None:
    """Build a skeleton that moves and carries no mesh."""
    model.fps = 24
    model.bone("root", (0, 0, 0), (0, 0, 0.4))
    names = model.chain("link", [(0, 0, 0.4), (0, 0, 0.7), (0, 0, 1.0), (0, 0, 1.2)], "root")
    clip = model.clip("sway", 2.0, loop=True)
    for k, name in enumerate(names):
        clip.turn(name, x=30 * wave(clip.phase, 1, -0.1 * k))
    clip.rejected("no_mesh")


def snowman(model: Model) -> None:
    """Build a snowman without any animation."""
    snow = "#f7fbff"

    def face(s: Texels) -> Array:
        x, z, front = s.q[..., 0], s.q[..., 2], s.q[..., 1] < 0
        picture = fade("#dfeaf6", snow, z + 0.7)
        for k in range(-2, 3):
            spot = np.hypot(x - 0.17 * k, z + 0.4 - 0.035 * k * k) < 0.05
            picture = over(picture, "#2a2a33", front & spot)
        return picture

    def belly(s: Texels) -> Array:
        picture = fade("#d3e2f2", snow, s.q[..., 2] + 0.8)
        for at in (0.5, 0.1, -0.3):
            spot = (np.hypot(s.q[..., 0], s.q[..., 2] - at) < 0.09) & (s.q[..., 1] < 0)
            picture = over(picture, "#2a2a33", spot)
        return picture

    def knit(s: Texels) -> Array:
        return segments(s, ["#e2483d", "#fff6e3"], 9)

    ring = [
        (0.16 + 0.045 * np.cos(a), 0.64 + 0.045 * np.sin(a)) for a in np.linspace(3.1, -3.1, 11)
    ]
    hat = [(0.22, 0.97), (0.22, 0.99), (0.13, 0.99), (0.14, 1.2)]
    nose = tube(
        [(0, -0.16, 0.82), (0, -0.34, 0.8)], [0.035, 0.006], plain("#f2872c"), pixels=(8, 8)
    )
    parts = [
        ellipsoid((0, 0, 0.3), (0.36, 0.34, 0.33), belly, detail=14).bent(floor),
        ellipsoid((0, 0, 0.82), (0.205, 0.2, 0.2), face, detail=14, pixels=96),
        lathe(ring, knit, around=27, pixels=(128, 32)),
        tube(
            [(0.12, -0.15, 0.64), (0.15, -0.26, 0.55), (0.14, -0.3, 0.42)],
            [0.05, 0.05, 0.05],
            plain("#e2483d"),
            pixels=(8, 8),
        ),
        lathe(hat, plain("#2a2a33"), around=24, pixels=(16, 16)),
        nose,
    ]
    for s in (1, -1):
        parts.append(
            ellipsoid(
                (s * 0.075, -0.17, 0.88), (0.03, 0.022, 0.034), eye("#14161c"), detail=8, pixels=32
            )
        )
        stick = [(s * 0.28, 0, 0.45), (s * 0.45, -0.03, 0.56), (s * 0.58, -0.05, 0.7)]
        parts.append(
            tube(stick, [0.022, 0.018, 0.012], plain("#6b4526"), detail=(8, 6), pixels=(8, 8))
        )
    model.add("snowman", parts)
