from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from shards.index import IndexEntry
from shards.likeness import Sketch
from shards.read import SampleReader
from train.split import split_clips

Unit = Literal["assets", "clips"]
UNITS: tuple[Unit, ...] = ("assets", "clips")


def entries(clips_of: dict[str, int]) -> list[IndexEntry]:
    blank = IndexEntry("", "", 0, "shard-000000", 0, 0, "", 24, "", 1.0, "{}")
    return [
        replace(blank, key=f"{uid}-{clip:03d}", uid=uid, clip_index=clip)
        for uid, clips in clips_of.items()
        for clip in range(clips)
    ]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5, 0.9])
def test_an_asset_is_on_one_side_whole(share: float) -> None:
    rows = entries({"a": 1, "b": 2, "c": 3, "d": 5, "e": 1})
    split = split_clips(rows, share)
    held_out = {key[0] for key in split.held_out}
    assert held_out
    assert split.train
    assert held_out.isdisjoint(key[0] for key in split.train)
    assert sorted(split.train + split.held_out) == sorted(entry.key for entry in rows)


def test_copies_of_an_asset_are_on_its_side() -> None:
    same = Sketch(12, np.linspace(0.1, 1, 14)).encode()
    shapes = {"a": same, "b": same}
    for unlike in "cdefg":
        rows = [
            replace(entry, geometry=shapes.get(entry.uid, ""), asset_sha256=content)
            for entry in entries(dict.fromkeys("abcdefg", 2))
            for content in ["x" if entry.uid in ("a", unlike) else entry.uid]
        ]
        for share in (0.2, 0.4, 0.6, 0.8):
            held_out = {key[0] for key in split_clips(rows, share).held_out}
            assert len(held_out & {"a", "b", unlike}) in (0, 3)


def test_one_asset_is_trained_on() -> None:
    split = split_clips(entries({"a": 4}), 0.5)
    assert (len(split.train), split.held_out) == (4, ())


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5, 0.9])
def test_held_out_clips_have_siblings_in_training(share: float) -> None:
    split = split_clips(entries({"a": 1, "b": 2, "c": 3, "d": 5, "e": 1}), share, "clips")
    trained = {key[0] for key in split.train}
    assert split.held_out
    assert {key[0] for key in split.held_out} <= trained
    assert sorted(split.train + split.held_out) == sorted(
        e.key for e in entries({"a": 1, "b": 2, "c": 3, "d": 5, "e": 1})
    )


def test_no_asset_gives_a_second_clip_before_all_gave_one() -> None:
    split = split_clips(entries({name: 4 for name in "abcdefgh"}), 0.25, "clips")
    assert sorted(key[0] for key in split.held_out) == list("abcdefgh")


@pytest.mark.parametrize("unit", UNITS)
def test_the_share_is_of_all_clips(unit: Unit) -> None:
    clips = {name: 3 for name in "abcdefghij"}
    assert len(split_clips(entries(clips), 0.2, unit).held_out) == 6
    assert split_clips(entries(clips), 0, unit).held_out == ()


@pytest.mark.parametrize("unit", UNITS)
def test_order_of_the_index_does_not_matter(unit: Unit) -> None:
    rows = entries({"a": 2, "b": 3, "c": 4})
    assert split_clips(rows, 0.3, unit).held_out == split_clips(rows[::-1], 0.3, unit).held_out


def test_without_siblings_nothing_is_held_out() -> None:
    assert split_clips(entries({"a": 1, "b": 1}), 0.5, "clips").held_out == ()


def test_the_split_is_pinned(tiny_run: Path) -> None:
    split = split_clips(SampleReader(tiny_run).entries(), 0.18, "clips")
    assert split.held_out == ("blob01-002", "blob02-000")
