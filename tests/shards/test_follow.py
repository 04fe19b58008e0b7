from pathlib import Path

import pytest

from shards import index
from shards.errors import ShardError
from shards.read import MapStyle, StreamConfig
from shards.write import ShardWriter, StagedSample
from tests.make_shards import stage_samples

SMALL = StreamConfig(sequences=("front",), background=None, dtype="uint8", follow=True)


@pytest.fixture
def staged(tmp_path: Path) -> list[StagedSample]:
    into = tmp_path / "staged"
    into.mkdir()
    return list(stage_samples(into, assets=3, clips=4, frames=1, size=4))


@pytest.fixture
def writer(tmp_path: Path, staged: list[StagedSample]) -> ShardWriter:
    """Give a build that has finished one shard, of four samples."""
    writer = ShardWriter(tmp_path / "run", 1)
    writer.commit(staged[:4])
    return writer


def keys(samples: MapStyle, numbers: list[int]) -> list[str]:
    return [samples.view(number).key for number in numbers]


def test_new_shards_join_at_the_next_epoch(writer: ShardWriter, staged: list[StagedSample]) -> None:
    samples = MapStyle(writer.run, SMALL)
    sampler = samples.sampler(batch_size=2)
    writer.commit(staged[4:8])
    first = {key.key for key in staged[:4]}
    assert set(keys(samples, list(sampler))) == first
    sampler.advance(1)
    writer.commit(staged[8:])
    assert len(sampler) == 2
    sampler.advance(1)
    assert sampler.epoch == 1
    assert set(keys(samples, list(sampler))) == {sample.key for sample in staged}


def test_a_place_stays_valid_while_the_run_grows(
    writer: ShardWriter, staged: list[StagedSample]
) -> None:
    samples = MapStyle(writer.run, SMALL)
    sampler = samples.sampler()
    sampler.advance(1)
    state, rest = sampler.state_dict(), keys(samples, list(sampler))
    writer.commit(staged[4:])
    later = MapStyle(writer.run, SMALL)
    resumed = later.sampler()
    resumed.load_state_dict(state)
    assert keys(later, list(resumed)) == rest
    resumed.advance(3)
    assert (resumed.epoch, len(resumed)) == (1, 12)
    writer.finish()
    finished = MapStyle(writer.run, SMALL).sampler()
    finished.load_state_dict(resumed.state_dict())
    assert list(finished) == list(resumed)


def test_a_worker_older_than_the_epoch_looks_again(
    writer: ShardWriter, staged: list[StagedSample]
) -> None:
    samples = MapStyle(writer.run, SMALL)
    writer.commit(staged[4:])
    assert samples.view(11).key == staged[11].key
    with pytest.raises(IndexError):
        samples.view(12)


def test_ranks_agree_on_the_shards(writer: ShardWriter, staged: list[StagedSample]) -> None:
    early = MapStyle(writer.run, SMALL).sampler(rank=0, world=2)
    seen = [name for name, _, _ in MapStyle(writer.run, SMALL).shards()]
    writer.commit(staged[4:])
    late = MapStyle(writer.run, SMALL).sampler(rank=1, world=2)
    with pytest.raises(ShardError, match="may see different shards"):
        list(late)
    for sampler in (early, late):
        sampler.begin(lambda names: seen)  # type: ignore[attr-defined]
    assert sorted([*early, *late]) == [0, 1, 2, 3]
    with pytest.raises(ShardError, match="another rank sees shards that are not here"):
        late.begin(lambda names: [*names, "shard-000099"])  # type: ignore[attr-defined]


def test_withdrawn_shards_are_named(
    writer: ShardWriter, staged: list[StagedSample], tmp_path: Path
) -> None:
    samples = MapStyle(writer.run, SMALL)
    sampler = samples.sampler()
    state = sampler.state_dict()
    writer.commit(staged[4:])
    writer.withdraw("shard-000000", tmp_path / "back", keep=set())
    with pytest.raises(ShardError, match=r"withdrawn \(shard-000000\)"):
        sampler.advance(4)
    with pytest.raises(ShardError, match=r"1 shards missing \(shard-000000\)"):
        MapStyle(writer.run, SMALL).sampler().load_state_dict(state)


def test_a_part_whose_tar_is_not_yet_there_does_not_count(
    writer: ShardWriter, staged: list[StagedSample]
) -> None:
    entries = index.committed(writer.run)["shard-000000"]
    index.write_part(writer.run, "shard-000001", entries)
    assert len(MapStyle(writer.run, SMALL)) == 4


def test_an_unfinished_run_is_not_read_by_accident(writer: ShardWriter) -> None:
    with pytest.raises(ShardError, match="read with follow"):
        MapStyle(writer.run, SMALL.model_copy(update={"follow": False}))
