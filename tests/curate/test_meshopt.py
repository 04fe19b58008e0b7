"""Assets compressed with meshopt: decoded as they were, refused by name, rendered alike."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import meshopt
import numpy as np
import pytest
from PIL import Image

from curate.asset import done_file, process
from curate.clip import Job
from curate.config import BuildConfig
from curate.decoders import MeshoptLayout, decode_meshopt
from curate.gltf_meshopt import EXTENSIONS
from curate.gltf_pose import GltfScene
from curate.inspect import InspectLimits, inspect_file
from curate.sources import find_sources
from render.runner import BlenderProcess
from render.session import BlenderSession
from tests.curate.agreement import compare
from tests.curate.gltf_builder import Tiny, refused, tiny
from tests.curate.gltf_zoo import ZOO
from tests.curate.meshopt_files import NAME, compress

_BEASTS = (
    "skin", "morphs_on_a_skin", "instances", "shapes_of_primitives", "quantised", "splines",
    "quantised_skin",
)  # fmt: skip


def beast(name: str) -> Tiny:
    made = Tiny()
    ZOO[name](made, np.random.default_rng(len(name)))
    return made


def poses(path: Path) -> list[np.ndarray]:
    inspection = inspect_file(path)
    assert inspection.parts is not None
    scene, times_s = GltfScene(inspection.parts), np.linspace(0.0, 1.7, 5)
    return [scene.points(clip.index, times_s, 1000).points for clip in inspection.clips or ()]


@pytest.mark.parametrize("name", _BEASTS)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_compressed_assets_move_as_plain_ones(tmp_path: Path, name: str, extension: str) -> None:
    made = beast(name)
    packed = poses(compress(made, extension).glb(tmp_path / "packed.glb"))
    for ours, theirs in zip(packed, poses(made.glb(tmp_path / "plain.glb")), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_streams_of_another_encoder_are_read() -> None:
    values = np.random.default_rng(0).integers(0, 5000, (300, 4)).astype("<u2")
    stream = bytes(imagecodecs.meshopt_encode(values))
    found = decode_meshopt(stream, MeshoptLayout(300, 8, "ATTRIBUTES", "NONE"))
    np.testing.assert_array_equal(found.view("<u2").reshape(300, 4), values)


def test_filtered_keys_are_turned_back(tmp_path: Path) -> None:
    """Rotations as three of their four numbers, translations with shared exponents."""
    made = tiny()
    turns = np.array([[0, 0, 0, 1], [0, 0.6, 0, 0.8], [0.5, 0.5, 0.5, 0.5]], "f4")
    rises = np.array([[0, 0, 0], [0.25, 3, 0.5], [1, 4, -8]], "f4")
    made.clip([0, 1, 2], turns, "rotation")
    plain = poses(made.glb(tmp_path / "plain.glb"))[1]
    output = made.doc["animations"][1]["samplers"][0]["output"]
    coded = meshopt.encode_filter_quat(turns, 8, 16)
    accessor = made.doc["accessors"][output]
    accessor |= {
        "bufferView": made.view(coded.tobytes()), "componentType": 5122, "normalized": True,
    }  # fmt: skip
    packed = compress(made, filters={output: "QUATERNION"})
    found = poses(packed.glb(tmp_path / "turns.glb"))
    np.testing.assert_allclose(found[1], plain, atol=1e-4)
    made = tiny()
    made.clip([0, 1, 2], rises)
    plain = poses(made.glb(tmp_path / "plain.glb"))[1]
    output = made.doc["animations"][1]["samplers"][0]["output"]
    coded = meshopt.encode_filter_exp(rises, 20)
    made.doc["accessors"][output]["bufferView"] = made.view(coded.tobytes())
    packed = compress(made, filters={output: "EXPONENTIAL"})
    found = poses(packed.glb(tmp_path / "rises.glb"))
    np.testing.assert_allclose(found[1], plain, atol=1e-4)


def _about(packed: Tiny, view: int = 0) -> dict[str, Any]:
    return packed.doc["bufferViews"][view]["extensions"][NAME]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"mode": "TRIANGLE"}, "bad_meshopt"),
        ({"mode": ["ATTRIBUTES"]}, "bad_meshopt"),
        ({"filter": "OCTAHEDRAL"}, "bad_meshopt"),  # takes 4 or 8 bytes, not 12
        ({"mode": "INDICES", "filter": "EXPONENTIAL"}, "bad_meshopt"),
        ({"byteStride": 3}, "bad_meshopt"),
        ({"byteStride": 1024}, "bad_meshopt"),
        ({"count": 0}, "bad_meshopt"),
        ({"count": 400}, "bad_meshopt"),  # more than the stream has
        ({"byteLength": 7}, "bad_meshopt"),
        ({"byteOffset": 1 << 30}, "bad_meshopt"),
        ({"buffer": 1}, "bad_meshopt"),  # streams do not lie in the placeholder
        ({"buffer": 2}, "bad_reference"),
        ({"count": 1 << 39}, "too_many_values"),
        ({"count": -1}, "bad_schema"),
        ({"count": 1}, "accessor_range"),
    ],
)
def test_what_cannot_be_decompressed_is_refused(
    tmp_path: Path, change: dict[str, Any], rule: str
) -> None:
    packed = compress(tiny())
    packed.doc["bufferViews"][0]["extensions"][NAME] |= change
    assert refused(packed.glb(tmp_path / "packed.glb")) == rule


def test_what_is_checked_is_what_was_decompressed(tmp_path: Path) -> None:
    made = tiny()
    made.doc["accessors"][1] |= {"bufferView": made.view(np.array([0, 1, 9], "<u2").tobytes())}
    assert refused(compress(made).glb(tmp_path / "packed.glb")) == "index_range"
    packed = compress(tiny())
    del packed.doc["bufferViews"][0]["extensions"]
    assert refused(packed.glb(tmp_path / "placeholder.glb")) == "missing_buffer"
    small = InspectLimits(decoded_bytes_max=60)
    assert refused(compress(tiny()).glb(tmp_path / "large.glb"), small) == "too_many_values"


def test_a_file_with_an_uncompressed_copy_is_taken_as_it_is(tmp_path: Path) -> None:
    packed = compress(made := tiny())
    whole = bytearray()
    for row, source in zip(packed.doc["bufferViews"], made.doc["bufferViews"], strict=True):
        del row["extensions"][NAME]["mode"]  # not even looked at
        data = made.blob[source["byteOffset"] :][: source["byteLength"]]
        whole += data + bytes(row["byteLength"] - len(data))
    (tmp_path / "whole.bin").write_bytes(whole)
    packed.doc["buffers"][1]["uri"] = "whole.bin"
    packed.doc["accessors"][1]["componentType"] = 5123
    packed.doc["extensionsRequired"] = []
    (clip,) = poses(packed.glb(tmp_path / "packed.glb"))
    (plain,) = poses(made.glb(tmp_path / "plain.glb"))
    np.testing.assert_array_equal(clip, plain)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[BlenderSession]:
    config = BuildConfig()
    with BlenderProcess(config.limits.worker, [tmp_path]) as blender:
        yield BlenderSession(blender, config.limits)


@pytest.mark.blender
@pytest.mark.parametrize("name", ["quantised_skin", "morphs_on_a_skin"])
def test_what_blender_is_given_moves_alike(
    tmp_path: Path, session: BlenderSession, name: str
) -> None:
    found = compare(compress(beast(name)).glb(tmp_path / "packed.glb"), session)
    assert max(clip.error for clip in found) < 1e-3


@pytest.mark.blender
def test_a_compressed_asset_with_a_picture_beside_it_gives_the_same_sample(
    tmp_path: Path, session: BlenderSession
) -> None:
    """Blender cannot import it; what it is given instead has to look the same."""
    made = tiny()
    made.doc["meshes"][0]["primitives"][0] |= {"material": 0}
    corners = made.accessor([[0.0, 0.0, 0], [1.0, 0.0, 0], [0.0, 1.0, 0]])
    made.doc["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = made.accessor([[0, 0, 1]] * 3)
    made.doc["accessors"][corners] |= {"type": "VEC2", "bufferView": made.view(
        np.array([[0, 0], [1, 0], [0, 1]], "<f4").tobytes())}  # fmt: skip
    made.doc["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = corners
    made.doc |= {
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}], "images": [{"uri": "looks/half.png"}],
    }  # fmt: skip
    rows, images = [], []
    for name, file in (("plain", made), ("packed", compress(made))):
        (tmp_path / name / "looks").mkdir(parents=True)
        picture = Image.new("RGB", (8, 8), (255, 0, 0))
        picture.paste((0, 0, 255), (4, 0, 8, 8))
        picture.save(tmp_path / name / "looks" / "half.png")
        file.gltf(tmp_path / name / "tri.gltf")
        (source,) = find_sources([tmp_path / name])
        overrides = [
            "render.sequences.names=[front]", "render.sequences.frames=6",
            "render.sequences.width=16", "render.sequences.height=16", "render.engine.samples=4",
        ]  # fmt: skip
        job = Job(source, BuildConfig.build({}, overrides), {}, tmp_path / f"{name}-out", {})
        process(job, session)
        (row,) = json.loads(done_file(job.staging).read_bytes())["rows"]
        assert row["verdict"] == "kept", row["error"]
        assert json.loads(row["warnings"]) == []
        rows.append({k: row[k] for k in ("motion", "drift", "margin_px", "geometry", "look")})
        (sample,) = job.staging.glob("*.tar")
        with tarfile.open(sample) as members:
            sheet = next(m for m in members.getmembers() if m.name.endswith(".webp"))
            content = members.extractfile(sheet)
            assert content is not None
            images.append(np.array(Image.open(io.BytesIO(content.read()))))
    assert rows[0] == rows[1]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0][..., 0].astype(int) - images[0][..., 2]).max() > 100  # red was read
    assert (images[0][..., 2].astype(int) - images[0][..., 0]).max() > 100  # and blue
