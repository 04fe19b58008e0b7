"""Other paths, other light and travelling objects, through the whole build and its sandbox."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import ledger
from curate.build import Options, build
from curate.config import BuildConfig
from shards.errors import RunError
from tests.render.make_gltf import Gltf
from tests.render.test_light_modes import write_hdr

pytestmark = pytest.mark.blender
SEQUENCES = {
    "width": 16,
    "height": 16,
    "frames": 3,
    "names": ["orbit", "static", "grid", "four_view", "spiral", "list"],
    "grid": {"views": 2, "times": 2},
    "cameras": [{"azimuth_deg": 30, "time": 0.9}],
    "camera": {"azimuth_range_deg": [-90, 90], "elevation_range_deg": [0, 30]},
}


def settings(**lights: object) -> BuildConfig:
    render = {"sequences": SEQUENCES, "lights": lights, "engine": {"samples": 1}}
    return BuildConfig.build({"render": render})


def travelling_cube(folder: Path, sizes: float) -> Path:
    folder.mkdir()
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    gltf.animate("go", {node: ([0.0, 1.0], [(0, 0, 0), (sizes, 0, 0)])})
    return gltf.save(folder / "cube.gltf")


def document(run: Path) -> dict[str, Any]:
    """Return the only sample's document, read as any program would."""
    (shard,) = (run / "shards").glob("*.tar")
    with tarfile.open(shard) as archive:
        (name,) = (name for name in archive.getnames() if name.endswith(".json"))
        stream = archive.extractfile(name)
        assert stream is not None
        return json.loads(stream.read())


def test_every_path_is_built_under_a_light_file_from_elsewhere(tmp_path: Path) -> None:
    model = travelling_cube(tmp_path / "models", 0.5)
    (tmp_path / "skies").mkdir()
    sky = write_hdr(tmp_path / "skies" / "noon.hdr", np.full((8, 16, 3), 0.5))
    config = settings(mode="hdri", sky={"file": str(sky)})
    run = tmp_path / "run"
    build([model], run, config, Options())
    (row,) = ledger.load(run)
    assert (row["verdict"], row["error"]) == ("kept", "")
    assert row["root_motion"] == "keep"
    sample = document(run)
    assert str(tmp_path) not in json.dumps(sample)
    assert sample["lights"][0]["file"] == "noon.hdr"
    counts = {name: about["frames"] for name, about in sample["sequences"].items()}
    assert counts == {"orbit": 3, "static": 3, "grid": 4, "four_view": 12, "spiral": 3, "list": 1}
    orbit, static = (sample["sequences"][name] for name in ("orbit", "static"))
    assert orbit["azimuth_deg"] == static["azimuth_deg"]
    assert orbit["azimuth_deg"][0] != 0  # drawn, and written down
    assert 0 < orbit["elevation_deg"][0] < 30
    assert sample["sequences"]["list"]["times_s"] == [pytest.approx(0.9)]
    write_hdr(sky, np.full((8, 16, 3), 0.6))
    with pytest.raises(RunError, match="light_file"):
        build([model], run, config, Options())


def test_what_travels_is_followed_and_the_ledger_says_so(tmp_path: Path) -> None:
    model = travelling_cube(tmp_path / "models", 4.5)  # of which 3 lie before the last sample time
    build([model], tmp_path / "run", settings(mode="studio"), Options())
    (row,) = ledger.load(tmp_path / "run")
    assert (row["verdict"], row["root_motion"]) == ("kept", "follow")
    world = document(tmp_path / "run")["world"]
    assert world["root_motion"] == "follow"
    path = np.array(world["drift"]) / world["scale"]
    np.testing.assert_allclose(path[:, 0], 4.5 * np.array(world["drift_times_s"]), atol=1e-6)
    np.testing.assert_allclose(path[:, 1:], 0.0, atol=1e-6)
