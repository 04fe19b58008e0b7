"""Marks become lists of assets; what lists cannot say is said apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from curate.id_lists import read_id_list
from curate.review import judge, read_marks
from shards.errors import ConfigError, RunError

ROWS = [
    {"uid": uid, "clip_index": clip, "sample_key": f"{uid}-{clip:03d}" if clip < 2 else ""}
    for uid in ("a", "b", "c", "d")
    for clip in range(3)
]


def mark(uid: str, clip: int, word: str) -> dict[str, Any]:
    return {"uid": uid, "clip_index": clip, "mark": word}


def test_an_asset_is_listed_where_all_its_marks_agree() -> None:
    marks = [mark("a", 0, "keep"), mark("a", 2, "keep"), mark("b", 1, "drop")]
    marks += [mark("c", 0, "keep"), mark("c", 1, "drop"), mark("c", 2, "drop")]
    found = judge(marks, ROWS)
    assert (found.allow, found.deny, found.mixed) == (["a"], ["b"], ["c"])
    assert found.samples == ["c-001"]  # the third was never rendered


def test_the_last_mark_of_a_clip_counts() -> None:
    found = judge([mark("a", 0, "keep"), mark("a", 0, "drop")], ROWS)
    assert (found.allow, found.deny) == ([], ["a"])


def test_marks_of_another_run_are_refused() -> None:
    with pytest.raises(RunError, match="1 of 2 marked clips are not in this ledger: z #0"):
        judge([mark("a", 0, "keep"), mark("z", 0, "drop")], ROWS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "expected the file that"),
        ('{"orbit4d_review": 2, "marks": []}', "expected the file that"),
        ('{"orbit4d_review": 1, "marks": {}}', "expected a list, found dict"),
        ('{"orbit4d_review": 1, "marks": [{"uid": "a"}]}', r"marks\[0\]: expected uid"),
        (
            json.dumps({"orbit4d_review": 1, "marks": [mark("a", 0, "maybe")]}),
            "expected keep or drop, found 'maybe'",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "review.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_marks(path)


def test_a_list_is_read_as_a_build_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "review.json"
    path.write_text(json.dumps({"orbit4d_review": 1, "marks": [mark("b", 1, "drop")]}))
    found = judge(read_marks(path), ROWS)
    (tmp_path / "deny.txt").write_text("".join(f"{uid}\n" for uid in found.deny))
    assert read_id_list(str(tmp_path / "deny.txt")).names() == {"b"}
