"""The law of the window: bounded, nothing lost, the longest first, nobody starved."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.clip import Job
from curate.config import BuildConfig
from curate.cost import COEFFICIENTS, Size, terms
from curate.display import eta_s
from curate.sources import Source
from curate.window import Window

CONFIG = BuildConfig()


def job(number: int) -> Job:
    source = Source(f"a{number:06d}", f"{number:06d}.glb", Path("x"), Path())
    return Job(source, CONFIG, {}, Path(), {})


def number_of(taken: Job) -> int:
    return int(taken.source.uid[1:])


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 12), st.integers(1, 6), st.data())
def test_whoever_finishes_when(
    costs: list[float], size: int, workers: int, data: st.DataObject
) -> None:
    window = Window(map(job, range(len(costs))), size, lambda j: costs[number_of(j)], len(costs))
    busy: list[Job] = []
    begun: list[int] = []
    finished: set[int] = set()
    while True:
        while len(busy) < workers and (taken := window.take()) is not None:
            busy.append(taken)
            begun.append(number_of(taken))
            oldest = next(n for n in range(len(costs)) if n not in finished)
            assert begun[-1] < oldest + size  # no further ahead than the window
        if not busy:
            break
        done = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
        finished.add(number_of(done))
        window.finish(done)
        expected = sum(c for n, c in enumerate(costs) if n not in finished)
        if window.exhausted():
            assert window.left_s() == pytest.approx(expected)
    assert window.exhausted()
    assert sorted(begun) == list(range(len(costs)))  # all, and each once
    assert window.finished == window.started == len(costs)


def test_the_longest_of_the_window_goes_first() -> None:
    costs = [1.0, 5.0, 2.0, 9.0, 3.0, 8.0, 99.0]
    window = Window(map(job, range(4)), 8, lambda j: costs[number_of(j)])
    assert [number_of(t) for _ in range(4) if (t := window.take())] == [3, 1, 2, 0]


def test_whom_half_a_window_has_overtaken_goes_next() -> None:
    window = Window(map(job, range(20)), 8, lambda j: float(number_of(j)))
    taken = [number_of(t) for _ in range(6) if (t := window.take())]
    assert taken == [7, 6, 5, 4, 0, 1]  # the first is the shortest of all


def test_a_slow_oldest_asset_holds_the_others_back() -> None:
    window = Window(map(job, range(1000)), 10)
    first = window.take(in_order=True)
    assert first is not None
    others = 0
    while (other := window.take()) is not None:
        window.finish(other)
        others += 1
    assert others == 9
    assert not window.exhausted()
    window.finish(first)
    assert window.take() is not None


def test_assets_are_looked_at_only_when_they_come_into_the_window() -> None:
    looked: list[int] = []

    def look(number: int) -> Job:
        looked.append(number)
        return job(number)

    window = Window(map(look, range(10**9)), 5)
    assert window.take() is not None
    assert len(looked) == 5


def test_what_is_left_is_told_from_what_was_seen() -> None:
    window = Window(map(job, range(100)), 10, lambda _: 3.0, total=100)
    assert window.take() is not None
    assert window.left_s() == pytest.approx(300.0)
    rest = list(window.in_order())
    assert len(rest) == 9  # the first is not finished


def test_eta_counts_what_assets_cost_and_how_fast_the_machine_is() -> None:
    costs = [10.0] * 5 + [1.0] * 5
    window = Window(map(job, range(10)), 20, lambda j: costs[number_of(j)], total=10)
    assert eta_s(0.0, window) is None
    for _ in range(5):
        taken = window.take()
        assert taken is not None
        window.finish(taken)
    # 50 of 55 are done: by counting assets it would be another 25
    assert eta_s(25.0, window) == pytest.approx(2.5)


def test_what_a_hostile_header_claims_costs_nothing() -> None:
    sane, huge, none = Size(1.0, 4, 10_000, 0.0), Size(1.0, 4, 4e8, 0.0), Size(9.0, 0, 10_000, 0.0)
    cost = [float(terms(size, CONFIG) @ np.array(COEFFICIENTS)) for size in (sane, huge, none)]
    assert cost[1] == cost[2] == COEFFICIENTS[0] < cost[0]


def test_more_images_cost_more_unless_nothing_is_rendered() -> None:
    few, many = BuildConfig(), BuildConfig.load(None, ["render.sequences.frames=48"])
    only = BuildConfig.load(None, ["curate.score_only=true"])
    size = Size(1.0, 4, 10_000, 0.0)
    cost = [float(terms(size, config) @ np.array(COEFFICIENTS)) for config in (only, few, many)]
    assert cost[0] < cost[1] < cost[2]
