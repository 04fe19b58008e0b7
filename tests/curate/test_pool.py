"""What a pool does about the ways in which Ray says that work is lost; no Ray runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curate.config import BuildConfig
from curate.job import Job
from curate.last_words import LastWords
from curate.pool import Crew, Pool
from curate.sources import Source
from curate.window import Window
from render.config import RetryConfig
from shards.errors import MachineError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

LOST = [
    ray.exceptions.ActorDiedError(),
    ray.exceptions.ActorUnavailableError("away", None),
    ray.exceptions.OutOfMemoryError("its node had no memory left"),
    ray.exceptions.NodeDiedError("gone"),
    ray.exceptions.ObjectLostError("00" * 28, "somebody", "somewhere"),
]


class Answer:
    """A reference: what is got by it."""

    def __init__(self, said: Any) -> None:
        self.said = said


class Actor:
    """Loses its first job."""

    def __init__(self, said: list[Any]) -> None:
        self.ready = SimpleNamespace(remote=lambda needs: Answer(None))
        self.work = SimpleNamespace(remote=lambda job: Answer(said.pop(0)))
        self.close = SimpleNamespace(remote=lambda: Answer(None))


class Ray:
    """As much of Ray as a pool asks for; all answers are there at once."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.killed: list[Actor] = []

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def nodes(self) -> list[Any]:
        return []

    def wait(self, answers: list[Answer], **_: Any) -> tuple[list[Answer], list[Answer]]:
        return answers, []

    def get(self, answer: Answer) -> Any:
        if isinstance(answer.said, Exception):
            raise answer.said
        return answer.said

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_lost_work_is_done_again_by_another_worker_and_the_first_is_ended(
    error: Exception, tmp_path: Path
) -> None:
    fake, made = Ray(), list[Actor]()
    said = [error, {"rows": []}]

    def make() -> Actor:
        made.append(Actor(said))
        return made[-1]

    job = Job(Source("a", "a.glb", tmp_path, tmp_path), BuildConfig(), {}, tmp_path / "a", {})
    retry = RetryConfig(pause_s=0)
    pool = Pool(LastWords(fake, None), Crew(make, 1), None, retry)
    (outcome,) = pool.run(Window([job], 1))
    assert outcome.fault == ""
    assert outcome.document == {"rows": []}
    assert fake.killed == made[:1]
    assert len(made) == 2


class Slow(LastWords):
    """Knows where a worker was, and cannot get at what it wrote."""

    def _place_of(self, actor_id: str) -> tuple[str, str, int]:
        return f"the worker {actor_id}", "node", 7

    def _lines_of(self, node_id: str, pid: int) -> str:
        raise ray.exceptions.GetTimeoutError(f"{node_id} {pid}")


def test_where_a_worker_died_is_said_though_its_log_cannot_be_read(tmp_path: Path) -> None:
    actor = SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: "a1"))
    words = Slow(Ray(), tmp_path / "workers.log")
    assert words.of(actor, ValueError("gone")) == ("the worker a1", "")
    assert "the worker a1: gone" in (tmp_path / "workers.log").read_text()


def test_a_build_ends_whose_own_node_is_gone(tmp_path: Path) -> None:
    fake = Ray()
    fake.nodes = lambda: [{"NodeID": "here", "Alive": False}]  # type: ignore[method-assign]
    job = Job(Source("a", "a.glb", tmp_path, tmp_path), BuildConfig(), {}, tmp_path / "a", {})
    crew = Crew(lambda: Actor([LOST[0]]), 1)
    pool = Pool(LastWords(fake, None), crew, None, RetryConfig(pause_s=0))
    with pytest.raises(MachineError, match=r"that this build is connected to \(here\) is gone"):
        list(pool.run(Window([job], 1)))
