import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from shards import index
from shards.errors import SampleError, ShardError
from shards.files import temporary_for
from shards.write import ShardWriter, StagedSample
from tests.make_shards import stage_samples


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> list[StagedSample]:
    into = tmp_path_factory.mktemp("staged")
    return list(stage_samples(into, assets=2, clips=2, frames=2, size=4))


def hashes(run: Path) -> dict[str, str]:
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


def write(run: Path, staged: list[StagedSample]) -> Path:
    writer = ShardWriter(run, 1)
    writer.commit(staged[:2])
    writer.commit(staged[2:])
    writer.finish()
    return run


def test_same_samples_give_the_same_bytes(tmp_path: Path, staged: list[StagedSample]) -> None:
    first = hashes(write(tmp_path / "a", staged))
    assert first == hashes(write(tmp_path / "b", staged))
    assert set(first) == {
        "index.json",
        "index.parquet",
        "index/shard-000000.parquet",
        "index/shard-000001.parquet",
        "shards/shard-000000.tar",
        "shards/shard-000001.tar",
    }


def test_the_index_says_where_the_bytes_are(tmp_path: Path, staged: list[StagedSample]) -> None:
    run = write(tmp_path, staged)
    entries = index.read_entries(run / "index.parquet")
    assert [entry.key for entry in entries] == [sample.key for sample in staged]
    for entry, sample in zip(entries, staged, strict=True):
        data = (run / "shards" / f"{entry.shard}.tar").read_bytes()
        part = data[entry.offset : entry.offset + entry.length]
        assert part == sample.path.read_bytes()
        assert hashlib.sha256(part).hexdigest() == entry.sha256
    with tarfile.open(run / "shards" / "shard-000001.tar") as archive:
        assert len(archive.getnames()) == 8


def test_a_kill_before_the_rename_leaves_nothing(
    tmp_path: Path, staged: list[StagedSample]
) -> None:
    whole = hashes(write(tmp_path / "whole", staged))
    run = tmp_path / "killed"
    ShardWriter(run, 1).commit(staged[:2])
    # killed while writing the tar, and after the part but before the tar's rename
    tar = index.shard_dir(run) / "shard-000001.tar"
    temporary_for(tar).write_bytes(b"half a tar")
    part = tmp_path / "whole" / "index" / "shard-000001.parquet"
    (index.part_dir(run) / part.name).write_bytes(part.read_bytes())
    temporary_for(index.part_dir(run) / part.name).write_bytes(b"half a part")

    writer = ShardWriter(run, 1)
    assert set(writer.keys) == {sample.key for sample in staged[:2]}
    assert [path.name for path in index.part_dir(run).iterdir()] == ["shard-000000.parquet"]
    assert [path.name for path in index.shard_dir(run).iterdir()] == ["shard-000000.tar"]
    writer.commit(staged[2:])
    writer.finish()
    assert hashes(run) == whole


@pytest.mark.parametrize(
    "lost", [["index.json"], ["index.parquet"], ["index.json", "index.parquet"]]
)
def test_a_kill_after_the_rename_only_lacks_the_merged_index(
    tmp_path: Path, staged: list[StagedSample], lost: list[str]
) -> None:
    whole = hashes(write(tmp_path / "run", staged))
    for name in lost:
        (tmp_path / "run" / name).unlink()
    writer = ShardWriter(tmp_path / "run", 1)
    assert len(writer.keys) == 4
    writer.finish()
    assert hashes(tmp_path / "run") == whole


def test_withdraw_stages_what_is_kept_and_its_name_is_never_used_again(
    tmp_path: Path, staged: list[StagedSample]
) -> None:
    run = write(tmp_path / "run", staged)
    writer = ShardWriter(run, 1)
    back = writer.withdraw("shard-000001", tmp_path / "back", keep={staged[3].key})
    assert [sample.key for sample in back] == [staged[3].key]
    assert back[0].path.read_bytes() == staged[3].path.read_bytes()
    assert set(writer.keys) == {sample.key for sample in staged[:2]}
    assert not (index.part_dir(run) / "shard-000001.parquet").exists()
    assert ShardWriter(run, 1).commit(back) == "shard-000002"


@pytest.mark.parametrize("killed_after", ["staging", "tar", "part"])
def test_withdraw_may_be_repeated_after_a_kill(
    tmp_path: Path, staged: list[StagedSample], killed_after: str
) -> None:
    run = write(tmp_path / "run", staged)
    keep = {staged[2].key, staged[3].key}
    into = tmp_path / "back"
    tar = index.shard_dir(run) / "shard-000001.tar"
    part = index.part_dir(run) / "shard-000001.parquet"
    kept = (tar.read_bytes(), part.read_bytes())
    ShardWriter(run, 1).withdraw("shard-000001", into, keep)
    if killed_after == "staging":
        tar.write_bytes(kept[0])
        (into / f"{staged[3].key}.tar").unlink()
    if killed_after != "part":
        part.write_bytes(kept[1])

    back = ShardWriter(run, 1).withdraw("shard-000001", into, keep)
    assert [sample.key for sample in back] == [staged[2].key, staged[3].key]
    assert [s.path.read_bytes() for s in back] == [s.path.read_bytes() for s in staged[2:]]
    assert not tar.exists()
    assert not part.exists()


def test_a_key_comes_once_in_a_run_and_a_shard_is_never_empty(
    tmp_path: Path, staged: list[StagedSample]
) -> None:
    writer = ShardWriter(tmp_path, 1)
    writer.commit(staged[:2])
    for samples in ([], [staged[0]], [staged[2], staged[2]]):
        with pytest.raises(ShardError, match="at least one sample and each key once"):
            writer.commit(samples)
    assert list(index.committed(tmp_path)) == ["shard-000000"]


def test_a_staged_file_has_to_be_the_sample_it_is_named_for(
    tmp_path: Path, staged: list[StagedSample]
) -> None:
    writer = ShardWriter(tmp_path, 1)
    with pytest.raises(SampleError, match="'other-000': its staged file holds"):
        writer.commit([StagedSample("other-000", staged[0].path)])
    assert list(index.shard_dir(tmp_path).iterdir()) == []


def test_a_shard_being_written_is_not_yet_there(tmp_path: Path, staged: list[StagedSample]) -> None:
    run = write(tmp_path, staged)
    temporary_for(index.shard_dir(run) / "shard-000002.tar").write_bytes(b"half a tar")
    assert list(index.committed(run)) == ["shard-000000", "shard-000001"]


def test_a_tar_without_an_index_part_is_named(tmp_path: Path, staged: list[StagedSample]) -> None:
    run = write(tmp_path, staged)
    (index.part_dir(run) / "shard-000000.parquet").unlink()
    with pytest.raises(ShardError, match=r"shard-000000\.tar: has no index part"):
        ShardWriter(run, 1)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": 9, "shards": []}'])
def test_a_damaged_head_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(ShardError, match=r"index\.json: not"):
        index.head(tmp_path)


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ShardError, match=r"index\.parquet: not a readable shard index"):
        index.read_entries(tmp_path / "index.parquet")


def test_the_head_counts_and_hashes(tmp_path: Path, staged: list[StagedSample]) -> None:
    run = write(tmp_path, staged)
    document = json.loads((run / "index.json").read_bytes())
    assert document["samples"] == 4
    assert document["next_shard"] == 2
    for shard in document["shards"]:
        data = (run / "shards" / f"{shard['name']}.tar").read_bytes()
        assert shard["bytes"] == len(data)
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
