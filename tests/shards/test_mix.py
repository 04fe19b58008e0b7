from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.batches import SharedBatches
from shards.errors import ShardError
from shards.mix import Mixture
from shards.read import MapStyle, StreamConfig
from tests.make_shards import make_run

SMALL = StreamConfig(sequences=("front",), frames=1, background=None, dtype="uint8")


@pytest.fixture(scope="module")
def parts(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[MapStyle]:
    run = tmp_path_factory.mktemp("other") / "run"
    other = make_run(run, assets=2, clips=2, frames=1, size=16, per_shard=3)
    return [MapStyle(tiny_run, SMALL), MapStyle(other, SMALL)]


@given(share=st.integers(0, 20), epochs=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_each_dataset_gives_its_share_and_is_used_up_before_it_repeats(
    parts: list[MapStyle], share: int, epochs: int
) -> None:
    mixed = Mixture(parts, [20 - share, share])
    sampler = mixed.sampler()
    met: list[int] = []
    for _ in range(epochs):
        epoch = list(sampler)
        assert len(epoch) == 16
        assert sum(number >= 12 for number in epoch) == pytest.approx(16 * share / 20, abs=1)
        met += epoch
        sampler.advance(len(epoch))
    for start, size in ((0, 12), (12, 4)):
        own = [number for number in met if start <= number < start + size]
        for first in range(0, len(own), size):
            assert max(Counter(own[first : first + size]).values()) == 1


@given(stop=st.integers(0, 7), world=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_a_mixture_resumes_at_any_size(parts: list[MapStyle], stop: int, world: int) -> None:
    mixed = Mixture(parts, [1, 3])
    first = mixed.sampler(world=2)
    first.advance(8 + stop)  # in its second epoch
    alone = mixed.sampler()
    alone.load_state_dict(first.state_dict())
    rest = list(alone)
    ranks = [mixed.sampler(rank=rank, world=world) for rank in range(world)]
    for rank in ranks:
        rank.load_state_dict(first.state_dict())
    if ranks[0].epoch == 1:
        met = [number for step in zip(*ranks, strict=True) for number in step]
        assert met == rest[: len(met)]
        assert len(rest) - len(met) < world


def test_samples_of_a_mixture_are_those_of_its_parts(parts: list[MapStyle]) -> None:
    mixed = Mixture(parts)
    assert [mixed[i]["key"] for i in (0, 11, 12, 15)] == [
        *(parts[0][i]["key"] for i in (0, 11)),
        *(parts[1][i]["key"] for i in (0, 3)),
    ]
    batch = SharedBatches(mixed, batch_size=2).__getitems__([3, 13])
    np.testing.assert_array_equal(
        batch.sequences["front"]["rgba"][1], parts[1].view(1).sequences["front"].images
    )


def test_other_weights_are_another_stream_and_senseless_ones_are_refused(
    parts: list[MapStyle],
) -> None:
    state = Mixture(parts, [1, 1]).sampler().state_dict()
    with pytest.raises(ShardError, match="belongs to other samples"):
        Mixture(parts, [1, 2]).sampler().load_state_dict(state)
    for weights in ([1], [-1, 2], [0, 0]):
        with pytest.raises(ShardError, match="cannot be mixed"):
            Mixture(parts, weights)
