"""A checked glTF, ready to be evaluated."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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
    def clips(self) -> list[list["Channel"]]:
        """Channels of each animation that move a node or its morph weights, in file order."""
        return [_channels(row) for row in rows(self.doc.json, "animations")]

    @cached_property
    def moved_nodes(self) -> frozenset[int]:
        """Nodes that any channel of any clip aims at."""
        return frozenset(channel.node for clip in self.clips for channel in clip)


class Channel(NamedTuple):
    """One animated property: ``translation``, ``rotation``, ``scale`` or ``weights`` of a node."""

    node: int
    path: str
    input: int
    output: int
    interpolation: str


_PATHS = ("translation", "rotation", "scale", "weights")


def _channels(animation: Row) -> list[Channel]:
    samplers = animation.get("samplers") or []
    found = []
    for row in animation.get("channels") or []:
        target = row.get("target") or {}
        node, path = target.get("node"), target.get("path")
        if node is None:
            if path != "pointer":
                continue
            pointed = _pointed(target)
            if pointed is None:
                continue
            node, path = pointed
        if path not in _PATHS:
            continue
        sampler = samplers[row["sampler"]]
        interpolation = sampler.get("interpolation") or "LINEAR"
        found.append(Channel(node, path, sampler["input"], sampler["output"], interpolation))
    return found


def _pointed(target: Row) -> tuple[int, str] | None:
    """Read KHR_animation_pointer's address; None for what moves no vertex."""
    extension = (target.get("extensions") or {}).get("KHR_animation_pointer")
    pointer = extension.get("pointer") if isinstance(extension, dict) else None
    if not isinstance(pointer, str):
        return None
    steps = pointer.split("/")
    if len(steps) < 4 or steps[1] not in ("nodes", "meshes") or steps[3] not in _PATHS:
        return None
    if steps[1] == "meshes" or len(steps) > 4 or not steps[2].isdecimal():
        raise HandOver(f"an animation points at {pointer[:80]}")
    return int(steps[2]), steps[3]
