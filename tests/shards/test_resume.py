"""Exact and elastic resuming: what was seen and the rest of the epoch are all samples, once."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.order import EpochSampler, OrderConfig
from shards.read import MapStyle, Part, ShardStream, StreamConfig
from tests.make_shards import make_run

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)
SMALL = StreamConfig(sequences=("orbit",), background=None, dtype="uint8", frames=1)


def ranks_of(
    sizes: list[int], config: OrderConfig, world: int, batch: int, state: dict[str, Any] | None
) -> list[EpochSampler]:
    made = [
        EpochSampler(sizes, config, rank=r, world=world, batch_size=batch) for r in range(world)
    ]
    for rank in made if state else []:
        rank.load_state_dict(state or {})
    return made


@pytest.mark.parametrize("remainder", ["drop", "pad"])
@given(sizes=SIZES, data=st.data())
@settings(max_examples=60, deadline=None)
def test_seen_and_rest_are_the_whole_epoch_after_any_number_of_interruptions(
    remainder: str, sizes: list[int], data: st.DataObject
) -> None:
    config = OrderConfig.model_validate({"remainder": remainder, "window_shards": 3})
    total = sum(sizes)
    seen: Counter[int] = Counter()
    state: dict[str, Any] | None = None
    odd = 0  # dropped, or filled up, because they made no whole step
    for _ in range(data.draw(st.integers(1, 4))):
        world = data.draw(st.integers(1, min(total, 4)))
        batch = data.draw(st.integers(1, max(total // world, 1)))
        ranks = ranks_of(sizes, config, world, batch, state)
        if ranks[0].epoch:
            continue  # less is left than one step of so many
        steps = data.draw(st.integers(0, len(ranks[0]) // batch))
        for rank in ranks:
            seen.update(list(rank)[: steps * batch])
            rank.advance(steps)
        assert len({json.dumps(rank.state_dict()) for rank in ranks}) == 1
        state = ranks[0].state_dict()
        if state["epoch"]:
            odd = world * batch - 1
            break
    else:
        seen.update(ranks_of(sizes, config, 1, 1, state)[0])
    if remainder == "drop":
        assert set(seen.values()) <= {1}
        assert total - len(seen) <= odd
    else:
        assert len(seen) == total
        assert sum(seen.values()) - total <= odd


@given(sizes=SIZES, epochs=st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_every_epoch_has_an_order_of_its_own(sizes: list[int], epochs: int) -> None:
    sampler = EpochSampler(sizes, OrderConfig())
    orders: list[tuple[int, ...]] = []
    for epoch in range(epochs):
        assert sampler.epoch == epoch
        orders.append(tuple(sampler))
        sampler.advance(len(sampler))
    assert all(sorted(order) == list(range(sum(sizes))) for order in orders)
    if sum(sizes) > 8:  # 9! orders: equal ones would be a fault, not chance
        assert len(set(orders)) == epochs


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_streams_saved_and_resumed_at_other_sizes_miss_and_repeat_nothing(
    tiny_run: Path, data: st.DataObject
) -> None:
    world = data.draw(st.sampled_from([3, 1, 2]))
    later = data.draw(st.sampled_from([(2, 4), (1, 1), (4, 1)]))
    steps = data.draw(st.integers(0, 12 // world))
    seen: Counter[str] = Counter()
    state: dict[str, Any] = {}
    for rank in range(world):  # a rank's workers take turns, so it has had `steps` in order
        stream = ShardStream(tiny_run, SMALL, part=Part(rank, world))
        for _, view in zip(range(steps), stream, strict=False):
            seen[view.key] += 1
        state = stream.state_dict()
    if state["epoch"] == 0:
        for rank in range(later[0]):
            for worker in range(later[1]):
                part = Part(rank, later[0], worker, later[1])
                rest = ShardStream(tiny_run, SMALL, part=part)
                rest.load_state_dict(state)
                if rest.place.epoch == 0:
                    seen.update(view.key for view in rest)
    assert set(seen.values()) <= {1}
    assert 12 - len(seen) < later[0] or state["epoch"]


def test_more_readers_than_shards_read_everything_and_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=1, clips=4, frames=1, size=4, per_shard=4)
    parts = [Part(rank, 2, worker, 4) for rank in range(2) for worker in range(4)]
    met = [view.key for part in parts for view in ShardStream(run, SMALL, part=part)]
    assert sorted(met) == sorted(MapStyle(run, SMALL).reader.column("key"))


@pytest.mark.parametrize(
    ("window", "nearest", "furthest"), [(1, 0.004, 0.006), (16, 0.08, 0.09), (64, 0.32, 0.35)]
)
def test_how_well_a_window_shuffles(window: int, nearest: float, furthest: float) -> None:
    """The figure that ``OrderConfig.window_shards`` states.

    Mean distance in the order between samples of one shard, as a share of all: a perfect shuffle
    has a third.
    """
    sizes = [32] * 64
    place = np.empty(sum(sizes))
    place[EpochSampler(sizes, OrderConfig(window_shards=window)).order()] = np.arange(sum(sizes))
    shards = place.reshape(64, 32) / place.size
    spread = float(np.mean(np.abs(shards[:, :, None] - shards[:, None, :]))) * 32 / 31
    assert nearest <= spread <= furthest, spread


def job(run: Path, log: Path, meeting: Path, world: int, *numbers: int) -> list[int]:
    """Run all ranks of ``resume_job`` and return their exit statuses."""
    about = {
        **os.environ,
        "WORLD_SIZE": str(world),
        "MEETING": str(meeting),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-W", "ignore", "-m", "tests.shards.resume_job", str(run), str(log)]
    ranks = [
        subprocess.Popen(
            [*words, *map(str, numbers)],
            env=about | {"RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    outs = [rank.communicate(timeout=100)[1] for rank in ranks]
    statuses = [rank.returncode for rank in ranks]
    assert set(statuses) <= {0, -9}, outs
    return statuses


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_job_goes_on_at_another_size_with_what_is_left(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=8, clips=6, frames=1, size=4, per_shard=5)
    log = tmp_path / "log.jsonl"
    assert job(run, log, tmp_path / "a", 3, 2, 2, 3) == [-9] * 3  # 3 ranks x 2 workers, batch 2
    assert job(run, log, tmp_path / "b", 2, 3, 4, 2) == [-9] * 2  # 2 x 4, batch 3
    assert job(run, log, tmp_path / "c", 1, 1, 0, 0) == [0]  # 1 x 0, batch 1, to the end
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    seen = Counter(key for line in lines for key in line["keys"])
    assert sum(seen.values()) == 48
    assert set(seen) == set(MapStyle(run, SMALL).reader.column("key"))
    assert lines[-1]["state"]["epoch"] == 1
