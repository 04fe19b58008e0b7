"""A clip whose images have a fault ends as that verdict, with the measured value, and no sample."""

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.build import Options, build
from curate.config import BuildConfig
from tests.render.make_gltf import FACES, Gltf

pytestmark = pytest.mark.blender
SEQUENCES = {"width": 32, "height": 32, "frames": 3}


def settings(**qa: float) -> BuildConfig:
    engine = {"quality": "draft"}
    render = {"sequences": SEQUENCES, "engine": engine, "qa": qa}
    return BuildConfig.build({"render": render})


def judged(gltf: Gltf, node: int, folder: Path, config: BuildConfig) -> dict[str, Any]:
    (folder / "in").mkdir()
    gltf.animate("rise", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0.5)])})
    build([gltf.save(folder / "in" / "thing.gltf")], folder / "run", config, Options())
    (row,) = ledger.load(folder / "run")
    return row


def coal() -> tuple[Gltf, int]:
    gltf = Gltf()
    faces = {name: (normal, (0, 0, 0)) for name, (normal, _) in FACES.items()}
    return gltf, gltf.node("coal", gltf.cube(faces=faces))


def test_a_black_clip_is_rejected_and_says_what_was_measured(tmp_path: Path) -> None:
    row = judged(*coal(), tmp_path, settings())
    assert (row["verdict"], row["rule"], row["stage"]) == ("rejected", "qa_black", "render")
    assert (row["value"], row["limit"], row["unit"]) == (1.0, 0.5, "share of images")
    assert row["qa_black"] == 1.0
    assert row["qa_border"] == row["qa_not_finite"] == 0
    assert not list((tmp_path / "run" / "shards").glob("*.tar"))


def test_who_wants_black_things_can_have_them(tmp_path: Path) -> None:
    row = judged(*coal(), tmp_path, settings(black_share_max=1.0, flat_share_max=1.0))
    assert (row["verdict"], row["error"]) == ("kept", "")
    assert row["qa_black"] == 1.0


def broken_png() -> bytes:
    """Head and end are those of an 8x8 RGB image, the pixels are not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", b"no deflate stream"), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("unreadable_max", "rule", "unit"),
    [(0, "qa_texture", "textures"), (100, "qa_magenta", "share of visible pixels")],
)
@pytest.mark.parametrize("lit", [False, True])
def test_a_texture_that_cannot_be_decoded_is_no_magenta_sample(
    tmp_path: Path, lit: bool, unreadable_max: int, rule: str, unit: str
) -> None:
    """Told by the textures themselves, and if that were overlooked, by their colour."""
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    data = base64.b64encode(broken_png()).decode()
    gltf.doc["images"] = [{"uri": f"data:image/png;base64,{data}"}]
    gltf.doc["textures"] = [{"source": 0}]
    for material in gltf.doc["materials"]:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        material["pbrMetallicRoughness"]["baseColorFactor"] = [1, 1, 1, 1]
        if lit:
            del material["extensions"]
    row = judged(gltf, node, tmp_path, settings(unreadable_textures_max=unreadable_max))
    assert (row["verdict"], row["rule"], row["unit"]) == ("rejected", rule, unit)
    assert row["qa_texture"] == 6
    assert row["qa_magenta"] == 1.0
