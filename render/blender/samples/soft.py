"""Things that change shape by shape keys: a flower, a jelly monster, a flag."""

from collections.abc import Callable

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.motion import ease, held, swell, wave
from render.blender.samples.paint import (
    band,
    checks,
    eye,
    fade,
    fill,
    over,
    plain,
    spots,
    stripes,
)
from render.blender.samples.surface import (
    Array,
    Part,
    Point,
    Texels,
    box,
    ellipsoid,
    lathe,
    rotation,
    tube,
    turned,
)

Step = Callable[[Array], Array]
Shape = Callable[[Array, Array], Array]

_CENTRE = np.array([0.0, -0.06, 0.78])  # of the flower's face
_TILT: Point = (62.0, 0.0, 0.0)  # the face looks up from the front
_PETALS = 12


def flower(model: Model) -> None:
    """Build a smiling sunflower in a pot: opens, and sways in the wind."""
    model.fps = 24
    node = model.add("flower", [*_pot(), *_stalk(), *_petals()])
    node.shapes = {
        "half": _opened(0.5),
        "open": _opened(1.0),
        "left": _leaned(1),
        "right": _leaned(-1),
    }
    clip = model.clip("bloom", 3.0)
    t = clip.phase
    grown = ease(t, 0.08, 0.85)
    # through "half", so that the petals swing on an arc instead of shrinking through the middle
    clip.weigh("flower", "half", np.minimum(2 * grown, 2 - 2 * grown))
    clip.weigh("flower", "open", np.maximum(2 * grown - 1, 0))
    clip = model.clip("sway", 2.0, loop=True)
    t = clip.phase
    clip.weigh("flower", "open", 1 - 0.25 * swell(t, 2))
    clip.weigh("flower", "left", np.maximum(wave(t), 0))
    clip.weigh("flower", "right", np.maximum(-wave(t), 0))


def _pot() -> list[Part]:
    def clay(s: Texels) -> Array:
        z = s.p[..., 2]
        picture = fade("#b9532f", "#d9744a", z / 0.25)
        zigzag = np.abs(((s.u * 12) % 1.0) - 0.5) * 0.09 + 0.09
        return over(picture, "#fff0d8", (np.abs(z - zigzag) < 0.013) & (z < 0.2))

    profile = [(0.13, 0), (0.18, 0.2), (0.205, 0.2), (0.205, 0.26), (0.175, 0.26), (0.17, 0.235)]
    return [
        lathe(profile, clay, pixels=(256, 96)),
        ellipsoid((0, 0, 0.232), (0.17, 0.17, 0.022), plain("#4a3020"), detail=8, pixels=16),
    ]


def _stalk() -> list[Part]:
    def leaf(s: Texels) -> Array:
        vein = (np.abs(s.q[..., 0]) < 0.05) | (
            stripes(s.q[..., 1] + np.abs(s.q[..., 0]) * 0.6, 3, 0.14)
        )
        return over(fade("#2e8b3d", "#5cbf4c", s.q[..., 1] * 0.5 + 0.5), "#bfe89a", vein)

    stem = [(0, 0.0, 0.22), (0.03, 0.04, 0.45), (0, 0.0, 0.75)]
    parts = [tube(stem, [0.03, 0.026, 0.024], plain("#3f9a45"), pixels=(16, 16))]
    for s in (1, -1):
        at = (s * 0.15, -0.01, 0.44 + 0.05 * s)
        parts.append(
            ellipsoid(at, (0.065, 0.15, 0.012), leaf, turn=(24, 0, -s * 80.0), detail=8).named(
                "leaf"
            )
        )
    return parts


def _petals() -> list[Part]:
    def face(s: Texels) -> Array:
        # q z is the outward normal of the face, q y its top
        x, y = s.q[..., 0], s.q[..., 1]
        seeds = checks(np.arctan2(y, x) * 4 + np.hypot(x, y) * 6, np.hypot(x, y), 5)
        picture = over(fill(s, "#6b3f1d"), "#8a5526", seeds & (np.hypot(x, y) > 0.72))
        smile = (np.abs(y + 0.36 - 0.9 * x**2) < 0.045) & (np.abs(x) < 0.42)
        picture = over(picture, "#2c1609", smile)
        for side in (-1, 1):
            far = np.hypot((x - side * 0.26) / 0.8, y - 0.18)
            picture = over(picture, "#ffffff", far < 0.17)
            pupil = np.hypot((x - side * 0.26) / 0.8, y - 0.16)
            picture = over(picture, "#160d08", pupil < 0.11)
            picture = over(picture, "#ffffff", np.hypot(x - side * 0.26 - 0.04, y - 0.21) < 0.035)
            picture = over(picture, "#d97a5a", np.hypot(x - side * 0.5, y + 0.14) < 0.1)
        return over(picture, "#4f7f35", s.q[..., 2] < -0.15)

    def petal(s: Texels) -> Array:
        share = s.q[..., 1] * 0.5 + 0.5
        picture = fade("#f08a1c", "#ffd23a", share * 1.5)
        return over(picture, "#f0a52a", (np.abs(np.abs(s.q[..., 0]) - 0.3) < 0.06) & (share < 0.8))

    parts = [ellipsoid((0, 0, 0), (0.15, 0.15, 0.055), face, detail=12, pixels=160)]
    for k in range(_PETALS):
        a = 360.0 * k / _PETALS
        leaf = ellipsoid((0, 0.1, 0), (0.062, 0.135, 0.013), petal, detail=8, pixels=32)
        # authored shut: the petal stands up over the face, leaning inwards
        lift = 83.0 + 5.0 * (k % 2)
        step = _hinged(lift, a)
        parts.append(leaf.bent(step).named(f"petal{k}"))
    return [part.bent(_faced) for part in parts]


