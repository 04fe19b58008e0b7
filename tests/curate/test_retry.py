"""What is tried again, how often, and the command that does a clip alone."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from curate.retry import command_alone, persist
from curate.sources import Remote, Source, uid_for
from render.config import RetryConfig
from render.runner import BlenderFault, FaultKind

RETRY = RetryConfig(crashes_max=2, machine_faults_max=4, pause_s=0.5, pause_max_s=1.5)


def fault(kind: FaultKind = "crash", signal: str = "SIGSEGV", operation: str = "render"):
    return BlenderFault(kind, "Blender came to grief", "last line", signal, operation)


def script(*steps: BlenderFault | None) -> tuple[Callable[[], str], list[BlenderFault | None]]:
    """Return an attempt that raises these in turn, and what it did not come to."""
    left = list(steps)

    def attempt() -> str:
        step = left.pop(0)
        if step is not None:
            raise step
        return "done"

    return attempt, left


def test_one_crash_is_tried_again_at_once() -> None:
    attempt, left = script(fault(), None)
    pauses: list[float] = []
    assert persist(attempt, RETRY, pauses.append) == "done"
    assert (left, pauses) == ([], [])


def test_the_second_crash_is_believed() -> None:
    attempt, left = script(fault(), fault(), None)
    with pytest.raises(BlenderFault, match="grief") as caught:
        persist(attempt, RETRY, lambda _: None)
    assert (caught.value.attempts, left) == (2, [None])


def test_kills_from_outside_are_tried_more_often_with_growing_pauses() -> None:
    killed = [fault(signal="SIGKILL") for _ in range(4)]
    pauses: list[float] = []
    attempt, _ = script(*killed)
    with pytest.raises(BlenderFault, match="grief") as caught:
        persist(attempt, RETRY, pauses.append)
    assert (caught.value.attempts, pauses) == (4, [0.5, 1.0, 1.5])
    attempt, _ = script(fault(operation="start", signal=""), fault(signal="SIGTERM"), None)
    assert persist(attempt, RETRY, lambda _: None) == "done"


def test_kills_do_not_count_as_crashes() -> None:
    attempt, _ = script(fault(signal="SIGKILL"), fault(), fault(signal="SIGKILL"), None)
    assert persist(attempt, RETRY, lambda _: None) == "done"


@pytest.mark.parametrize("kind", ["timeout", "memory", "load", "error"])
def test_what_would_end_the_same_way_is_not_tried_again(kind: FaultKind) -> None:
    attempt, left = script(fault(kind, signal=""), None)
    with pytest.raises(BlenderFault, match="grief"):
        persist(attempt, RETRY, lambda _: None)
    assert left == [None]


def test_a_fault_that_had_its_tries_is_not_given_more_by_an_outer_loop() -> None:
    attempt, left = script(fault(), fault(), None)
    with pytest.raises(BlenderFault, match="grief"):
        persist(lambda: persist(attempt, RETRY), RETRY)
    assert left == [None]


def test_the_command_names_all_that_decides_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a fox.glb"
    source = Source(uid_for("a fox.glb"), "a fox.glb", file, tmp_path)
    words = ["orbit4d", "render", "one", str(file), "--clip", "3", "--run", "/runs/r"]
    assert shlex.split(command_alone(source, 3, Path("/runs/r"))) == words
    deeper = replace(source, uid="fox-1", root=tmp_path.parent)
    more = ["--uid", "fox-1", "--root", str(tmp_path.parent)]
    assert shlex.split(command_alone(deeper, 3, Path("/runs/r"))) == words + more


@pytest.mark.parametrize(
    ("remote", "given"),
    [
        (Remote("url", "s3://bucket/fox.glb"), "s3://bucket/fox.glb"),
        (Remote("objaverse", "glbs/000-000/x.glb"), "objaverse:"),
    ],
)
def test_the_command_names_remote_assets_as_the_command_line_takes_them(
    remote: Remote, given: str
) -> None:
    source = Source("x", "x.glb", Path("/cache/x.glb"), Path("/cache"), remote=remote)
    words = shlex.split(command_alone(source, 0, Path("/runs/r")))
    assert words[3] == given
    assert words[-2:] == ["--uid", "x"]
