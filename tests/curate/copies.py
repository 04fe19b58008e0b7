"""Files that are copies of one another in a known way, as glTF; judged without Blender."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.asset import done_file, process
from curate.clip import Job
from curate.config import BuildConfig
from curate.sources import find_sources
from render.runner import BlenderProcess
from render.session import BlenderSession
from tests.curate.gltf_builder import Tiny

_TIMES = [0.0, 0.25, 0.5, 0.75, 1.0]
# clip -> how the arm and the body go, in sizes
_MOVES: dict[str, tuple[Any, Any]] = {
    "wave": ([0, 0.3, 0.1, 0.4, 0], [0, 0, 0, 0, 0]),
    "wave_back": ([0, 0.4, 0.1, 0.3, 0], [0, 0, 0, 0, 0]),  # the same, played backwards
    "hop": ([0, 0, 0, 0, 0], [0, 0.5, 0, 0.5, 0]),
    "hop_left": ([0, 0, 0, 0, 0], [0, -0.5, 0, -0.5, 0]),
}


@dataclass(frozen=True, slots=True)
class Made:
    """How a file differs from the first one."""

    clips: tuple[str, ...] = ("wave", "hop")
    prefix: str = "Robot"
    backwards: bool = False  # nodes, triangles and vertices in another order
    scale: float = 1.0
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise: float = 0.0
    colour: tuple[float, float, float] = (1.0, 0.2, 0.1)
    shape: int = 0  # other numbers: other shapes of as many triangles
    mirror: bool = False


def make(path: Path, how: Made) -> Path:
    """Write one file."""
    made, draw = Tiny(), np.random.default_rng(7)
    meshes = [_blob(how, 0, 9, 6), _blob(how, 1, 6, 5)]
    order = [1, 0] if how.backwards else [0, 1]
    factor = {"baseColorFactor": [*how.colour, 1.0]}
    made.doc["materials"] = [{"name": how.prefix + "Skin", "pbrMetallicRoughness": factor}]
    made.doc["meshes"] = []
    for number in order:
        points, triangles = meshes[number]
        points = points + draw.normal(size=points.shape) * how.noise
        if how.backwards:
            mix = np.random.default_rng(3).permutation(len(points))
            triangles = np.argsort(mix)[triangles][::-1]
            points = points[mix]
        row = {
            "attributes": {"POSITION": made.accessor(points)},
            "indices": made.accessor(triangles.reshape(-1), "u2"),
            "material": 0,
        }
        made.doc["meshes"].append({"name": f"{how.prefix}{number}", "primitives": [row]})
    body, arm = order.index(0), order.index(1)
    nodes: list[dict[str, Any]] = [{}, {}, {"children": [0, 1]}]
    nodes[body] = {"name": f"{how.prefix}.Body", "mesh": body}
    nodes[arm] = {"name": f"{how.prefix}.Arm", "mesh": arm, "translation": [1.4, 0.6, 0.0]}
    nodes[2] |= {"name": f"{how.prefix}.Root", "scale": [how.scale] * 3, "translation": [*how.at]}
    made.doc |= {"scene": 0, "scenes": [{"nodes": [2]}], "nodes": nodes}
    for name in how.clips:
        of_arm, of_body = (np.array(values, float) for values in _MOVES[name])
        _clip(made, f"{how.prefix}|{name}", arm, body, of_arm, of_body)
    return made.glb(path)


def _clip(made: Tiny, name: str, arm: int, body: int, of_arm: Any, of_body: Any) -> None:
    times = made.accessor(_TIMES)
    zero = np.zeros(len(of_arm))
    rises = np.stack([1.4 + of_body, 0.6 + of_arm, zero], axis=1)
    goes = np.stack([of_body, zero, zero], axis=1)
    row: dict[str, Any] = {"name": name, "samplers": [], "channels": []}
    for node, values in ((arm, rises), (body, goes)):
        row["samplers"].append({"input": times, "output": made.accessor(values)})
        target = {"node": node, "path": "translation"}
        row["channels"].append({"sampler": len(row["samplers"]) - 1, "target": target})
    made.doc.setdefault("animations", []).append(row)


def _blob(how: Made, number: int, rings: int, sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a lumpy closed surface; its shape is drawn, its triangles are not."""
    draw = np.random.default_rng([how.shape, number])
    polar = np.linspace(0, np.pi, rings)[:, None]
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None]
    radius = draw.uniform(0.6, 1.2, (rings, sides))
    axes = [np.sin(polar) * np.cos(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.sin(turn)]
    points = np.stack(axes, axis=-1) * radius[..., None]
    if how.mirror:
        points = points * [1, 1, -1]
    place = np.arange(rings * sides).reshape(rings, sides)
    a, b = place[:-1], np.roll(place[:-1], -1, axis=1)
    c, d = place[1:], np.roll(place[1:], -1, axis=1)
    lower, upper = np.stack([a, c, b], axis=-1), np.stack([b, c, d], axis=-1)
    triangles = np.concatenate([lower.reshape(-1, 3), upper.reshape(-1, 3)])
    return points.reshape(-1, 3), triangles


def judged(folder: Path, *settings: str) -> dict[str, list[dict[str, Any]]]:
    """Measure every asset of a folder, each by itself; returns stem -> rows, in input order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for source, rows in _processed(folder, *settings):
        found[Path(source).stem] = rows
    return found


def _processed(folder: Path, *settings: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    config = BuildConfig.load(None, ["curate.score_only=true", *settings])
    with BlenderProcess(config.limits.worker, [folder]) as blender:
        session = BlenderSession(blender, config.limits)
        for source in find_sources([folder]):
            staging = folder / ".staging" / source.uid
            process(Job(source, config, {"orbit4d": "0"}, staging, {}), session)
            yield source.path, json.loads(done_file(staging).read_bytes())["rows"]
        assert not blender.is_running()
