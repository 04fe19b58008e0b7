"""Who has a RUN in an object store: one build, whatever networks, clocks and other builds do."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shards import hold as holds
from shards.errors import MachineError, RunError
from shards.hold import Hold, TakenOver, read_commit
from shards.objects import Objects, ObjectsConfig
from tests.conftest import Bucket
from tests.faulty_store import Proxy, faulty, first, now_and_then

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of moto

ROOT = Path(__file__).resolve().parents[2]
QUICK = ObjectsConfig(timeout_s=2, patience_s=5, pause_s=0.01, lease_s=0.6)


@pytest.fixture
def run(s3_bucket: Bucket) -> Objects:
    return Objects(f"{s3_bucket.url}/run", QUICK)


@pytest.fixture
def proxy(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with faulty(s3_bucket.options["endpoint_url"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds know nothing of each other's processes, as on two machines."""
    monkeypatch.setattr(holds, "_has_ended", lambda _: False)


def test_a_run_is_taken_given_free_and_taken_again(run: Objects) -> None:
    first_hold = Hold(run)
    assert read_commit(run)[0].token
    first_hold.change(lambda now: replace(now, next_shard=3))
    first_hold.release()
    second = Hold(run)
    assert second.commit.next_shard == 3
    assert second.commit.void == ()
    second.release()
    assert read_commit(run)[0].token == ""


def test_a_build_that_shows_signs_of_life_keeps_the_run(run: Objects, elsewhere: None) -> None:
    alive = Hold(run)
    with pytest.raises(RunError, match=r"another build is working on this RUN \(process \d+ on"):
        Hold(run)
    alive.change(lambda now: replace(now, next_shard=1))
    alive.release()


def test_a_silent_build_is_replaced_and_commits_nothing_when_it_wakes(
    run: Objects, elsewhere: None
) -> None:
    asleep = Hold(run, beat=False)
    started = time.monotonic()
    heir = Hold(run)
    assert time.monotonic() - started >= QUICK.lease_s
    # what the silent one may be uploading must never count
    assert heir.commit.void == ("shard-000000", "part-000000")
    assert (heir.commit.next_shard, heir.commit.next_part) == (1, 1)
    assert not heir.commit.has_shard("shard-000000")
    with pytest.raises(TakenOver, match="another build took over"):
        asleep.change(lambda now: replace(now, next_shard=9))
    with pytest.raises(TakenOver, match="another build took over"):
        asleep.check()
    asleep.release()
    assert read_commit(run)[0].next_shard == 1
    assert read_commit(run)[0].token == heir.commit.token
    heir.release()


def test_of_two_heirs_one_gets_the_run(run: Objects, elsewhere: None) -> None:
    Hold(run, beat=False)
    won: list[Hold] = []
    lost: list[RunError] = []

    def inherit() -> None:
        try:
            won.append(Hold(run))
        except RunError as error:
            lost.append(error)

    threads = [threading.Thread(target=inherit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    won[0].release()


def test_a_build_that_was_shot_on_this_machine_is_replaced_at_once(run: Objects) -> None:
    code = (
        "import sys, time\n"
        "from shards.hold import Hold\n"
        "from shards.objects import Objects, ObjectsConfig\n"
        "Hold(Objects(sys.argv[1], ObjectsConfig(lease_s=1000)))\n"
        "print('taken', flush=True)\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", code, run.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"taken\n"
        other.kill()
        while holds._name_process(other.pid):  # on a busy machine it takes a moment
            time.sleep(0.01)
        started = time.monotonic()
        heir = Hold(run)  # it is not even reaped yet
        assert time.monotonic() - started < 5
        heir.release()


def test_a_build_that_ends_while_it_is_watched_is_replaced_at_the_next_look(
    run: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hold(Objects(run.url, QUICK.model_copy(update={"lease_s": 1000.0})), beat=False)
    looks = iter([False, True])
    monkeypatch.setattr(holds, "_has_ended", lambda _: next(looks))
    slept: list[float] = []
    Hold(run, slept.append, beat=False).release()
    assert slept == [100.0]


def test_an_answer_that_is_lost_is_found_out(proxy: Proxy, run: Objects) -> None:
    hold = Hold(run, beat=False)
    for number in range(1, 4):
        proxy.plan = first(1, "mute", "PUT")
        hold.change(lambda now, number=number: replace(now, next_shard=number))
    assert proxy.done["mute"] == 3
    assert read_commit(run)[0].next_shard == 3
    hold.release()
    proxy.plan = first(1, "mute", "PUT")
    again = Hold(run, beat=False)
    assert again.commit.void == ()
    again.release()


def test_two_builds_on_a_bad_network_never_both_commit(proxy: Proxy, run: Objects) -> None:
    proxy.plan = now_and_then(0.3, 1, ("503", "slow_down", "cut", "mute"))
    for number in range(15):
        hold = Hold(run, beat=False)
        hold.change(lambda now, number=number: replace(now, next_shard=number + 1))
        hold.release()
    proxy.plan = lambda method, path: ""
    assert proxy.done.total() > 15
    commit = read_commit(run)[0]
    assert commit.next_shard == 15
    assert commit.serial >= 45


def test_a_change_whose_fate_is_unknown_ends_the_build_and_is_settled_by_the_next(
    proxy: Proxy, run: Objects
) -> None:
    hasty = Objects(run.url, QUICK.model_copy(update={"patience_s": 0.2}))
    hold = Hold(hasty, beat=False)
    proxy.plan = lambda method, path: "mute" if method == "PUT" else ""
    with pytest.raises(MachineError, match=r"could not be written in \d+ tries"):
        hold.change(lambda now: replace(now, next_shard=1))
    proxy.plan = lambda method, path: ""
    hold.release()
    commit = read_commit(run)[0]
    assert (commit.token, commit.next_shard) == ("", 1)


def test_an_upload_under_way_when_a_build_ends_never_counts(run: Objects) -> None:
    hold = Hold(run, beat=False)
    hold.unsure = True
    hold.release()
    assert read_commit(run)[0].void == ("shard-000000", "part-000000")


def test_a_store_that_hangs_does_not_keep_a_build_from_ending(proxy: Proxy, run: Objects) -> None:
    patient = QUICK.model_copy(update={"timeout_s": 60.0, "patience_s": 60.0})
    hold = Hold(Objects(run.url, patient), beat=False)
    proxy.stall_s, proxy.plan = 4.0, lambda method, path: "stall" if method == "PUT" else ""
    started = time.monotonic()
    hold.release()
    assert time.monotonic() - started < 2


def test_signs_of_life_go_on_while_nothing_is_committed(run: Objects) -> None:
    hold = Hold(run)
    before = read_commit(run)[0].serial
    time.sleep(4 * QUICK.lease_s / 3)
    assert read_commit(run)[0].serial >= before + 3
    hold.release()
