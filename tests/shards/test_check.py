import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards import index
from shards.check import check_run
from shards.errors import ShardError
from shards.sample import SampleMeta, members_of, sample_to_tar
from shards.write import ShardWriter, StagedSample
from tests.make_shards import make_run, make_sample, pack_sample


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def flip_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("flip") / "run"
    return make_run(run, assets=1, clips=2, frames=1, size=4, per_shard=2)


def found(run: Path) -> str:
    return "\n".join(f"{f.where}: {f.what}" for f in check_run(run).all_faults())


def test_a_whole_run_has_no_faults(tiny_run: Path) -> None:
    report = check_run(tiny_run)
    assert report.all_faults() == []
    assert [(shard.name, shard.samples) for shard in report.shards] == [
        ("shard-000000", 4),
        ("shard-000001", 4),
        ("shard-000002", 4),
    ]


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_flipped_bit_anywhere_is_found(flip_run: Path, data: st.DataObject) -> None:
    tar = index.tars(flip_run)[0]
    whole = tar.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    tar.write_bytes(damaged)
    try:
        report = check_run(flip_run)
    finally:
        tar.write_bytes(whole)
    entries = index.committed(flip_run)[tar.stem]
    hit = [e.key for e in entries if e.offset <= place < e.offset + e.length]
    text = "\n".join(fault.where for fault in report.all_faults())
    assert report.all_faults()
    assert all(key in text for key in hit)


@pytest.mark.parametrize("cut", [1, 1024, 1500, 20000])
def test_a_cut_tar_is_found(run: Path, cut: int) -> None:
    tar = index.tars(run)[1]
    tar.write_bytes(tar.read_bytes()[:-cut])
    assert "shard-000001: is " in found(run)


def test_a_missing_and_an_unknown_tar_are_found(run: Path) -> None:
    first, last = index.tars(run)[0], index.tars(run)[2]
    first.rename(first.with_name("shard-000009.tar"))
    last.write_bytes(last.read_bytes() + bytes(512))
    text = found(run)
    assert "shard-000000: is in the index, but the tar is missing" in text
    assert "shard-000009: the tar is not in the index" in text
    assert "shard-000002: its samples end at byte" in text


def test_an_index_that_lags_behind_its_parts_is_found(run: Path) -> None:
    old = (run / "index.parquet").read_bytes()
    meta, images = make_sample("late", 0, 1, 4)
    (run / "late.tar").write_bytes(pack_sample(meta, images))
    writer = ShardWriter(run, 1)
    writer.commit([StagedSample("late-000", run / "late.tar")])
    assert "shard-000003: the tar is not in the index" in found(run)
    writer.finish()
    assert found(run) == ""
    (run / "index.parquet").write_bytes(old)
    assert "shard-000003: the tar is not in the index" in found(run)


def test_a_sample_listed_twice_and_a_wrong_part_are_found(run: Path) -> None:
    entries = index.read_entries(run / "index.parquet")
    shutil.copyfile(
        index.part_dir(run) / "shard-000001.parquet", index.part_dir(run) / "shard-000002.parquet"
    )
    assert "shard-000002.parquet and index.parquet differ" in found(run)
    (index.part_dir(run) / "shard-000001.parquet").unlink()
    assert "shard-000001: its index part cannot be read" in found(run)
    index.write_part(run, "doubled", [*entries, entries[5]])
    (index.part_dir(run) / "doubled.parquet").replace(run / "index.parquet")
    text = found(run)
    assert "sample 'blob01-002' is listed twice" in text
    assert "index.json counts 4 samples, index.parquet 5" in text


def test_faults_of_the_writer_are_found_though_every_hash_agrees(tmp_path: Path) -> None:
    meta, images = make_sample("bad", 0, 2, 4)
    members = members_of(pack_sample(meta, images), "here")
    sheets = {
        name.removeprefix("bad-000.").removesuffix(".webp"): data
        for name, data in members.items()
        if name.endswith(".webp")
    }
    run = tmp_path / "run"
    (tmp_path / "a.tar").write_bytes(sample_to_tar(meta, sheets | {"orbit.rgba": b"no image"}))
    other = SampleMeta.model_validate(meta.model_dump() | {"key": "bad-001"})
    lacking = sample_to_tar(other, sheets)
    webp = lacking.index(b"bad-001.static.rgba.webp")
    (tmp_path / "b.tar").write_bytes(lacking[:webp])
    writer = ShardWriter(run, 1)
    writer.commit(
        [StagedSample("bad-000", tmp_path / "a.tar"), StagedSample("bad-001", tmp_path / "b.tar")]
    )
    writer.finish()
    text = found(run)
    assert "orbit: an image sheet of 8 bytes cannot be decoded" in text
    assert "bad-001: members [" in text


def test_an_empty_run_and_a_folder_without_an_index_are_named(tmp_path: Path) -> None:
    ShardWriter(tmp_path / "empty", 1).finish()
    assert found(tmp_path / "empty") == "index.parquet: lists no samples"
    with pytest.raises(ShardError, match="no finished RUN folder"):
        check_run(tmp_path)