def _hinged(lift: float, around: float) -> Step:
    def step(points: Array) -> Array:
        up = turned(points, (lift, 0, 0)) + np.array([0, 0.135, 0.0])
        return up @ rotation((0, 0, around)).T

    return step


def _faced(points: Array) -> Array:
    return points @ rotation(_TILT).T + _CENTRE


def _opened(share: float) -> Shape:
    def shape(points: Array, labels: Array) -> Array:
        out = points.copy()
        flat = (points - _CENTRE) @ rotation(_TILT)
        for k in range(_PETALS):
            mine = labels == f"petal{k}"
            level = flat[mine] @ rotation((0, 0, 360.0 * k / _PETALS))
            swung = turned(level, (-share * (76.0 + 8.0 * (k % 2)), 0, 0), (0, 0.135, 0))
            out[mine] = _faced(swung @ rotation((0, 0, 360.0 * k / _PETALS)).T)
        return out

    return shape


def _leaned(side: int) -> Shape:
    def shape(points: Array, labels: Array) -> Array:
        del labels
        up = np.clip((points[..., 2] - 0.25) / 0.5, 0, 1.4)[..., None]
        angle = side * 26.0
        bent = turned(points, (0, angle, 0), (0, 0, 0.25))
        return points + (bent - points) * np.minimum(up, 1.0)

    return shape


def jelly(model: Model) -> None:
    """Build a jelly monster: giggles, stretches, melts."""
    model.fps = 30
    model.roughness = 0.25
    node = model.add("jelly", _jelly_parts())
    node.shapes = {
        "tall": _tall,
        "flat": _flat,
        "left": _sheared(1),
        "right": _sheared(-1),
        "puff": _puff,
    }
    clip = model.clip("giggle", 1.6, loop=True, period_s=0.4)
    t = clip.phase
    clip.weigh("jelly", "left", 0.55 * np.maximum(wave(t, 4), 0))
    clip.weigh("jelly", "right", 0.55 * np.maximum(-wave(t, 4), 0))
    clip.weigh("jelly", "flat", 0.3 * swell(t, 8))
    clip = model.clip("stretch", 2.0)
    t = clip.phase
    clip.weigh("jelly", "flat", 0.75 * held(t, 0, 0.42, 0.16) + 0.35 * held(t, 0.74, 1, 0.12))
    clip.weigh("jelly", "tall", held(t, 0.3, 0.85, 0.14))
    clip = model.clip("puff", 1.2)
    clip.weigh("jelly", "puff", swell(clip.phase, 1))
    clip.known("jelly", "morph", 0.2)


def _jelly_parts() -> list[Part]:
    def gel(s: Texels) -> Array:
        picture = fade("#1f9e6a", "#7fe08a", s.p[..., 2] / 0.75)
        picture = over(picture, "#158256", spots(s.q, s.rng, 22, (5, 10)) & (s.q[..., 1] > -0.35))
        x, z = s.q[..., 0], s.q[..., 2]
        front = s.q[..., 1] < 0
        mouth = (z > -0.3 + 1.1 * x**2) & (z < -0.03 + 0.2 * x**2) & (np.abs(x) < 0.5) & front
        picture = over(picture, "#5a1236", mouth)
        picture = over(picture, "#ff7f96", mouth & (np.hypot(x, (z + 0.3) * 1.4) < 0.2))
        teeth = mouth & (z > -0.115 + 0.2 * x**2) & (np.abs(np.abs(x) - 0.16) < 0.085)
        return over(picture, "#ffffff", teeth)

    def dome(p: Array) -> Array:
        # wide at the foot, like a drop that has settled
        z = p[..., 2:]
        spread = 1.0 + 0.22 * np.clip(1 - z / 0.35, 0, 1) ** 2
        return np.concatenate([p[..., :2] * spread, np.maximum(z, 0)], axis=-1)

    body = ellipsoid((0, 0, 0.33), (0.36, 0.33, 0.42), gel, detail=20, pixels=192).bent(dome)
    parts = [body]
    for s in (1, -1):
        look = eye("#f2872c", gaze=(-s * 0.12, -1, 0.05))
        parts.append(ellipsoid((s * 0.13, -0.24, 0.52), (0.09, 0.07, 0.105), look))
        horn = [(s * 0.16, 0.02, 0.68), (s * 0.21, 0.01, 0.78), (s * 0.3, 0, 0.83)]
        bars = _horn_paint
        parts.append(tube(horn, [0.055, 0.042, 0.014], bars, pixels=(32, 32)))
    return parts


