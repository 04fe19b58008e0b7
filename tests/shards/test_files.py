import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards.files import (
    clear_temporaries,
    dump_json,
    own_folder,
    sha256_of,
    temporary_for,
    write_atomic,
)


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


def test_folders_of_killed_processes_go_and_those_of_living_and_of_other_machines_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make = "import os, sys; from shards.files import own_folder; print(own_folder(sys.argv[1]))"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    dead, other_kind = (
        Path(
            subprocess.check_output([sys.executable, "-c", make, kind], env=environment, text=True)[
                :-1
            ]
        )
        for kind in ("run", "scratch")
    )
    (dead / "file").touch()
    first = own_folder("scratch")
    (elsewhere := tmp_path / dead.name.replace("-run-", "-run-x")).mkdir()
    mine = own_folder("run")
    assert not dead.exists()
    assert not other_kind.exists()
    assert sorted(tmp_path.iterdir()) == sorted([first, elsewhere, mine])
    assert mine.stat().st_mode & 0o077 == 0


def test_json_is_canonical_and_refuses_nan() -> None:
    assert dump_json({"b": 1, "a": "ü"}) == '{"a": "ü", "b": 1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json(float("inf"))


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")
