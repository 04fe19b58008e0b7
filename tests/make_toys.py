"""Make animated GLB files from nothing, each motion at many amplitudes: ``DIR --assets 40``.

A toy is a plate with a body, a pack on its back and two limbs of drawn shapes, places and colours.
The limbs' hue says which way they move, so that an image tells what will happen, and every clip
moves them another distance: only m tells how far. Some movements go to either side, which nothing
tells, and the front does not show the pack. Drawings and distances depend on (seed, number of the
asset, number of the clip) alone.
"""

import argparse
import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from shards.seeding import rng_for
from tests.curate.gltf_builder import Tiny

KEYS = 25  # per clip
CLIP_S = 1.0
_AROUND = 12  # sides of what is round
_LEVELS = (0.25, 1.0)  # least and largest share of a movement's full distance
_PLATE = 1.1  # metres; the longest side of most toys at all times, so they are seen alike

Points = Float64[np.ndarray, "n 3"]
Triangles = Int64[np.ndarray, "m 3"]
Shape = Callable[[], tuple[Points, Triangles]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A movement of the limbs.

    ``path`` is glTF's; ``axis`` in glTF's axes (y up, z to the front camera); ``full`` in metres,
    degrees, or what is added to the size; ``mirrored``: the second limb goes the other way;
    ``signed``: clips go to either side.
    """

    path: str
    axis: tuple[float, float, float]
    full: float
    mirrored: bool = False
    signed: bool = False


KINDS = (
    Kind("translation", (0, 1, 0), 0.4),  # lift
    Kind("translation", (1, 0, 0), 0.2, mirrored=True),  # spread
    Kind("rotation", (0, 1, 0), 80, signed=True),  # turn about the body
    Kind("rotation", (0, 0, 1), 75, mirrored=True),  # flap
    Kind("scale", (1, 1, 1), 0.7),  # grow
    Kind("translation", (0, 0, 1), 0.3, signed=True),  # slide
)


def write_toys(folder: Path, assets: int, clips: int, seed: int = 0) -> list[Path]:
    """Write ``toyNNN.glb`` files of ``clips`` animations each."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / f"toy{i:03d}.glb", i, clips, seed) for i in range(assets)]


def _write(path: Path, number: int, clips: int, seed: int) -> Path:
    rng = rng_for(seed, "toy", number)
    made, kind = Tiny(), KINDS[number % len(KINDS)]
    hue = (number % len(KINDS) + rng.uniform(-0.2, 0.2)) / len(KINDS)
    limb = colorsys.hsv_to_rgb(hue, rng.uniform(0.75, 1), rng.uniform(0.7, 1))
    body = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.9))
    shapes = [SHAPES[i] for i in rng.integers(len(SHAPES), size=2)]
    pack = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.5, 1), rng.uniform(0.2, 0.9))
    tall, wide = rng.uniform(0.45, 0.7), rng.uniform(0.2, 0.3)
    at = np.array([wide / 2 + rng.uniform(0.1, 0.14), tall * rng.uniform(0.4, 0.8), 0])
    size = rng.uniform(0.2, 0.36, 3)
    parts = [
        ("plate", cylinder, (_PLATE, 0.04, _PLATE), (0, -0.02, 0), (0.55, 0.5, 0.45)),
        ("body", shapes[0], (wide, tall, wide), (0, tall / 2, 0), body),
        ("left", shapes[1], size, -at * [1, -1, 1], limb),
        ("right", shapes[1], size, at, limb),
        ("pack", box, (wide, tall / 2, 0.12), (0, tall / 2, -wide / 2 - 0.06), pack),
    ]
    made.doc |= {"scene": 0, "nodes": [], "meshes": [], "materials": []}
    for name, shape, extent, place, colour in parts:
        _add(made, name, shape, np.array(extent), np.array(place), colour)
    # limbs hang on joints at the body's axis, about which they turn
    height = [0.0, float(at[1]), 0.0]
    made.doc["nodes"] += [
        {"name": f"{n} joint", "children": [c], "translation": height}
        for n, c in (("left", 2), ("right", 3))
    ]
    for limb_node in (2, 3):
        made.doc["nodes"][limb_node]["translation"][1] -= height[1]
    made.doc["scenes"] = [{"nodes": [0, 1, 4, 5, 6]}]
    made.doc["animations"] = [
        _clip(made, kind, level, index, rng_for(seed, "toy", number, index), height)
        for index, level in enumerate(np.linspace(*_LEVELS, clips))
    ]
    return made.glb(path)


