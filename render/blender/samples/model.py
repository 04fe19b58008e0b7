"""A model under construction: named objects made of parts, bones, shape keys and clips.

Nothing here touches Blender: ``blend.py`` turns a finished model into Blender data. Every node
(object or bone) has one name, and a clip moves nodes by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from render.blender.samples.surface import Array, Part, Point

Verdict = Literal["kept", "rejected"]


@dataclass
class Bone:
    """A joint at ``head``; the line to ``tail`` only says which vertices are near. Metres."""

    name: str
    head: Point
    tail: Point
    parent: str = ""


@dataclass
class Node:
    """An object: a mesh when it has parts, an empty when it has none.

    ``at`` in metres and ``turn`` in degrees are relative to the parent.
    """

    name: str
    parts: list[Part] = field(default_factory=list)
    parent: str = ""
    at: Point = (0.0, 0.0, 0.0)
    turn: Point = (0.0, 0.0, 0.0)
    scale: float = 1.0
    skinned: bool = False
    shapes: dict[str, Callable[[Array, Array], Array]] = field(default_factory=dict)


@dataclass
class Amplitude:
    """How far a clip moves something, known from its making.

    Kinds: ``rotation`` (largest angle of the node from its first pose, deg), ``turns`` (angle
    summed over the clip, deg), ``translation`` (largest distance of the node from its first place,
    in the units of its parent, m), ``scale`` (largest ratio to the first scale), ``morph``
    (largest displacement of a vertex by the node's shape keys, m), ``none``.
    """

    node: str = ""
    kind: Literal["rotation", "turns", "translation", "scale", "morph", "none"] = "none"
    value: float = 0.0

    @property
    def unit(self) -> str:
        """Name the unit of the value."""
        return {"rotation": "deg", "turns": "deg", "scale": "ratio"}.get(self.kind, "m")


@dataclass
class Track:
    """Keys of one property of one node, as changes to its rest pose."""

    node: str
    kind: Literal["turn", "move", "grow", "weight"]
    values: Array  # (n, 3) degrees, metres or factors; (n,) for a shape key's weight
    key: str = ""


@dataclass
class Clip:
    """One animation: evenly spaced keys over ``duration_s``, for as many nodes as it moves."""

    name: str
    duration_s: float
    keys: int
    loop: bool = False
    period_s: float | None = None
    verdict: Verdict = "kept"
    rule: str = ""
    stepped: bool = False  # hold each key to the next one instead of blending
    amplitude: Amplitude = field(default_factory=Amplitude)
    tracks: list[Track] = field(default_factory=list)

    @property
    def phase(self) -> Array:
        """Time of each key as a share of the clip, 0..1."""
        return np.linspace(0.0, 1.0, self.keys)

    def turn(
        self, node: str, x: Array | float = 0.0, y: Array | float = 0.0, z: Array | float = 0.0
    ) -> "Clip":
        """Rotate a node about x, then y, then z of its rest pose; degrees over the keys."""
        return self._add(node, "turn", (x, y, z))

    def move(
        self, node: str, x: Array | float = 0.0, y: Array | float = 0.0, z: Array | float = 0.0
    ) -> "Clip":
        """Displace a node from its rest place, metres over the keys."""
        return self._add(node, "move", (x, y, z))

    def grow(
        self, node: str, x: Array | float = 1.0, y: Array | float = 1.0, z: Array | float = 1.0
    ) -> "Clip":
        """Scale a node against its rest size, factors over the keys."""
        return self._add(node, "grow", (x, y, z))

    def weigh(self, node: str, key: str, values: Array) -> "Clip":
        """Set the weight of a shape key over the keys."""
        self.tracks.append(Track(node, "weight", np.broadcast_to(values, (self.keys,)), key))
        return self

    def known(
        self,
        node: str,
        kind: Literal["rotation", "turns", "translation", "scale", "morph"],
        value: float,
    ) -> "Clip":
        """State the amplitude that the clip was made with."""
        self.amplitude = Amplitude(node, kind, value)
        return self

    def rejected(self, rule: str) -> "Clip":
        """Say that curation must drop this clip, and by which rule."""
        self.verdict, self.rule = "rejected", rule
        return self

    def _add(
        self,
        node: str,
        kind: Literal["turn", "move", "grow"],
        axes: tuple[Array | float, Array | float, Array | float],
    ) -> "Clip":
        columns = [np.broadcast_to(np.asarray(a, float), (self.keys,)) for a in axes]
        self.tracks.append(Track(node, kind, np.stack(columns, axis=-1)))
        return self


@dataclass
class Model:
    """Everything an asset consists of."""

    name: str
    rng: np.random.Generator
    fps: int = 30
    roughness: float = 0.55
    nodes: list[Node] = field(default_factory=list)
    bones: list[Bone] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    note: str = ""

    def add(  # noqa: PLR0913 - an object is its parts and its place; every argument but two has a default
        self,
        name: str,
        parts: Sequence[Part] = (),
        *,
        parent: str = "",
        at: Point = (0.0, 0.0, 0.0),
        turn: Point = (0.0, 0.0, 0.0),
        scale: float = 1.0,
        skinned: bool = False,
    ) -> Node:
        """Add an object."""
        node = Node(name, list(parts), parent, at, turn, scale, skinned)
        self.nodes.append(node)
        return node

    def bone(self, name: str, head: Point, tail: Point, parent: str = "") -> None:
        """Add a joint to the model's one skeleton."""
        self.bones.append(Bone(name, head, tail, parent))

    def chain(self, name: str, points: Sequence[Point], parent: str) -> list[str]:
        """Add a row of joints ``name.1``, ``name.2``... through points; gives their names."""
        names = []
        for k, (head, tail) in enumerate(pairwise(points), 1):
            names.append(f"{name}.{k}")
            self.bone(names[-1], head, tail, parent if k == 1 else names[-2])
        return names

    def clip(
        self, name: str, duration_s: float, *, loop: bool = False, period_s: float | None = None
    ) -> Clip:
        """Add a clip with one key per frame of the model's rate."""
        keys = max(2, round(duration_s * self.fps) + 1)
        clip = Clip(name, (keys - 1) / self.fps, keys, loop, period_s)
        if loop and period_s is None:
            clip.period_s = clip.duration_s
        self.clips.append(clip)
        return clip
