import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from curate.cli_ledger import app
from curate.glance import glance
from curate.inspect import inspect_file
from shards.errors import AssetError
from tests.curate.gltf_builder import tiny
from tests.curate.gltf_zoo import ZOO, build


@pytest.mark.parametrize("name", ZOO)
def test_a_glance_says_what_an_inspection_proves(name: str, tmp_path: Path) -> None:
    path = build(name, tmp_path)
    seen, proved = glance(path), inspect_file(path)
    assert seen.clips == len(proved.clips or ())
    assert seen.meshes > 0
    assert seen.morphs == ("morph" in name or name in ("pointers", "quantised_skin"))
    assert bool(seen.skins) == (
        proved.parts is not None and bool(proved.parts.doc.json.get("skins"))
    )


def test_lengths_are_those_that_accessors_declare(tmp_path: Path) -> None:
    made = tiny()
    assert glance(made.glb(tmp_path / "a.glb")).longest_s == 0  # it declares none
    made.doc["accessors"][2]["max"] = [2.0]
    assert glance(made.gltf(tmp_path / "a.gltf")).longest_s == 2


def test_only_the_header_is_read(tmp_path: Path) -> None:
    path = tiny().glb(tmp_path / "a.glb")
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[12:16], "little")
    path.write_bytes(data[: 20 + length])
    assert glance(path).clips == 1


def test_the_verb_prints_a_line_per_file(tmp_path: Path) -> None:
    tiny().glb(tmp_path / "a.glb")
    (tmp_path / "b.gltf").write_text("{}")
    done = CliRunner().invoke(app, ["glance", str(tmp_path)])
    assert done.exit_code == 0, done.output
    good, bad = map(json.loads, done.output.splitlines())
    assert (good["path"], good["clips"]) == (str(tmp_path / "a.glb"), 1)
    assert bad["rule"] == "bad_schema"


def test_whatever_the_bytes_only_asset_errors_come_out(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    data = tiny().glb(tmp_path / "a.glb").read_bytes()
    path = tmp_path / "b.glb"
    refused = 0
    for _ in range(300):
        spoilt = bytearray(data)
        for at in draw.integers(0, len(data), int(draw.integers(1, 6))):
            spoilt[at] = draw.integers(0, 256)
        path.write_bytes(spoilt[: int(draw.integers(0, 2 * len(data)))])
        try:
            glance(path)
        except AssetError:
            refused += 1
    assert refused > 30
    with pytest.raises(AssetError, match="cannot be read"):
        glance(tmp_path / "none.glb")
