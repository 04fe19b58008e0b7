"""Clones are made once, lent to many, and removed when nobody has them."""

import fcntl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from curate.clones import clone_of, lent, remove_forgotten, remove_unused

_BASE = "https://github.com/owner/repo/blob"


def make(place: Path) -> None:
    (place / "inside").mkdir(parents=True)


def test_objects_of_one_commit_are_in_one_clone() -> None:
    one, other, later = (
        clone_of(f"{_BASE}/{tail}") for tail in ("a1/x.glb", "a1/deep/y z.glb", "b2/x.glb")
    )
    assert one is not None
    assert other is not None
    assert later is not None
    assert one[0] == other[0] != later[0]
    assert other[1] == Path("github/repos/owner/repo/deep/y z.glb")


@pytest.mark.parametrize(
    "address",
    ["", f"{_BASE}/a1/", f"{_BASE}/a1/../../x.glb", "https://github.com/../r/blob/a1/x.glb",
     "https://github.com/o/r/tree/a1/x.glb", "https://elsewhere.org/o/r/blob/a1/x.glb"],
)  # fmt: skip
def test_other_addresses_have_no_clone(address: str) -> None:
    assert clone_of(address) is None


def test_whoever_comes_second_waits_and_gets_the_first_ones(tmp_path: Path) -> None:
    made: list[int] = []

    def slowly(place: Path) -> None:
        time.sleep(0.2)
        made.append(1)
        make(place)

    def borrow() -> None:
        with lent(tmp_path, "clone-a", slowly) as place:
            assert (place / "inside").is_dir()

    threads = [threading.Thread(target=borrow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_many_use_one_at_the_same_time(tmp_path: Path) -> None:
    with lent(tmp_path, "clone-a", make) as one, lent(tmp_path, "clone-a", make) as other:
        assert one == other
        assert remove_unused(tmp_path) == 0
    assert remove_unused(tmp_path) == 1


def test_what_is_lent_is_not_removed_and_what_is_given_back_is(tmp_path: Path) -> None:
    with lent(tmp_path, "clone-a", make), lent(tmp_path, "clone-b", make):
        assert remove_unused(tmp_path) == 0
    remove_forgotten(tmp_path)
    assert (tmp_path / "clone-a").exists()  # used a moment ago
    assert remove_unused(tmp_path, most=1) == 1
    assert not (tmp_path / "clone-a").exists()  # the older one
    assert remove_unused(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    with lent(tmp_path, "clone-a", make) as place:
        assert place.exists()


def test_a_clone_that_fails_leaves_nothing_and_the_next_may_try(tmp_path: Path) -> None:
    def fail(place: Path) -> None:
        raise ValueError("no such repository")

    with pytest.raises(ValueError, match="no such"), lent(tmp_path, "clone-a", fail):
        pass
    assert list(tmp_path.iterdir()) == []
    with lent(tmp_path, "clone-a", make) as place:
        assert place.exists()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "clone-a")
    real, waited = fcntl.flock, list[int]()

    def flock(lock: Any, how: int) -> None:
        real(lock, how)
        waited.append(how)
        if len(waited) == 1:  # whoever had it before
            Path(lock.name).unlink()

    monkeypatch.setattr("curate.clones.fcntl.flock", flock)
    with lent(tmp_path, "clone-a", make):
        assert len(waited) > 1
        assert remove_unused(tmp_path) == 0
    assert remove_unused(tmp_path) == 1
