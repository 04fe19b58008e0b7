import json
import pickle
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import index
from shards.errors import ConfigError, SampleError, ShardError, TakenDown
from shards.read import MapStyle, Part, SampleReader, ShardStream, StreamConfig
from shards.tombstones import add_tombstones
from shards.where import parse_where
from shards.write import ShardWriter
from tests.make_shards import make_sample

SMALL = StreamConfig(sequences=("front",), frames=1, window_shards=2)


def stream(run: Path, part: Part | None = None, **settings: object) -> ShardStream:
    return ShardStream(run, SMALL.model_copy(update=settings), part=part)


def keys(some: ShardStream) -> list[str]:
    return [sample.key for sample in some]


def list_of(dataset: MapStyle) -> list[dict[str, Any]]:
    return [dataset[i] for i in range(len(dataset))]


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def damage(run: Path, number: int) -> str:
    entry = SampleReader(run).entry(number)
    path = index.shard_dir(run) / f"{entry.shard}.tar"
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.length // 2] ^= 1
    path.write_bytes(data)
    return entry.key


def test_a_reader_gives_back_what_was_written(tiny_run: Path) -> None:
    reader = SampleReader(tiny_run)
    assert len(reader) == 12
    for i in (0, 5, 11):
        meta, members = reader.read(i)
        uid, clip = meta.asset.uid, meta.clip.index
        expected, images = make_sample(uid, clip)
        assert meta == expected
        assert reader.entry(i).key == meta.key == f"{uid}-{clip:03d}"
        assert len(members) == 1 + len(images)
    assert reader.entries()[3] == reader.entry(3)


@pytest.mark.parametrize("i", [-1, 12])
def test_a_number_outside_is_an_index_error(tiny_run: Path, i: int) -> None:
    with pytest.raises(IndexError, match="of 12"):
        SampleReader(tiny_run).entry(i)
    with pytest.raises(IndexError, match="of 12"):
        MapStyle(tiny_run)[i]


def test_a_folder_without_an_index_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"has no index\.parquet.*run the same command again"):
        SampleReader(tmp_path)


