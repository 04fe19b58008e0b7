"""Import sample assets into Blender and measure every clip; started as a process of its own.

``python -m tests.render.probe_samples FOLDER NAME...`` prints one JSON object: per asset the
motion of its clips, its lowest point, its textures.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import bpy as blender
import mathutils  # pyright: ignore[reportMissingImports]
import numpy as np

bpy: Any = blender  # Blender comes without type stubs
T, WINDOW_S = 24, 2.0


def main() -> None:
    folder = Path(sys.argv[1])
    print("PROBE " + json.dumps({name: probe(folder / f"{name}.glb") for name in sys.argv[2:]}))


def probe(path: Path) -> dict[str, Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(path), disable_bone_shape=True)
    rest = rest_poses(path)
    set_clip(rest, "")
    standing = vertices()
    images = [i for i in bpy.data.images if i.type == "IMAGE"]
    return {
        "lowest": float(standing[:, 2].min()),
        "vertices": len(standing),
        "textures": [[i.size[0], i.size[1], bool(i.packed_file)] for i in images],
        "clips": {name: measure(rest, name) for name in clip_names()},
    }


def rest_poses(path: Path) -> dict[str, Any]:
    """Read the nodes' own poses from the file: an import leaves objects posed by some clip."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    poses = {}
    for node in json.loads(content[20 : 20 + length])["nodes"]:
        x, y, z = node.get("translation", (0, 0, 0))
        qx, qy, qz, qw = node.get("rotation", (0, 0, 0, 1))
        sx, sy, sz = node.get("scale", (1, 1, 1))
        turn = mathutils.Quaternion((qw, qx, -qz, qy))  # y up to z up
        poses[node["name"]] = mathutils.Matrix.LocRotScale((x, -z, y), turn, (sx, sz, sy))
    return poses


def owners() -> list[Any]:
    found = []
    for thing in bpy.data.objects:
        keys = getattr(thing.data, "shape_keys", None)
        found += [owner for owner in (thing, keys) if owner and owner.animation_data]
    return found


def clip_names() -> list[str]:
    return sorted({track.name for owner in owners() for track in owner.animation_data.nla_tracks})


def set_clip(rest: dict[str, Any], name: str) -> tuple[float, list[str]]:
    """Put everything to rest, then play one clip; gives its length in frames and what it drives."""
    for thing in bpy.data.objects:
        thing.matrix_basis = rest.get(thing.name, thing.matrix_basis)
        for bone in thing.pose.bones if thing.pose else ():
            bone.matrix_basis.identity()
        keys = getattr(thing.data, "shape_keys", None)
        for block in keys.key_blocks[1:] if keys else ():
            block.value = 0.0
    length, driven = 0.0, []
    for owner in owners():
        data = owner.animation_data
        data.action = None
        for track in data.nla_tracks:
            track.mute = True
            if track.name == name:
                strip = track.strips[0]
                data.action, data.action_slot = strip.action, strip.action_slot
                length = max(length, strip.action.frame_range[1])
                driven.append(owner.name)
    bpy.context.view_layer.update()
    return length, sorted(driven)


def vertices() -> np.ndarray:
    graph = bpy.context.evaluated_depsgraph_get()
    found = []
    for thing in bpy.data.objects:
        if thing.type != "MESH":
            continue
        evaluated = thing.evaluated_get(graph)
        mesh = evaluated.to_mesh()
        points = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", points)
        matrix = np.array(evaluated.matrix_world)
        found.append(points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
        evaluated.to_mesh_clear()
    return np.concatenate(found)


def measure(rest: dict[str, Any], name: str) -> dict[str, Any]:
    length, driven = set_clip(rest, name)
    window = WINDOW_S * bpy.context.scene.render.fps
    starts = np.linspace(0, max(length - window, 0), 9 if length > window + 0.01 else 1)
    tries = [score(np.linspace(start, start + min(length, window), T)) for start in starts]
    best = max(tries, key=lambda found: found["motion"])
    return {**best, "driven": driven}


def score(frames: np.ndarray) -> dict[str, float]:
    poses = []
    for frame in frames:
        whole = int(np.floor(frame))
        bpy.context.scene.frame_set(whole, subframe=float(frame - whole))
        poses.append(vertices())
    points = np.array(poses, float)
    size = np.ptp(points[0], axis=0).max()
    middle = points.mean(axis=1)
    still = points - middle[:, None]
    moved = np.linalg.norm(still - still[0], axis=2).mean(axis=1) / size
    steps = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
    centre = (points[0].min(axis=0) + points[0].max(axis=0)) / 2
    radius = np.linalg.norm(points[0] - centre, axis=1).max()
    return {
        "motion": float(moved.max()),
        "motion_mean": float(moved.mean()),
        "travel": float(np.linalg.norm(middle - middle[0], axis=1).max() / size),
        "step_share": float(steps.max() / steps.sum()) if steps.sum() > 1e-9 else 0.0,
        "reach": float(np.linalg.norm(points - centre, axis=2).max() / radius),
    }


if __name__ == "__main__":
    main()
