import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import ShardError
from shards.order import EpochSampler, OrderConfig, order

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def test_the_order_for_seed_0_is_pinned() -> None:
    assert order(0, 0, [3, 1, 4, 2], 2).tolist() == [5, 6, 4, 7, 3, 9, 0, 8, 2, 1]
    assert order(0, 1, [3, 1, 4, 2], 2).tolist() == [3, 8, 9, 5, 0, 4, 2, 6, 1, 7]


@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 99), sizes=SIZES, window=st.integers(1, 8))
def test_every_sample_comes_once(seed: int, epoch: int, sizes: list[int], window: int) -> None:
    assert sorted(order(seed, epoch, sizes, window)) == list(range(sum(sizes)))


@given(sizes=SIZES, window=st.integers(1, 8))
def test_a_window_holds_whole_shards(sizes: list[int], window: int) -> None:
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    met = shard_of[order(0, 3, sizes, window)]
    while len(met):
        shards = list(dict.fromkeys(met))[:window]
        count = sum(sizes[shard] for shard in shards)
        assert set(met[:count]) == set(shards)
        met = met[count:]


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(order(seed, epoch, [8] * 8, 2)) for seed in (0, 1) for epoch in range(5)}
    assert len(orders) == 10


def test_no_shards_give_an_empty_order_and_no_window_is_refused() -> None:
    assert order(0, 0, [], 3).dtype == np.int64
    with pytest.raises(ValueError, match="window_shards is 0"):
        order(0, 0, [2], 0)


@pytest.mark.parametrize("remainder", ["drop", "pad"])
@given(data=st.data(), sizes=SIZES, world=st.integers(1, 4), batch=st.integers(1, 3))
def test_ranks_split_the_order_without_overlap_or_loss(
    remainder: str, data: st.DataObject, sizes: list[int], world: int, batch: int
) -> None:
    config = OrderConfig.model_validate({"seed": 5, "window_shards": 2, "remainder": remainder})
    total, stride = sum(sizes), world * batch
    if total < (stride if remainder == "drop" else world):
        return
    ranks = [
        EpochSampler(sizes, config, rank=r, world=world, batch_size=batch) for r in range(world)
    ]
    steps = data.draw(st.integers(0, len(ranks[0]) // batch - 1))
    for rank in ranks:
        rank.advance(steps)
    parts = [list(rank) for rank in ranks]
    assert {len(part) for part in parts} == {len(ranks[0])}
    every = order(5, 0, sizes, 2).tolist()
    rest = every[steps * stride :]
    if remainder == "drop":
        expected = rest[: len(rest) // stride * stride]
    else:
        expected = rest + (every * stride)[: -len(rest) % stride]
    # step by step the ranks' batches are consecutive slices of the global order
    met = [
        number
        for step in range(0, len(parts[0]), batch)
        for part in parts
        for number in part[step : step + batch]
    ]
    assert met == expected


@given(sizes=SIZES, data=st.data())
def test_a_saved_place_gives_the_same_rest_at_any_world_size(
    sizes: list[int], data: st.DataObject
) -> None:
    total = sum(sizes)
    world = data.draw(st.integers(1, min(total, 4)))
    first = EpochSampler(sizes, OrderConfig(), world=world, index_hash=7)
    first.advance(data.draw(st.integers(0, total // world - 1)))
    state = first.state_dict()
    other = data.draw(st.integers(1, min(total, 4)))
    ranks = [
        EpochSampler(sizes, OrderConfig(seed=9), rank=rank, world=other, index_hash=7)
        for rank in range(other)
    ]
    for rank in ranks:
        rank.load_state_dict(state)
    rest = order(0, 0, sizes, 16)[state["done"] :]
    if len(rest) < other:
        assert all((rank.epoch, rank.done) == (1, 0) for rank in ranks)
    else:
        parts = [list(rank) for rank in ranks]
        met = [number for step in zip(*parts, strict=True) for number in step]
        assert met == rest[: len(rest) // other * other].tolist()


def test_a_batch_size_may_change_on_resume() -> None:
    first = EpochSampler([10, 10], OrderConfig(), world=2, batch_size=3)
    first.advance(2)
    second = EpochSampler([10, 10], OrderConfig(), batch_size=4)
    second.load_state_dict(first.state_dict())
    assert list(second) == order(0, 0, [10, 10], 16)[12:].tolist()


def test_the_last_step_rolls_into_the_next_epoch() -> None:
    sampler = EpochSampler([5], OrderConfig(), world=2)
    sampler.advance(2)
    assert (sampler.epoch, sampler.done, len(sampler)) == (1, 0, 2)
    assert list(sampler) == order(0, 1, [5], 16)[[0, 2]].tolist()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 0, "done": 0, "seed": 0, "index_hash": 2}, "belongs to other samples"),
        ({"epoch": 0, "done": 0}, r"lacks \['index_hash', 'seed'\]"),
    ],
)
def test_a_foreign_state_is_refused(state: dict[str, int], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        EpochSampler([5], OrderConfig(), index_hash=1).load_state_dict(state)


@pytest.mark.parametrize("remainder", ["drop", "pad"])
def test_fewer_samples_than_ranks_are_one_clear_error(remainder: str) -> None:
    config = OrderConfig.model_validate({"remainder": remainder})
    with pytest.raises(ShardError, match="2 samples are too few for 3 ranks"):
        EpochSampler([2], config, rank=0, world=3)


@pytest.mark.parametrize(("rank", "world", "batch"), [(2, 2, 1), (-1, 2, 1), (0, 0, 1), (0, 1, 0)])
def test_an_impossible_part_is_refused(rank: int, world: int, batch: int) -> None:
    with pytest.raises(ValueError, match="is no part"):
        EpochSampler([9], OrderConfig(), rank=rank, world=world, batch_size=batch)