def test_a_missing_shard_is_named_and_stops_the_stream(own_run: Path) -> None:
    (index.shard_dir(own_run) / "shard-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"shard-000001\.tar: is in the index but missing"):
        keys(stream(own_run))


def test_a_cut_shard_is_a_broken_sample(own_run: Path) -> None:
    tar = index.shard_dir(own_run) / "shard-000002.tar"
    tar.write_bytes(tar.read_bytes()[:-2000])
    with pytest.raises(SampleError, match="the tar was cut"):
        SampleReader(own_run).read(11)
    assert SampleReader(own_run).read(10)[0].key == "blob03-001"


def test_verification_may_be_left_out(own_run: Path) -> None:
    entry = SampleReader(own_run).entry(0)
    damage(own_run, 0)
    with pytest.raises(SampleError, match="do not have the sha256 of the index"):
        SampleReader(own_run).read_bytes(0)
    assert len(SampleReader(own_run, verify=False).read_bytes(0)) == entry.length


@pytest.mark.parametrize("remainder", ["drop", "pad"])
@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 3), (2, 2), (5, 1), (5, 2), (12, 2)])
def test_parts_have_every_sample_once_and_ranks_equally_many(
    tiny_run: Path, world: int, workers: int, remainder: str
) -> None:
    counts: Counter[str] = Counter()
    by_rank = [0] * world
    for rank in range(world):
        for worker in range(workers):
            part = stream(tiny_run, Part(rank, world, worker, workers), remainder=remainder)
            expected = len(part)
            got = keys(part)
            assert len(got) == expected
            assert part.state_dict() | {"index_hash": 0, "shards": {}} == {
                "epoch": 1,
                "done": 0,
                "seed": 0,
                "index_hash": 0,
                "shards": {},
            }
            by_rank[rank] += len(got)
            counts.update(got)
    assert set(by_rank) == {12 // world if remainder == "drop" else -(-12 // world)}
    if remainder == "drop":
        assert set(counts.values()) == {1}
        assert len(counts) == 12 // world * world
    else:
        assert len(counts) == 12
        assert sum(counts.values()) - 12 == -12 % world


@given(
    data=st.data(),
    first=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    second=st.tuples(st.integers(1, 4), st.integers(1, 3)),
)
@settings(max_examples=12, deadline=None)
def test_saved_after_any_step_the_rest_is_the_same_on_any_readers(
    tiny_run: Path, data: st.DataObject, first: tuple[int, int], second: tuple[int, int]
) -> None:
    world, workers = first
    taken = data.draw(st.integers(0, 12 // (world * workers)), label="samples of each reader")
    readers = [
        stream(tiny_run, Part(rank, world, worker, workers))
        for rank in range(world)
        for worker in range(workers)
    ]
    seen = [sample.key for reader in readers for sample in islice(reader, taken)]
    states = [reader.state_dict() for reader in readers]
    assert states == [states[0]] * len(states)
    rest: list[str] = []
    for rank in range(second[0]):
        for worker in range(second[1]):
            reader = stream(tiny_run, Part(rank, second[0], worker, second[1]), seed=77)
            reader.load_state_dict(states[0])
            if reader.state_dict()["epoch"] == 0:
                rest += keys(reader)
    assert len(set(seen) | set(rest)) == len(seen) + len(rest)  # none twice
    left = 12 - len(seen)
    assert len(rest) == left // second[0] * second[0]


def test_resumed_alone_the_rest_comes_in_the_same_order(tiny_run: Path) -> None:
    undisturbed = keys(stream(tiny_run))
    for taken in range(12):
        reader = stream(tiny_run)
        seen = [sample.key for sample in islice(reader, taken)]
        again = stream(tiny_run)
        again.load_state_dict(reader.state_dict())
        assert seen + keys(again) == undisturbed


def test_epochs_follow_each_other_in_different_orders(tiny_run: Path) -> None:
    reader = stream(tiny_run)
    first, second = keys(reader), keys(reader)
    assert sorted(first) == sorted(second)
    assert first != second
    resumed = stream(tiny_run)
    resumed.load_state_dict(reader.state_dict() | {"epoch": 1})
    assert keys(resumed) == second


def test_a_filter_chooses_samples_by_key_or_by_entry(tiny_run: Path) -> None:
    held_out = {"blob01-001", "blob03-000"}
    assert set(keys(ShardStream(tiny_run, SMALL, keys=held_out))) == held_out
    rest = ShardStream(tiny_run, SMALL, where=lambda entry: entry.key not in held_out)
    assert len(keys(rest)) == 10
    one = ShardStream(tiny_run, SMALL, keys=held_out, where=lambda entry: entry.uid == "blob01")
    assert keys(one) == ["blob01-001"]
    with pytest.raises(ShardError, match="belongs to other samples"):
        one.load_state_dict(rest.state_dict())


def test_nothing_to_read_is_one_clear_error(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="1 of the keys asked for are not in the index, 'nobody'"):
        ShardStream(tiny_run, keys={"nobody"})
    with pytest.raises(ShardError, match="the index lists 12, the filter left none"):
        ShardStream(tiny_run, where=lambda entry: False)
    with pytest.raises(ShardError, match="12 samples are too few for 13 ranks"):
        ShardStream(tiny_run, part=Part(0, 13))
    ShardWriter(tmp_path / "empty", 1).finish()
    with pytest.raises(ShardError, match="its index lists no samples"):
        MapStyle(tmp_path / "empty")


def test_an_impossible_worker_is_refused(tiny_run: Path) -> None:
    with pytest.raises(ValueError, match="is no part"):
        ShardStream(tiny_run, part=Part(worker=2, workers=2))


def test_a_broken_sample_is_stood_in_for_counted_and_named(own_run: Path) -> None:
    broken = damage(own_run, 4)
    reader = stream(own_run)
    samples = list(reader)
    assert len(samples) == 12
    assert [s.key for s in samples if s.stand_in_for == broken] == ["blob01-002"]
    assert sum(bool(s.stand_in_for) for s in samples) == 1
    assert list(reader.broken) == [broken]
    assert "sha256" in reader.broken[broken]


def test_too_many_broken_samples_stop_the_stream(own_run: Path) -> None:
    broken = {damage(own_run, number) for number in (1, 2, 11)}
    assert set(keys(stream(own_run, max_broken=3))).isdisjoint(broken)
    with pytest.raises(ShardError, match="3 broken samples, more than max_broken=2"):
        keys(stream(own_run, max_broken=2))
    with pytest.raises(ShardError, match="1 broken samples, more than max_broken=0"):
        keys(stream(own_run, max_broken=0))


def test_a_run_of_broken_samples_only_ends(own_run: Path) -> None:
    for number in range(12):
        damage(own_run, number)
    with pytest.raises(ShardError, match="none of 12 selected samples can be read"):
        keys(stream(own_run, max_broken=99))


def test_map_style_is_a_sequence_of_plain_dicts_and_pickles(tiny_run: Path) -> None:
    dataset = MapStyle(tiny_run, SMALL, where=lambda entry: entry.clip_index == 0)
    again = pickle.loads(pickle.dumps(dataset))
    assert len(again) == 4
    for mine, theirs in zip(list_of(dataset), list_of(again), strict=True):
        assert mine["key"] == theirs["key"]
        np.testing.assert_array_equal(mine["front"]["rgb"], theirs["front"]["rgb"])


def test_the_sampler_and_the_stream_agree(tiny_run: Path) -> None:
    dataset = MapStyle(tiny_run, SMALL)
    sampler = dataset.sampler(rank=1, world=2)
    by_hand = [dataset[i]["key"] for i in sampler]
    assert by_hand == keys(stream(tiny_run, Part(1, 2)))
    state = sampler.state_dict()
    assert set(state.pop("shards")) == {"shard-000000", "shard-000001", "shard-000002"}
    assert all(isinstance(value, int) for value in state.values())


def test_a_changed_index_or_window_is_another_stream(own_run: Path) -> None:
    before = stream(own_run).state_dict()
    with pytest.raises(ShardError, match="window_shards changed"):
        stream(own_run, window_shards=3).load_state_dict(before)
    writer = ShardWriter(own_run, 1)
    writer.withdraw("shard-000002", own_run / "back", keep=set())
    writer.finish()
    with pytest.raises(ShardError, match=r"1 shards missing \(shard-000002\)"):
        stream(own_run).load_state_dict(before)


def test_shards_that_changed_since_a_state_was_saved_are_named(own_run: Path) -> None:
    before = stream(own_run).state_dict()
    first, second = sorted((own_run / "shards").glob("*.tar"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-7])
    with pytest.raises(ShardError, match=r"shard-000000 is missing; shard-000001 has \d+ bytes"):
        stream(own_run).load_state_dict(before)


def test_samples_taken_down_are_skipped_at_once_and_states_stay_valid(own_run: Path) -> None:
    open_stream = stream(own_run)
    state = open_stream.state_dict()
    add_tombstones(own_run, {"blob00": "asked for", "blob01-001": "wrong licence"})
    gone = {"blob00-000", "blob00-001", "blob00-002", "blob01-001"}
    for some in (open_stream, stream(own_run)):
        some.load_state_dict(state)
        met = [(view.key, view.stand_in_for) for view in some]
        assert not gone & {key for key, _ in met}
        assert {lost for _, lost in met if lost} == gone
        assert len(met) == 12
        assert some.broken == {}


def test_a_sample_taken_down_is_not_read_singly_either(own_run: Path) -> None:
    reader = SampleReader(own_run)
    data = reader.read_bytes(4)
    add_tombstones(own_run, {"blob01": ""})
    for some in (reader, SampleReader(own_run)):
        for number in (3, 4, 5):
            with pytest.raises(TakenDown, match=r"'blob01-00.' was taken down"):
                some.read_bytes(number)
        with pytest.raises(TakenDown):
            some.read(4, data)
        met = [meta.key for meta, _ in some]
        assert met == [key for key in some.column("key") if not key.startswith("blob01")]


@pytest.mark.parametrize("world", [1, 2, 5])
def test_ranks_keep_equally_many_when_samples_are_taken_down_midway(
    own_run: Path, world: int
) -> None:
    ranks = [stream(own_run, Part(rank, world)) for rank in range(world)]
    runs = [iter(rank) for rank in ranks]
    met = [[next(run).key] for run in runs]
    add_tombstones(own_run, {"blob02": "", "blob00-001": ""})
    rest = [[view.key for view in run] for run in runs]
    assert {len(first + more) for first, more in zip(met, rest, strict=True)} == {12 // world}
    gone = {"blob02-000", "blob02-001", "blob02-002", "blob00-001"}
    assert not gone & {key for more in rest for key in more}


def test_a_damaged_list_of_takedowns_stops_reading(own_run: Path) -> None:
    (own_run / "tombstones.json").write_bytes(b"{}")
    with pytest.raises(ShardError, match=r"tombstones.json: cannot be read"):
        stream(own_run)


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("motion > 0.05", lambda e, m: m > 0.05),
        ("clip_index == 1 or uid == 'blob02'", lambda e, m: e.clip_index == 1 or e.uid == "blob02"),
        ("not 0.01 <= motion < 0.2", lambda e, m: not 0.01 <= m < 0.2),
        ("frames >= 6 and missing > 0", lambda e, m: False),
    ],
)
def test_filters_are_text_over_scores(tiny_run: Path, text: str, law: Any) -> None:
    accept = parse_where(text)
    accept = pickle.loads(pickle.dumps(accept))
    for entry in SampleReader(tiny_run).entries():
        assert accept(entry) == law(entry, json.loads(entry.scores)["motion"])


def test_a_filter_selects_samples(tiny_run: Path) -> None:
    assert len(MapStyle(tiny_run, SMALL, where="clip_index == 0")) == 4


@pytest.mark.parametrize("text", ["motion", "motion >", "f(1) > 2", "motion in (1, 2)", "a.b > 1"])
def test_other_text_is_no_filter(text: str) -> None:
    with pytest.raises(ConfigError, match="expected comparisons such as"):
        parse_where(text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stock_data_loader_gives_the_samplers_order(tiny_run: Path, workers: int) -> None:
    from torch.utils.data import DataLoader

    dataset: Any = MapStyle(tiny_run, SMALL)  # torch's annotations ask for its own base class
    sampler = dataset.sampler(batch_size=5)
    state = sampler.state_dict()
    loader = DataLoader(dataset, batch_size=5, sampler=sampler, num_workers=workers)
    met: list[str] = []
    for batch in loader:
        assert batch["front"]["rgb"].shape == (5, 1, 16, 16, 3)
        met += batch["key"]
        sampler.advance()
        if len(met) == 5:
            state = sampler.state_dict()
    assert met == [dataset[i]["key"] for i in dataset.sampler(batch_size=5)]
    resumed = dataset.sampler(batch_size=5)
    resumed.load_state_dict(state)
    rest = [k for batch in DataLoader(dataset, batch_size=5, sampler=resumed) for k in batch["key"]]
    assert rest == met[5:]
