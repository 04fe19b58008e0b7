"""One asset in four formats: what numpy measures of glTF is what Blender measures of the others."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import ledger
from curate.build import Options, build
from curate.config import BuildConfig
from curate.detail import Detail
from curate.motion import Motion
from tests.curate.gltf_builder import Tiny

pytestmark = [pytest.mark.blender, pytest.mark.slow]
_FRAMES = np.arange(0, 25, 4) / 24  # exporters know whole frames only
_SCORES = [
    *(field.name for field in (*fields(Motion), *fields(Detail)) if field.name != "size"),
    *("vertices", "triangles", "duration_s", "window_start_s", "window_stop_s", "margin_px"),
    *("verdict", "rule"),
]  # fmt: skip
_EXPORT = """
import sys, bpy
source, out = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = 24
bpy.ops.import_scene.gltf(filepath=source, disable_bone_shape=True)
bpy.ops.wm.save_as_mainfile(filepath=out + "/worm.blend")
bpy.ops.export_scene.fbx(
    filepath=out + "/worm.fbx", bake_anim_use_nla_strips=False, bake_anim_simplify_factor=0.0,
    add_leaf_bones=False,
)
for owner in bpy.data.objects:
    if data := owner.animation_data:
        data.action = None
        for track in data.nla_tracks:
            track.mute = track.name != "bend"
            for strip in track.strips:
                strip.frame_start, strip.frame_end = 0, 24
bpy.context.scene.frame_start, bpy.context.scene.frame_end = 0, 24
bpy.ops.wm.usd_export(filepath=out + "/worm.usdc", export_animation=True)
"""


def worm(path: Path) -> Path:
    """Write a strip of triangles on four bones, which bends in one clip and crawls in another."""
    made, count = Tiny(), 40
    along = np.linspace(0, 3, count)
    sides = np.where(np.arange(count) % 2, 0.2, -0.2)
    points = np.stack([along, sides, 0.1 * np.sin(7 * along)], axis=1)
    joints = np.minimum(along.astype(int), 2)
    share = np.clip(along - joints, 0, 1)
    none = np.zeros(count)
    attributes = {
        "POSITION": made.accessor(points),
        "JOINTS_0": made.accessor(np.stack([joints, joints + 1, none, none], axis=1), "u1"),
        "WEIGHTS_0": made.accessor(np.stack([1 - share, share, none, none], axis=1)),
    }
    corners = np.stack([np.arange(count - 2) + i for i in range(3)], axis=1).reshape(-1)
    made.doc["meshes"] = [
        {"primitives": [{"attributes": attributes, "indices": made.accessor(corners, "u2")}]}
    ]
    binds = np.tile(np.eye(4), (4, 1, 1))
    binds[:, 0, 3] = -np.arange(4)
    inverse = made.accessor(binds.swapaxes(1, 2).reshape(4, 16))
    bones: list[dict[str, Any]] = [
        {"name": f"bone{i}", "translation": [float(i > 0), 0, 0], "children": [i + 1]}
        for i in range(4)
    ]
    del bones[3]["children"]
    made.doc |= {
        "skins": [{"joints": [0, 1, 2, 3], "inverseBindMatrices": inverse}],
        "nodes": [*bones, {"name": "rig", "children": [0, 5]},
                  {"name": "worm", "mesh": 0, "skin": 0}],
        "scene": 0, "scenes": [{"nodes": [4]}],
    }  # fmt: skip
    for name, nodes in (("bend", (1, 2, 3)), ("crawl", (0,))):
        angles = 0.6 * np.sin(2 * np.pi * _FRAMES)
        turns = np.stack([0 * angles, np.sin(angles / 2), 0 * angles, np.cos(angles / 2)], axis=1)
        times, turned = made.accessor(_FRAMES), made.accessor(turns)
        moved = made.accessor(np.stack([_FRAMES, 0 * angles, angles], axis=1))
        samplers = [{"input": times, "output": turned}, {"input": times, "output": moved}]
        # every clip keys every bone: exporters leave the others where another clip has put them
        rests = np.tile([0.0, 0, 0, 1], (len(_FRAMES), 1))
        samplers.append({"input": times, "output": made.accessor(rests)})
        channels = [
            {"sampler": 0 if n in nodes else 2, "target": {"node": n, "path": "rotation"}}
            for n in range(4)
        ]
        if nodes == (0,):
            channels.append({"sampler": 1, "target": {"node": 0, "path": "translation"}})
        made.doc.setdefault("animations", []).append(
            {"name": name, "samplers": samplers, "channels": channels}
        )
    return made.glb(path)


def test_a_clip_has_the_same_scores_in_every_format(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = worm(folder / "worm.glb")
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, source, folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    settings = ["curate.score_only=true", "curate.duplicates.reject=nothing"]
    build([folder], tmp_path / "run", BuildConfig.load(None, settings), Options())
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in ledger.load(tmp_path / "run"):
        name = row["clip_name"].rpartition("|")[2]
        found[row["format"], "bend" if row["format"] == "usdc" else name] = row  # a stage has one
    formats = [("blend", "bend"), ("blend", "crawl"), ("fbx", "bend"), ("fbx", "crawl")]
    assert set(found) == {*formats, ("usdc", "bend"), ("glb", "bend"), ("glb", "crawl")}
    for (kind, name), row in found.items():
        expected = found["glb", name]
        assert row["clip_sketch"]
        for score in _SCORES:
            if isinstance(expected[score], float):
                wanted = pytest.approx(expected[score], rel=2e-3, abs=2e-4)
                assert row[score] == wanted, (kind, name, score)
            elif "tracks" not in score:  # nothing counts them but in glTF
                assert row[score] == expected[score], (kind, name, score)