def _add(
    made: Tiny, name: str, shape: Shape, extent: np.ndarray, place: np.ndarray, colour: object
) -> None:
    points, triangles = shape()
    corners = (points * extent)[triangles]  # (m, 3, 3): flat faces share no vertices
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    flat = corners.reshape(-1, 3)
    bounds = {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
    attributes = {
        "POSITION": made.accessor(flat, **bounds),
        "NORMAL": made.accessor(np.repeat(normal, 3, axis=0)),
    }
    pbr = {"baseColorFactor": [*colour, 1], "metallicFactor": 0, "roughnessFactor": 0.8}  # pyright: ignore
    number = len(made.doc["meshes"])
    made.doc["materials"].append({"pbrMetallicRoughness": pbr})
    primitive = {"attributes": attributes, "material": number}
    made.doc["meshes"].append({"primitives": [primitive]})
    made.doc["nodes"].append({"name": name, "mesh": number, "translation": place.tolist()})


def _clip(
    made: Tiny, kind: Kind, level: float, index: int, rng: np.random.Generator, height: list[float]
) -> dict[str, object]:
    share = np.clip(level + rng.uniform(-0.05, 0.05), 0, 1)
    sign = rng.choice((-1.0, 1.0)) if kind.signed else 1.0
    moments = np.linspace(0, 1, KEYS)
    far = kind.full * share * sign * (1 - np.cos(2 * np.pi * moments)) / 2  # there and back
    times = made.accessor(moments * CLIP_S, min=[0.0], max=[CLIP_S])
    samplers, channels = [], []
    for node, side in ((5, -1.0 if kind.mirrored else 1.0), (6, 1.0)):
        values = _values(kind, far * side if kind.path != "scale" else far, height)
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": kind.path}})
        samplers.append({"input": times, "output": made.accessor(values)})
    return {"name": f"swing {index}", "samplers": samplers, "channels": channels}


def _values(kind: Kind, far: np.ndarray, height: list[float]) -> np.ndarray:
    axis = np.array(kind.axis, dtype=np.float64)
    if kind.path == "translation":
        return height + far[:, None] * axis
    if kind.path == "scale":
        return 1 + far[:, None] * axis
    half = np.radians(far)[:, None] / 2
    return np.concatenate([np.sin(half) * axis, np.cos(half)], axis=1)


def box() -> tuple[Points, Triangles]:
    """Give a unit cube."""
    return _prism(4, 1.0, turn=math.pi / 4, radius=math.sqrt(0.5))


def cylinder() -> tuple[Points, Triangles]:
    """Give a cylinder of diameter and height 1."""
    return _prism(_AROUND, 1.0)


def cone() -> tuple[Points, Triangles]:
    """Give a cone of diameter and height 1."""
    return _prism(_AROUND, 0.02)


def ball() -> tuple[Points, Triangles]:
    """Give a sphere of diameter 1: the octahedron's faces cut in 16 and blown up."""
    points, triangles = [], []
    for x in (-1, 1):
        for y in (-1, 1):
            for z in (-1, 1):
                corner = np.diag([x, y, z]).astype(np.float64)
                order = [0, 1, 2] if x * y * z > 0 else [0, 2, 1]
                faces = [corner[order]]
                for _ in range(2):
                    faces = [small for face in faces for small in _quartered(face)]
                for face in faces:
                    triangles.append(np.arange(3) + 3 * len(triangles))
                    points.append(face / np.linalg.norm(face, axis=1, keepdims=True) / 2)
    return np.concatenate(points), np.array(triangles)


def _quartered(face: np.ndarray) -> list[np.ndarray]:
    a, b, c = face
    d, e, f = (a + b) / 2, (b + c) / 2, (c + a) / 2
    return [np.stack(t) for t in ((a, d, f), (d, b, e), (f, e, c), (d, e, f))]


def _prism(
    sides: int, top: float, turn: float = 0.0, radius: float = 0.5
) -> tuple[Points, Triangles]:
    angle = turn + 2 * math.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.zeros(sides), -np.sin(angle)], axis=1) * radius
    up = np.array([0, 0.5, 0])
    points = np.concatenate([ring - up, ring * [top, 1, top] + up, [-up], [up]])
    here = np.arange(sides)
    after = (here + 1) % sides
    low, high = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    rows = [
        (here, after, after + sides),
        (here, after + sides, here + sides),
        (low, after, here),
        (high, here + sides, after + sides),
    ]
    return points, np.concatenate([np.stack(row, axis=1) for row in rows])


SHAPES = (box, cylinder, cone, ball)


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description="Write animated toys as GLB files.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--assets", type=int, default=40)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for path in write_toys(given.out, given.assets, given.clips, given.seed):
        print(path)


if __name__ == "__main__":
    main()
