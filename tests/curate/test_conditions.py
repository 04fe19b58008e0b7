"""What a trained model is conditioned on, rendered from an asset."""

import json
from pathlib import Path

import numpy as np
import pytest

from curate.conditions import OrbitCameras, render_conditions
from shards.errors import RunError

pytestmark = pytest.mark.blender
CAMERAS = OrbitCameras(frames=4, size_px=32, fov_deg=39.6, elevation_deg=0.0, distance=2.0)


def still_triangle(path: Path) -> Path:
    """Write a glTF of one red triangle that nothing moves: x right, y up, facing the front."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32)
    path.with_suffix(".bin").write_bytes(corners.tobytes())
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "buffers": [{"uri": path.with_suffix(".bin").name, "byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [-1, -1, 0],
                "max": [1, 1, 0],
            }
        ],
    }
    path.write_text(json.dumps(document))
    return path


def test_a_still_asset_is_seen_from_all_sides(tmp_path: Path) -> None:
    frames, c2w = render_conditions(still_triangle(tmp_path / "triangle.gltf"), 0, CAMERAS)
    assert frames.shape == (4, 32, 32, 4)
    covered = (frames[..., 3] > 127).mean(axis=(1, 2))
    assert covered[0] == pytest.approx(covered[2], abs=0.02)
    assert covered[0] > 0.1
    assert covered[1] < 0.05  # from the side it is a line
    assert covered[3] < 0.05
    np.testing.assert_allclose(np.linalg.norm(c2w[:, :3, 3], axis=1), 2.0, rtol=1e-6)
    np.testing.assert_allclose(c2w[0, :3, 3], [0, -2, 0], atol=1e-6)  # the front stands at -y


def test_an_animated_asset_is_its_builds_static(samples_dir: Path) -> None:
    asset = sorted(samples_dir.glob("*.glb"))[0]
    one, _ = render_conditions(asset, 0, CAMERAS)
    again, _ = render_conditions(asset, 0, CAMERAS)
    assert np.array_equal(one, again)
    assert (one[..., 3] > 127).mean() > 0.02
    with pytest.raises(RunError, match=r"has clips 0 to \d+, not 99"):
        render_conditions(asset, 99, CAMERAS)


def test_what_the_gate_refuses_is_not_rendered(tmp_path: Path) -> None:
    (tmp_path / "fox.glb").write_bytes(b"no glTF at all")
    with pytest.raises(RunError, match=r"fox\.glb: refused"):
        render_conditions(tmp_path / "fox.glb", 0, CAMERAS)
