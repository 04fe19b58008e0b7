from pathlib import Path

import pytest

from shards.files import clear_temporaries, dump_json, sha256_of, temporary_for, write_atomic


def test_a_file_is_replaced_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_run_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"whole")
    temporary_for(path).write_bytes(b"ha")
    clear_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_canonical_and_refuses_nan() -> None:
    assert dump_json({"b": 1, "a": "ü"}) == '{"a": "ü", "b": 1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json(float("inf"))


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")
