"""The commands on a RUN in an object store, against a real S3 server on the loopback."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orbit4d import app
from shards.errors import ConfigError, RunError
from shards.objects import Objects
from shards.read import MapStyle, StreamConfig
from shards.store import StoreConfig
from tests.conftest import Bucket
from tests.curate.test_build import ROOT, command
from tests.render.make_gltf import moving_cube

pytestmark = [pytest.mark.blender, pytest.mark.filterwarnings("ignore")]  # of botocore and moto


def orbit4d(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def build(inputs: Path, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [str(word) for word in command(inputs, Path("unused"), *more)]
    argv[argv.index("unused")] = url
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_a_run_is_built_checked_shown_asked_and_taken_down_from_in_the_store(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    moving_cube(inputs / "cube.gltf")
    (inputs / "text.glb").write_text("no model at all")
    url = f"{s3_bucket.url}/runs/first"
    done = build(inputs, url)
    assert done.returncode == 0, done.stderr
    objects = Objects(url)
    names = objects.list("")
    assert {"commit.json", "run.json", "index.json", "index.parquet"} <= names.keys()
    assert {"report/index.html", "report/card.md"} <= names.keys()
    assert not any(name.startswith("staging/") for name in names)
    assert b"<title>" in objects.read("report/index.html")

    assert "0 of 2 assets would be worked on" in build(inputs, url, "--plan").stdout
    assert "2 samples: all whole" in orbit4d("shards", "check", url)
    (key,) = {w for w in orbit4d("shards", "ls", url).split() if w.endswith("-000")}
    assert json.loads(orbit4d("shards", "cat", url, key))["key"] == key
    query = "select verdict, count(*) as n from ledger group by 1 order by 1"
    rows = json.loads(orbit4d("sql", url, query, "--format", "json"))
    assert rows == [{"verdict": "failed", "n": 1}, {"verdict": "kept", "n": 2}]
    assert "2 assets, 3 rows" in orbit4d("curate", "stats", url)
    assert "0 of 3 verdicts change" in orbit4d("curate", "replay", url)
    orbit4d("contact", url, str(tmp_path / "sheet.png"))
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert f"{url}/report/index.html" in orbit4d("report", url)
    orbit4d("render", "one", str(inputs / "cube.gltf"), "--run", url, "--out", str(tmp_path / "1"))

    assert "1 samples are skipped by readers" in orbit4d("shards", "tombstone", url, key)
    config = StreamConfig(background=None, dtype="uint8", store=StoreConfig())
    assert MapStyle(Path(url), config).view(0).stand_in_for == key
    with pytest.raises(ConfigError, match="needs a copy of the RUN in a folder"):
        orbit4d("shards", "compact", url)


def test_a_mistyped_url_is_no_empty_run(s3_bucket: Bucket) -> None:
    url = f"{s3_bucket.url}/no/such/run"
    for words in (["report"], ["shards", "check"]):
        done = CliRunner().invoke(app, [*words, url])
        assert done.exit_code == 1
        assert f"{url}: holds no RUN" in " ".join(done.output.split())
    with pytest.raises(RunError, match="no/such/run: holds no RUN"):
        orbit4d("sql", url, "select 1")
    assert Objects(url).list("") == {}


def test_a_full_temporary_disk_ends_the_run_with_a_sentence_and_room_lets_it_go_on(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    inputs, disk = tmp_path / "inputs", tmp_path / "disk"
    inputs.mkdir()
    disk.mkdir()
    for number in range(3):
        moving_cube(inputs / f"cube{number}.gltf")
    argv = [str(word) for word in command(inputs, Path("unused"))]
    argv[argv.index("unused")] = f"{s3_bucket.url}/run"
    script = f"""
        mount -t tmpfs -o size=40k disk {disk} || exit 77
        TMPDIR={disk} {" ".join(argv)} ; echo status $?
        mount -o remount,size=50m {disk}
        TMPDIR={disk} {" ".join(argv)} > /dev/null ; echo status $?
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=110, env=dict(os.environ),
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no file systems may be mounted here")
    ends = [line for line in done.stdout.splitlines() if line.startswith("status")]
    assert ends == ["status 1", "status 0"], done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "6 samples: all whole" in orbit4d("shards", "check", f"{s3_bucket.url}/run")
