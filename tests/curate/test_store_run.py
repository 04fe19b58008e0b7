"""RUNs in an object store, against a real S3 server on the loopback."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate.sources import find_sources
from shards.check import check_run
from shards.errors import MachineError, RunError
from shards.hold import TakenOver
from shards.objects import Objects
from tests.conftest import Bucket
from tests.curate import staging
from tests.curate.staging import make_inputs
from tests.curate.store_builds import QUICK, SETTINGS, build, open_run, outcome, work

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of botocore and moto


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(
        tmp_path / "in", a="kept kept", b="rejected", c="kept failed", d="kept", e="kept kept"
    )


@pytest.fixture
def calm(inputs: Path, tmp_path: Path) -> Any:
    staging.build(tmp_path / "calm", inputs)
    return staging.outcome(tmp_path / "calm")


@pytest.mark.parametrize("away", [False, True])
def test_a_store_holds_what_a_folder_would(
    s3_bucket: Bucket, inputs: Path, calm: Any, away: bool
) -> None:
    url = f"{s3_bucket.url}/deep/rün 50%"
    assert len(build(url, inputs, away=away)) == 5
    assert outcome(url) == calm
    assert build(url, inputs, away=away) == []
    assert outcome(url) == calm


def test_changed_settings_are_refused_and_stale_samples_replaced(
    s3_bucket: Bucket, inputs: Path, tmp_path: Path
) -> None:
    url = f"{s3_bucket.url}/run"
    build(url, inputs)
    other = SETTINGS.model_copy(update={"seed": 1})
    with pytest.raises(RunError, match="seed: 0, now 1"):
        open_run(url, other)
    (inputs / "a.glb").write_text("kept kept rejected")
    assert build(url, inputs) == ["a.glb"]
    local = tmp_path / "again"
    staging.build(local, inputs)
    assert outcome(url) == staging.outcome(local)


_STRIDE = int(os.environ.get("ORBIT4D_KILL_STRIDE", "5"))  # 1: at every single write


class Killed(BaseException):
    """The process ended here."""


@contextlib.contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the block change the store ``step`` times; from then on nothing reaches it any more."""
    done = [0]

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if done[0] >= step:
                raise Killed
            done[0] += 1
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        for name in ("write", "swap", "delete", "upload"):
            patch.setattr(Objects, name, mortal(getattr(Objects, name)))
        yield done


def test_killed_at_any_write_the_next_build_ends_with_the_same(
    s3_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path / "two", a="kept kept", b="kept failed")
    staging.build(tmp_path / "calm", inputs)
    calm = staging.outcome(tmp_path / "calm")
    monkeypatch.setattr(os, "fsync", lambda _: None)
    still = QUICK.model_copy(update={"lease_s": 1000.0})  # no signs of life between the steps
    settings = SETTINGS.model_copy(update={"store": still})
    monkeypatch.setattr("shards.hold._has_ended", lambda _: True)
    step, steps = 0, 1
    while step < steps:
        url = f"{s3_bucket.url}/run{step}"
        with killed_at(step, monkeypatch) as done:
            build(url, inputs, settings)
        if done[0] == step:
            steps = step + _STRIDE + 1
        build(url, inputs, settings)
        assert outcome(url) == calm, f"killed at write {step}"
        step += _STRIDE
    assert step > 15


def test_a_worker_that_died_leaves_its_finished_clips_to_the_next(
    s3_bucket: Bucket, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3_bucket.url}/run"
    source = find_sources([inputs])[0]
    with contextlib.closing(open_run(url, keeps=False)) as run:
        work(run, source, away=True)
        assert not run.staging(source).exists()
    with contextlib.closing(open_run(url, keeps=False)) as run:
        assert run.begun() == {source.uid}
        assert run.staged_rows(source) is not None
        sample = run.staged(source, f"{source.uid}-000")
        assert sample.stored
        assert sample.size() > 1000


def test_a_build_that_was_replaced_removes_nothing_any_more(
    s3_bucket: Bucket, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3_bucket.url}/run"
    source = find_sources([inputs])[0]
    monkeypatch.setattr("shards.hold._has_ended", lambda _: True)
    old = open_run(url, keeps=False)
    work(old, source, away=True)
    old.finished_rows(source)
    old.discard(source.uid)  # together with others, when it ends
    with contextlib.closing(open_run(url, keeps=False)) as heir:
        work(heir, source, away=True)
        staged = heir.objects.list("staging")
        assert len(staged) > 2
        with pytest.raises(TakenOver, match="another build took over"):
            old.hold.change()
        old.close()
        assert heir.objects.list("staging") == staged


def test_a_finished_run_is_whole_for_readers_of_folders(
    s3_bucket: Bucket, inputs: Path, tmp_path: Path
) -> None:
    url = f"{s3_bucket.url}/run"
    build(url, inputs)
    copy = tmp_path / "copy"
    s3_bucket.files.get(url, str(copy), recursive=True)
    assert check_run(copy).all_faults() == []
    document = json.loads((copy / "run.json").read_bytes())
    assert document["complete"]
    assert document["counts"]["assets"] == 5


def test_a_run_that_was_copied_into_a_store_goes_on_there(
    s3_bucket: Bucket, inputs: Path, tmp_path: Path
) -> None:
    local = tmp_path / "run"
    staging.build(local, inputs)
    for name in ("index.json", "index.parquet"):  # as if it had been cut short
        (local / name).unlink()
    url = f"{s3_bucket.url}/run"
    s3_bucket.files.put(str(local), url, recursive=True)
    s3_bucket.files.rm(f"{url}/logs/lock")
    strays = [f"{folder}/.DS_Store" for folder in ("shards", "index", "ledger", "staging")]
    for name in strays:
        s3_bucket.files.pipe(f"{url}/{name}", b"what some machine leaves in every folder")
    make_inputs(inputs, f="kept")
    assert build(url, inputs) == ["f.glb"]
    assert Objects(url).list("").keys() >= set(strays)
    copy = tmp_path / "copy"
    s3_bucket.files.get(url, str(copy), recursive=True)
    assert check_run(copy).all_faults() == []
    Objects(url).delete(strays)
    again = tmp_path / "again"
    staging.build(again, inputs)
    assert outcome(url) == staging.outcome(again)


def test_a_bucket_that_is_not_there_is_named(s3_bucket: Bucket, inputs: Path) -> None:
    with pytest.raises(MachineError, match="s3://no-such-bucket/run: there is no such bucket"):
        build("s3://no-such-bucket/run", inputs)