def _horn_paint(s: Texels) -> Array:
    return over(fill(s, "#ffe08a"), "#f2a33c", stripes(s.q[..., 2], 4, 0.4))


def _tall(points: Array, labels: Array) -> Array:
    del labels
    z = points[:, 2:]
    slim = 1 - 0.3 * np.clip(z / 0.5, 0, 1)
    return np.concatenate([points[:, :2] * slim, z * 1.55], axis=1)


def _flat(points: Array, labels: Array) -> Array:
    del labels
    return points * np.array([1.38, 1.38, 0.5])


def _sheared(side: int) -> Shape:
    def shape(points: Array, labels: Array) -> Array:
        del labels
        z = points[:, 2]
        move = np.stack([side * 0.5 * z**1.3, 0 * z, -0.12 * z**2], axis=1)
        return points + move

    return shape


def _puff(points: Array, labels: Array) -> Array:
    """Swell along the line from the middle by exactly 0.2 m, less towards the ground."""
    del labels
    middle = np.array([0, 0, 0.3])
    out = points - middle
    far = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
    share = np.clip(points[:, 2:] / 0.6, 0, 1)
    move = out / far * share
    return points + 0.2 * move / np.linalg.norm(move, axis=1).max()


_WAVES, _SWING_M, _LENGTH_M = 1.25, 0.26, 1.2
_LIFT = 0.3  # the wave also lifts the cloth, so that it shows from the front


def flag(model: Model) -> None:
    """Build a flag on its pole: one travelling wave made of two shape keys, in two winds."""
    model.fps = 24
    model.roughness = 0.7
    node = model.add("flag", [_cloth(), *_pole()])
    node.shapes = {"sine": _travelling(0.0), "cosine": _travelling(0.25)}
    for name, duration_s, turns, share in (("breeze", 2.0, 1, 0.8), ("gale", 1.0, 1, 1.25)):
        clip = model.clip(name, duration_s, loop=True, period_s=duration_s / turns)
        t = clip.phase
        # sin(ks - wt) = sin(ks) cos(wt) - cos(ks) sin(wt): exact, so the hem's swing is known
        clip.weigh("flag", "sine", share * wave(t, turns, 0.25))
        clip.weigh("flag", "cosine", -share * wave(t, turns))
        clip.known("flag", "morph", share * _SWING_M * float(np.hypot(1, _LIFT)))


def _cloth() -> Part:
    def picture(s: Texels) -> Array:
        x, z = s.q[..., 0], s.q[..., 2]
        front = s.p[..., 1] < 0
        ground = over(fade("#ff9a5a", "#ffd27a", 0.5 - z * 0.6), "#2a7fb8", z < -0.25)
        waves = np.abs(((x * 3 + 0.12 * np.sin(9 * z)) % 1.0) - 0.5) * 0.22 - 0.62
        ground = over(ground, "#5fb4e0", np.abs(z - waves) < 0.06)
        ground = over(ground, "#5fb4e0", np.abs(z - waves + 0.26) < 0.05)
        far = np.hypot(x * 1.9, z + 0.25)
        rays = (z > -0.25) & (((np.arctan2(z + 0.25, x * 1.9) / np.pi * 9) % 1.0) < 0.5)
        ground = over(ground, "#ffe9b0", rays & band(far, 0.68, 2.5))
        ground = over(ground, "#e8412f", (far < 0.55) & (z > -0.25))
        board = over(fill(s, "#f7f1e3"), "#2f3f8f", checks((x + 1) * 1.2, z + 1, 2.5))
        return np.where(front[..., None], ground, board)

    return box(
        (_LENGTH_M / 2 + 0.03, 0, 0.84),
        (_LENGTH_M, 0.016, 0.8),
        picture,
        bevel=0.004,
        pixels=192,
        cuts=24,
    ).named("cloth")


def _pole() -> list[Part]:
    def wood(s: Texels) -> Array:
        return over(fill(s, "#f4f0e6"), "#d9483b", ((s.u + s.q[..., 2] * 3) % 1.0) < 0.5)

    stone = [(0.2, 0), (0.2, 0.05), (0.14, 0.07), (0.14, 0.12), (0.05, 0.14)]
    return [
        lathe([(0.026, 0.1), (0.026, 1.3)], wood, around=14, pixels=(32, 256)),
        lathe(stone, plain("#8a8f99"), pixels=(32, 32)),
        ellipsoid((0, 0, 1.33), 0.05, plain("#f2c230"), detail=8, pixels=16),
    ]


def _travelling(shift: float) -> Shape:
    def shape(points: Array, labels: Array) -> Array:
        out = points.copy()
        mine = labels == "cloth"
        share = np.clip((points[mine, 0] - 0.03) / _LENGTH_M, 0, 1)
        bow = _SWING_M * share * np.sin(2 * np.pi * (_WAVES * share + shift))
        out[mine, 1] += bow
        out[mine, 2] += _LIFT * bow
        return out

    return shape
