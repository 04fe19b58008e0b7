from dataclasses import replace
from pathlib import Path

import pytest

from shards.index import IndexEntry
from shards.read import SampleReader
from train.split import split_clips


def entries(clips_of: dict[str, int]) -> list[IndexEntry]:
    blank = IndexEntry("", "", 0, "shard-000000", 0, 0, "", 24, "", 1.0, "{}")
    return [
        replace(blank, key=f"{uid}-{clip:03d}", uid=uid, clip_index=clip)
        for uid, clips in clips_of.items()
        for clip in range(clips)
    ]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5, 0.9])
def test_held_out_clips_have_siblings_in_training(share: float) -> None:
    split = split_clips(entries({"a": 1, "b": 2, "c": 3, "d": 5, "e": 1}), share)
    trained = {key[0] for key in split.train}
    assert split.held_out
    assert {key[0] for key in split.held_out} <= trained
    assert sorted(split.train + split.held_out) == sorted(
        e.key for e in entries({"a": 1, "b": 2, "c": 3, "d": 5, "e": 1})
    )


def test_no_asset_gives_a_second_clip_before_all_gave_one() -> None:
    split = split_clips(entries({name: 4 for name in "abcdefgh"}), 0.25)
    assert sorted(key[0] for key in split.held_out) == list("abcdefgh")


def test_the_share_is_of_all_clips() -> None:
    clips = {name: 3 for name in "abcdefghij"}
    assert len(split_clips(entries(clips), 0.2).held_out) == 6
    assert split_clips(entries(clips), 0).held_out == ()


def test_order_of_the_index_does_not_matter() -> None:
    rows = entries({"a": 2, "b": 3, "c": 4})
    assert split_clips(rows, 0.3).held_out == split_clips(rows[::-1], 0.3).held_out


def test_without_siblings_nothing_is_held_out() -> None:
    assert split_clips(entries({"a": 1, "b": 1}), 0.5).held_out == ()


def test_the_split_is_pinned(tiny_run: Path) -> None:
    split = split_clips(SampleReader(tiny_run).entries(), 0.18)
    assert split.held_out == ("blob01-002", "blob02-000")
