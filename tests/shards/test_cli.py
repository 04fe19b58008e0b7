from pathlib import Path

import pytest
from typer.testing import CliRunner

from shards import index
from shards.cli import app
from shards.tombstones import add_tombstones
from tests.make_shards import make_run


def invoke(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_check_says_that_all_is_whole(tiny_run: Path) -> None:
    status, text = invoke("check", tiny_run)
    assert status == 0
    assert "3 shards, 12 samples: all whole" in text


def test_check_names_each_fault_and_what_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=1, clips=2, frames=1, size=4, per_shard=1)
    tar = index.tars(run)[1]
    tar.write_bytes(tar.read_bytes()[:-1])
    status, text = invoke("check", run)
    assert status == 1
    assert "shard-000001: is " in text
    assert "-> copy the shard here again" in text


def test_ls_lists_keys_sizes_frames_and_m(tiny_run: Path) -> None:
    status, text = invoke("ls", tiny_run)
    assert status == 0
    for key in ("blob00-000", "blob03-002"):
        assert key in text
    assert "12 of 12 samples shown" in text
    status, text = invoke("ls", tiny_run, "--limit", 1)
    assert "blob00-000" in text
    assert "blob00-001" not in text


def test_ls_filters_and_marks_what_was_taken_down(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=2, clips=2, frames=1, size=4)
    add_tombstones(run, {"blob01": ""})
    status, text = invoke("ls", run, "--where", "clip_index == 1")
    assert status == 0
    assert "blob01-001 (taken down)" in text
    assert "blob00-001 (" not in text
    assert "2 of 2 samples shown" in text
    status, text = invoke("ls", run, "--where", "clip_index")
    assert status == 1
    assert "expected comparisons such as" in text


@pytest.mark.parametrize("verb", ["check", "ls"])
def test_a_wrong_folder_is_an_error_without_a_traceback(verb: str, tmp_path: Path) -> None:
    status, text = invoke(verb, tmp_path)
    assert status == 1
    assert "error:" in text
    assert "no finished RUN folder" in text


@pytest.mark.parametrize("verb", ["check", "ls"])
def test_help_shows_an_example(verb: str) -> None:
    status, text = invoke(verb, "--help")
    assert status == 0
    assert f"Example: orbit4d shards {verb} out/run1" in text
