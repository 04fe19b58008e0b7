"""A build whose inputs lie behind URLs, with real Blender: the same samples, and nothing left."""

import subprocess
import sys
from pathlib import Path

import pytest

from curate import ledger
from curate.sources import uid_for
from shards.read import SampleReader
from tests.curate.hub import Hub
from tests.curate.test_build import ROOT, SMALL, samples, shards
from tests.render.make_gltf import moving_cube

pytest.importorskip("aiohttp")
pytestmark = pytest.mark.blender


def build(out: Path, *words: str) -> None:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    command = [sys.executable, "-m", "orbit4d", "build", *words, "--out", str(out), *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.ray)])
def test_remote_assets_are_built_once_and_leave_nothing(tmp_path: Path, workers: str) -> None:
    (tmp_path / "in").mkdir()
    moving_cube(tmp_path / "in" / "cube.gltf")
    cache = ("--set", f"fetch.cache={tmp_path / 'cache'}", "--workers", workers)
    rows = [
        "url,uid,licence,attribution,name,tags",
        "cube.gltf,cube,CC0-1.0,A. Nyone,Cube,box;red",
        "gone.glb,gone,,,,",
        "taken.glb,taken,,,,",
    ]
    (tmp_path / "deny.txt").write_text("taken\n")
    lists = ("--deny-list", str(tmp_path / "deny.txt"))
    with Hub() as hub:
        hub.files |= {f"/set/{path.name}": path for path in (tmp_path / "in").iterdir()}
        hub.files["/set/m.csv"] = "\n".join(rows).encode()
        hub.etags["/set/cube.gltf"] = "one"
        url = f"{hub.url}/set/m.csv"
        inputs = (str(tmp_path / "in"), url)  # Blender starts with the local one
        build(tmp_path / "run", *inputs, *cache, *lists)
        found_here = uid_for("cube.gltf")
        found = {row["uid"]: row for row in ledger.load(tmp_path / "run")}
        assert {uid: (row["verdict"], row["rule"]) for uid, row in found.items()} == {
            found_here: ("kept", ""),
            "cube": ("kept", ""),
            "gone": ("failed", "http_404"),
            "taken": ("rejected", "denied"),
        }
        assert found["cube"]["stamp"] == "etag:one"
        reader = SampleReader(tmp_path / "run")
        about = next(meta.asset for meta, _ in map(reader.read, range(4)) if meta.asset.name)
        assert (about.source, about.licence, about.attribution) == ("http", "CC0-1.0", "A. Nyone")
        assert (about.name, about.tags) == ("Cube", "box;red")
        assert list((tmp_path / "cache").iterdir()) == []
        before = shards(tmp_path / "run")
        hub.gets.clear()
        build(tmp_path / "run", *inputs, *cache, *lists)
        assert not [path for path in hub.gets if path.endswith("gltf")]
        assert shards(tmp_path / "run") == before
        hub.etags["/set/cube.gltf"] = "two"  # announced as changed: fetched, found the same
        build(tmp_path / "run", *inputs, *cache, *lists)
        assert [path for path in hub.gets if path.endswith("gltf")]
        stamps = {row["uid"]: row["stamp"] for row in ledger.load(tmp_path / "run")}
        assert stamps["cube"] == "etag:two"
        assert shards(tmp_path / "run") == before
    assert len(samples(tmp_path / "run")) == 4
