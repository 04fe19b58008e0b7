import csv
import json
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from shards import index
from shards.camera import opencv_to_blender
from shards.check import check_run
from shards.cli import app
from shards.codec import CODECS, Codec
from shards.errors import RunError, ShardError, TakenDown
from shards.export import export_diffusion4d, export_huggingface
from shards.families import families_of
from shards.likeness import Sketch
from shards.lint import lint_run
from shards.manage import balanced, compact_run, merge_runs, side_of, split_run, standing
from shards.read import SampleReader
from shards.sample import decode_sequence
from shards.tombstones import add_tombstones
from shards.write import ShardWriter, StagedSample
from tests.make_shards import make_run, make_sample, pack_sample

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def keys(run: Path) -> list[str]:
    return SampleReader(run).column("key")


def invoke(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_balanced_shards_take_all_and_differ_by_less_than_two_samples(
    sizes: list[int], target: int
) -> None:
    counts = balanced(sizes, target)
    assert sum(counts) == len(sizes)
    assert min(counts) >= 1
    starts = np.cumsum([0, *counts])
    weights = [sum(sizes[a:b]) for a, b in pairwise(starts)]
    assert len(counts) == min(max(1, round(sum(sizes) / target)), len(sizes))
    if max(sizes) * 4 < sum(sizes) / len(counts):
        assert max(weights) - min(weights) <= 2 * max(sizes)


def test_no_samples_make_no_shards() -> None:
    assert balanced([], 10) == []


def test_a_split_keeps_equal_files_together_and_moves_nothing_later(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=12, clips=2, frames=1, size=4)
    counts = split_run(run, tmp_path / "sides", SHARES, 10**6)
    assert sum(counts.values()) == 24
    sides = {key: side for side in SHARES for key in keys(tmp_path / "sides" / side)}
    assert len(sides) == 24
    for uid in {key.rpartition("-")[0] for key in sides}:
        assert sides[f"{uid}-000"] == sides[f"{uid}-001"]
    entry = SampleReader(run).entry(0)
    twin = replace(entry, uid="other", key="other-000")
    assert len(set(families_of([entry, twin]))) == 1
    assert all(check_run(tmp_path / "sides" / side).all_faults() == [] for side in SHARES)


def test_copies_of_a_shape_lie_on_one_side_in_any_order() -> None:
    blank = index.IndexEntry("", "", 0, "", 0, 0, "", 1, "", None, "{}")
    values = np.linspace(0.1, 2.0, 14)
    shapes = [
        Sketch(kind, values * factor).encode()
        for kind, factor in [(12, 1), (12, 1 + 1e-5), (12, 1.01), (13, 1), (12, 1 - 1e-5)]
    ]
    entries = [
        replace(blank, uid=name, geometry=s) for name, s in zip("cdbea", shapes, strict=True)
    ]
    assert families_of(entries) == ["a", "a", "b", "e", "a"]
    assert families_of(entries[::-1]) == ["a", "a", "b", "e", "a"][::-1]
    unknown = [replace(blank, uid=name) for name in "xyx"]  # of an index from before
    assert families_of(unknown) == ["x", "y", "x"]


def test_shares_are_met_in_the_long_run() -> None:
    made = Counter(side_of(str(i), SHARES) for i in range(3000))
    for side, share in SHARES.items():
        assert made[side] / 3000 == pytest.approx(share, abs=0.03)


def test_merging_keeps_every_sample_byte_for_byte(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", assets=1, clips=4, frames=6, size=16)
    assert merge_runs([run, other], tmp_path / "all", 8000, None) == 13  # 3 are in both
    before = {e.key: e.sha256 for r in (run, other) for e in SampleReader(r).entries()}
    after = {e.key: e.sha256 for e in SampleReader(tmp_path / "all").entries()}
    assert after == before
    assert check_run(tmp_path / "all").all_faults() == []
    assert len(index.tars(tmp_path / "all")) > 3
    with pytest.raises(ShardError, match="holds 13 samples already"):
        merge_runs([run], tmp_path / "all", 8000, None)


def test_merging_refuses_a_key_with_two_meanings(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", assets=1, clips=1, frames=1, size=4)
    with pytest.raises(ShardError, match="'blob00-000' differs from that of"):
        merge_runs([run, other], tmp_path / "all", 8000, None)


@pytest.mark.parametrize("codec", CODECS)
def test_merging_can_change_the_codec(run: Path, tmp_path: Path, codec: Codec) -> None:
    merge_runs([run], tmp_path / "new", 10**6, codec)
    assert check_run(tmp_path / "new").all_faults() == []
    meta, members = SampleReader(tmp_path / "new").read(0)
    images = make_sample("blob00", 0)[1]
    for name, frames in images.items():
        got = decode_sequence(meta, members, name)
        np.testing.assert_array_equal(got[..., 3], frames[..., 3])
        if codec != "lossy":
            np.testing.assert_array_equal(got, frames)


def test_compacting_removes_the_bytes_and_nothing_else(run: Path) -> None:
    add_tombstones(run, {"blob00": "", "blob02-001": ""})
    before = {e.key: e.sha256 for e in SampleReader(run).entries()}
    done = compact_run(run, 10**6)
    assert (done["shards"], done["samples"]) == (2, 4)
    assert done["bytes"] > 0
    after = {e.key: e.sha256 for e in SampleReader(run).entries()}
    gone = {"blob00-000", "blob00-001", "blob00-002", "blob02-001"}
    assert after == {key: digest for key, digest in before.items() if key not in gone}
    assert check_run(run).all_faults() == []
    assert not any(b"blob00" in tar.read_bytes() for tar in index.tars(run))
    assert compact_run(run, 10**6) == {"shards": 0, "samples": 0, "bytes": 0}


def test_copies_of_the_same_bytes_are_taken_down_together(tmp_path: Path) -> None:
    run = tmp_path / "run"
    samples = [make_sample(uid, clip, frames=2, size=8) for uid in "abc" for clip in range(2)]
    staged = []
    for meta, images in samples:
        sha256 = ("f" if meta.asset.uid in "ac" else "e") * 64
        meta = meta.model_copy(update={"asset": meta.asset.model_copy(update={"sha256": sha256})})
        path = tmp_path / f"{meta.key}.tar"
        path.write_bytes(pack_sample(meta, images))
        staged.append(StagedSample(meta.key, path))
    for folder, some in ((run, staged), (tmp_path / "other", staged[4:])):
        writer = ShardWriter(folder, 1)
        writer.commit(some)
        writer.finish()
    assert "2 samples are skipped" in invoke("tombstone", run, "a-001")[1]
    assert sorted(found.entry.key for found in standing(run)) == [
        "a-000",
        "b-000",
        "b-001",
        "c-000",
    ]
    assert "4 samples are skipped" in invoke("tombstone", run, "a")[1]
    with pytest.raises(TakenDown):
        SampleReader(run).read_bytes(keys(run).index("c-000"))
    assert merge_runs([run, tmp_path / "other"], tmp_path / "m", 10**6, None) == 2
    assert compact_run(run, 10**6)["samples"] == 4
    assert sorted(keys(run)) == sorted(keys(tmp_path / "m")) == ["b-000", "b-001"]


def test_compacting_goes_on_after_a_kill(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_tombstones(run, {"blob00-001": ""})
    with monkeypatch.context() as patch:

        def killed(*_: object) -> str:
            raise KeyboardInterrupt

        patch.setattr(ShardWriter, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            compact_run(run, 10**6)
    compact_run(run, 10**6)
    assert sorted(keys(run)) == sorted({*keys_of_all()} - {"blob00-001"})
    assert check_run(run).all_faults() == []


def keys_of_all() -> list[str]:
    return [f"blob{asset:02d}-{clip:03d}" for asset in range(4) for clip in range(3)]


def test_compacting_waits_for_a_build(run: Path) -> None:
    import fcntl

    (run / "logs").mkdir()
    with (run / "logs" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="a build is working on this folder"):
            compact_run(run, 10**6)


def test_a_hugging_face_folder_has_a_card_with_licences(run: Path, tmp_path: Path) -> None:
    add_tombstones(run, {"blob03": ""})
    out = tmp_path / "hf"
    assert export_huggingface(run, out, "Blobs", 8000) == 9
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.tar"}]
    assert "| CC0-1.0 | 3 |" in card
    assert "| blob00 | 3 | CC0-1.0 | - | synthetic |" in card
    assert "blob03" not in card
    rows = list(csv.DictReader((out / "attribution.csv").read_text().splitlines()))
    assert [row["uid"] for row in rows] == ["blob00", "blob01", "blob02"]
    names: list[str] = []
    for path in sorted((out / "data").iterdir()):
        with tarfile.open(path) as archive:
            names += archive.getnames()
    assert sum(name.endswith(".json") for name in names) == 9
    with pytest.raises(ShardError, match="is not empty"):
        export_huggingface(run, out, "Blobs", 8000)


def test_diffusion4d_folders_hold_images_and_blender_cameras(run: Path, tmp_path: Path) -> None:
    assert export_diffusion4d(run, tmp_path / "d4d") == 12
    folder = tmp_path / "d4d" / "blob01-002"
    meta, images = make_sample("blob01", 2)
    expected = {"front.json", "metadata.json"} | {
        f"{name}{i}.{kind}"
        for i in range(6)
        for name, kind in [
            ("multi_frame", "png"),
            ("multi", "json"),
            ("multi_static_frame", "png"),
            ("static", "json"),
            ("front_frame", "png"),
        ]
    }
    assert {path.name for path in folder.iterdir()} == expected
    np.testing.assert_array_equal(
        np.asarray(Image.open(folder / "multi_frame4.png")), images["orbit"][4]
    )
    camera = json.loads((folder / "multi4.json").read_bytes())
    pose = opencv_to_blender(np.array(meta.sequences["orbit"].c2w[4]))
    np.testing.assert_allclose(camera["matrix_world"], pose)
    np.testing.assert_allclose(np.stack([camera[a] for a in "xyz"], -1), pose[:3, :3])
    np.testing.assert_allclose(np.rad2deg(camera["x_fov"]), 40)


def test_a_good_run_is_fit_and_too_many_readers_are_told(tiny_run: Path) -> None:
    assert lint_run(tiny_run) == []
    assert lint_run(tiny_run, ranks=3) == []
    (fault,) = lint_run(tiny_run, ranks=2, workers=2)
    assert "3 shards for 4 readers" in fault.what


def test_lint_finds_what_trips_readers(run: Path) -> None:
    tars = index.tars(run)
    tars[0].write_bytes(tars[0].read_bytes()[:-1500])
    shutil.copy(tars[1], tars[1].with_name("shard-000007.tar"))
    with tarfile.open(tars[2], "w") as archive:
        for name in ("a-000.json", "b-000.x.webp", "a-000.x.webp", "dir/c-000.json"):
            archive.addfile(tarfile.TarInfo(name))
    text = "\n".join(f"{fault.where}: {fault.what}" for fault in lint_run(run))
    assert "shard-000000: " in text
    assert "comes 2 times" in text
    assert "shard-000002 a-000: its members are not side by side" in text
    assert "shard-000002 b-000: has 0 documents b-000.json" in text
    assert "member 'dir/c-000.json' is no KEY.NAME file" in text


def test_lint_finds_uneven_shards(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=1, clips=5, frames=1, size=4, per_shard=4)
    assert any("hold 1 to 4 samples" in fault.what for fault in lint_run(run))
    with pytest.raises(ShardError, match="no shards"):
        lint_run(tmp_path)


def test_the_commands_do_what_they_say(run: Path, tmp_path: Path) -> None:
    assert invoke("lint", run)[0] == 0
    assert invoke("lint", run, "--ranks", 9) == (1, invoke("lint", run, "--ranks", 9)[1])
    assert json.loads(invoke("cat", run, "blob00-000")[1])["key"] == "blob00-000"
    assert "has no member 'x'; it has front.rgba.webp" in invoke("cat", run, "blob00-000", "x")[1]
    assert "no sample 'y'" in invoke("cat", run, "y")[1]
    assert "nothing was noted" in invoke("tombstone", run, "blob00", "nobody")[1]
    assert "3 samples are skipped" in invoke("tombstone", run, "blob00")[1]
    assert "'blob00-000' was taken down" in invoke("cat", run, "blob00-000")[1]
    assert "3 samples would be removed" in invoke("compact", run, "--dry-run")[1]
    assert invoke("compact", run)[0] == 0
    merge = ("merge", run, "--out", tmp_path / "m")
    assert invoke(*merge, "--dry-run")[1] == invoke(*merge, "--codec", "fast")[1]
    split = ("split", tmp_path / "m", "--out", tmp_path / "s", "--shares", "a=1,b=1")
    assert invoke(*split, "--dry-run")[1] == invoke(*split)[1]
    assert "expected SIDE=SHARE" in invoke(*split[:-1], "a")[1]
    assert "9 samples" in invoke("export", run, "--out", tmp_path / "h")[1]
    assert "9 samples" in invoke("export", run, "--to", "diffusion4d", "--out", tmp_path / "d")[1]


@pytest.mark.parametrize(
    "verb", ["lint", "cat", "split", "merge", "export", "tombstone", "compact"]
)
def test_every_command_shows_an_example(verb: str) -> None:
    status, text = invoke(verb, "--help")
    assert status == 0
    assert f"Example: orbit4d shards {verb} out/run1" in text
