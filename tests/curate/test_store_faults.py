"""What goes wrong beneath a build into an object store, with real processes and connections."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.collect import Collector
from curate.sources import find_sources
from shards.errors import MachineError
from shards.hold import TakenOver
from shards.objects import Objects
from tests.conftest import Bucket
from tests.curate import staging
from tests.curate.staging import make_inputs
from tests.curate.store_builds import QUICK, SETTINGS, build, open_run, outcome, work
from tests.faulty_store import Fault, Proxy, faulty, first, now_and_then

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of botocore and moto

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(tmp_path / "in", a="kept kept", b="rejected", c="kept kept", d="kept")


@pytest.fixture
def calm(inputs: Path, tmp_path: Path) -> Any:
    staging.build(tmp_path / "calm", inputs)
    return staging.outcome(tmp_path / "calm")


@pytest.fixture
def proxy(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with faulty(s3_bucket.options["endpoint_url"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def no_fault(method: str, path: str) -> Fault:
    return ""


def driver(url: str, inputs: Path, pause_s: float, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.curate.store_driver", url, str(inputs), str(pause_s)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, env=os.environ | more,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def begun(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("at "), process.communicate()


# two drivers


def test_a_second_driver_is_refused_and_a_paused_one_commits_nothing_when_it_wakes(
    s3_bucket: Bucket, inputs: Path, calm: Any
) -> None:
    url = f"{s3_bucket.url}/run"
    slow = driver(url, inputs, 1.5)
    begun(slow)
    said = driver(url, inputs, 0.0).communicate(timeout=60)[1]
    assert "RunError" in said
    assert f"another build is working on this RUN (process {slow.pid} on host" in said
    slow.send_signal(signal.SIGSTOP)
    heir = driver(url, inputs, 0.0)
    heir.communicate(timeout=60)
    assert heir.returncode == 0
    there = outcome(url)
    slow.send_signal(signal.SIGCONT)
    said = slow.communicate(timeout=60)[1]
    assert slow.returncode == 1
    assert "TakenOver: " in said
    assert "another build took over" in said
    assert there == calm
    assert build(url, inputs) == []  # and clears away what the woken one began
    assert outcome(url) == calm


def test_what_is_staged_and_gone_is_asked_of_whoever_has_the_run(
    s3_bucket: Bucket, inputs: Path, calm: Any
) -> None:
    url = f"{s3_bucket.url}/run"
    with contextlib.closing(open_run(url)) as run:
        run.begin()
        source, *_ = Collector(run, find_sources([inputs])).take_over()
        work(run, source, away=True)
        place = f"staging/{source.uid}/asset.json"
        run.objects.delete([place])
        with pytest.raises(MachineError, match=f"{place} was there and is gone") as caught:
            run.finished_rows(source)
        assert not isinstance(caught.value, TakenOver)
        work(run, source, away=True)
        run.hold._ended.set()  # it shows no more signs of life
        assert build(url, inputs)  # so another build takes over, and clears what it committed
        with pytest.raises(TakenOver, match="another build took over"):
            run.finished_rows(source)
    assert outcome(url) == calm


def test_a_driver_that_was_shot_is_followed_by_the_same_command(
    s3_bucket: Bucket, inputs: Path, calm: Any, tmp_path: Path
) -> None:
    url, scratch = f"{s3_bucket.url}/run", tmp_path / "scratch"
    scratch.mkdir()
    shot = driver(url, inputs, 0.5, TMPDIR=str(scratch))
    begun(shot)
    begun(shot)
    shot.kill()
    shot.communicate()
    assert [path.name.split("-")[:2] for path in scratch.iterdir()] == [["orbit4d", "run"]]
    heir = driver(url, inputs, 0.0, TMPDIR=str(scratch))
    said = heir.communicate(timeout=60)
    assert heir.returncode == 0, said
    assert said[0].count("at ") == 3  # the first asset was staged
    assert list(scratch.iterdir()) == []  # nor what the shot one had on this machine
    assert outcome(url) == calm


# clocks


def test_a_clock_that_jumps_changes_nothing(
    s3_bucket: Bucket, inputs: Path, calm: Any, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "real, calls = time.time, [0]\n"
        "def jumping():\n"
        "    calls[0] += 1\n"
        "    return real() + (0.0, 1e6, -1e6)[calls[0] % 3]\n"
        "time.time = jumping\n"
        "time.time_ns = lambda: int(jumping() * 1e9)\n"
    )
    url = f"{s3_bucket.url}/run"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    jumping = driver(url, inputs, 0.5, PYTHONPATH=path)
    begun(jumping)
    second = driver(url, inputs, 0.0, PYTHONPATH=path)
    assert "another build is working on this RUN" in second.communicate(timeout=60)[1]
    said = jumping.communicate(timeout=60)
    assert jumping.returncode == 0, said
    assert outcome(url) == calm


# networks and stores


def test_what_passes_is_tried_again(proxy: Proxy, inputs: Path, calm: Any) -> None:
    url = "s3://test-what-passes-is-tried-again/run"
    proxy.plan = now_and_then(0.3, 3, ("503", "slow_down", "cut", "mute"))
    build(url, inputs)
    assert len(proxy.requests) > 110  # 80 of a calm build and those that had to be repeated
    assert proxy.done.total() > 25  # signs of life come when they come, so it is 31 but for a few
    assert len(proxy.done) == 4
    proxy.plan = no_fault
    assert outcome(url) == calm


def test_an_upload_that_breaks_off_is_made_anew(
    proxy: Proxy, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shards.objects._PART_BYTES", 5 * 2**20)
    objects = Objects(f"{s3_bucket.url}/run", QUICK)
    data = os.urandom(2**20)
    proxy.plan = first(7, "cut", "partNumber=2")
    made: list[int] = []

    def make(write: Any) -> str:
        made.append(1)
        for _ in range(12):
            write(data)
        return "done"

    assert objects.upload("shards/x.tar", make) == "done"
    assert proxy.done["cut"] == 7
    assert len(made) >= 2  # more breaks than one part is tried again for
    assert objects.read("shards/x.tar") == 12 * data


def test_patience_with_a_long_upload_begins_when_it_fails(proxy: Proxy, s3_bucket: Bucket) -> None:
    impatient = QUICK.model_copy(update={"patience_s": 0.3})
    objects = Objects(f"{s3_bucket.url}/run", impatient)
    proxy.plan = first(5, "cut", "x.tar")

    def make(write: Any) -> None:
        time.sleep(0.5)
        write(b"data")

    objects.upload("shards/x.tar", make)
    assert proxy.done["cut"] == 5
    assert objects.read("shards/x.tar") == b"data"


@pytest.mark.parametrize(
    ("fault", "of", "sentence"),
    [
        ("slow_down", "", r"could not be read in \d+ tries over 1 s: SlowDown: Please reduce your"),
        ("cut", "shards/", r"shard-000000.tar: could not be written in \d+ tries over 1 s"),
        ("stall", "index/", r"shard-000000.parquet: could not be written in \d+ tries"),
        (
            "denied",
            "",
            r"access refused: InvalidAccessKeyId: The AWS Access Key Id .* same command",
        ),
    ],
)
def test_what_does_not_pass_ends_the_run_with_one_sentence_and_it_goes_on_later(
    proxy: Proxy, s3_bucket: Bucket, inputs: Path, calm: Any, fault: Fault, of: str, sentence: str
) -> None:
    url = f"{s3_bucket.url}/{fault}-{len(of)}"
    store = QUICK.model_copy(update={"patience_s": 1.0, "timeout_s": 0.3})
    settings = SETTINGS.model_copy(update={"store": store})
    proxy.plan = first(10**9, fault, of)
    started = time.monotonic()
    with pytest.raises(MachineError, match=sentence) as caught:
        build(url, inputs, settings)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 20
    proxy.plan = no_fault
    build(url, inputs)
    assert outcome(url) == calm
