"""A checked glTF, ready to be evaluated."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from curate.gltf_accessors import Accessors
from curate.gltf_file import Document, Row, rows
from curate.gltf_meshes import Meshes
from curate.gltf_scene import Nodes


class HandOver(Exception):
    """The file is sound, but holds something that only Blender is asked about; says what."""


@dataclass(frozen=True)
class GltfParts:
    """What the inspection read, so that evaluation need not read it again."""

    doc: Document
    accessors: Accessors
    meshes: Meshes
    nodes: Nodes

    @cached_property
    def clips(self) -> list["Channels"]:
        """What each animation moves, in file order."""
        return [_channels(row) for row in rows(self.doc.json, "animations")]

    @cached_property
    def moved_nodes(self) -> frozenset[int]:
        """Nodes that any channel of any clip aims at."""
        nodes = [np.zeros(0, np.int64), *(clip.node for clip in self.clips)]
        return frozenset(np.unique(np.concatenate(nodes)).tolist())


PATHS = ("translation", "rotation", "scale", "weights")
INTERPOLATIONS = ("LINEAR", "STEP", "CUBICSPLINE")
_DIGITS = 9  # of a node's number
_PATH = {path: number for number, path in enumerate(PATHS)}
_INTERPOLATION = {name: number for number, name in enumerate(INTERPOLATIONS)}


class Channels(NamedTuple):
    """Animated properties of nodes as columns, int64 (c,), in file order.

    Attributes:
        node: that is moved, or whose mesh's morph targets are.
        path, interpolation: numbers in ``PATHS`` and ``INTERPOLATIONS``.
        input, output: accessors of times and values.
    """

    node: np.ndarray
    path: np.ndarray
    input: np.ndarray
    output: np.ndarray
    interpolation: np.ndarray

    def of(self, some: np.ndarray) -> "Channels":
        """Pick some of them."""
        return Channels(*(column[some] for column in self))


def _channels(animation: Row) -> Channels:
    channels = animation.get("channels") or []
    targets = [row.get("target") or {} for row in channels]
    aims = [(target.get("node"), target.get("path")) for target in targets]
    if (None, "pointer") in aims:
        aims = [
            _pointed(target) if aim == (None, "pointer") else aim
            for target, aim in zip(targets, aims, strict=True)
        ]
    used = [i for i, (node, path) in enumerate(aims) if node is not None and path in _PATH]
    sampler = np.array([channels[i]["sampler"] for i in used], np.int64)
    samplers = [
        (
            row["input"], row["output"],
            _INTERPOLATION[row.get("interpolation") or "LINEAR"],
        )
        for row in animation.get("samplers") or []
    ]  # fmt: skip
    columns = np.array(samplers, np.int64).reshape(-1, 3)[sampler]
    node = np.array([aims[i][0] for i in used], np.int64)
    path = np.array([_PATH[str(aims[i][1])] for i in used], np.int64)
    return Channels(node, path, columns[:, 0], columns[:, 1], columns[:, 2])


def _pointed(target: Row) -> tuple[int | None, str]:
    """Read KHR_animation_pointer's address; no node for what moves no vertex."""
    extension = (target.get("extensions") or {}).get("KHR_animation_pointer")
    pointer = extension.get("pointer") if isinstance(extension, dict) else None
    nowhere = None, "pointer"
    if not isinstance(pointer, str):
        return nowhere
    steps = pointer.split("/")
    if len(steps) < 4 or steps[1] not in ("nodes", "meshes") or steps[3] not in _PATH:
        return nowhere
    number = steps[2]
    if steps[1] == "meshes" or len(steps) > 4 or not number.isdecimal() or len(number) > _DIGITS:
        raise HandOver(f"an animation points at {pointer[:80]}")
    return int(number), steps[3]
