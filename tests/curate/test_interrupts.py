"""Ctrl-C once, twice, and within a commit; real signals."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from curate.interrupts import Interrupts, Stopped


def send(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_outside_a_commit_the_first_signal_stops_at_once() -> None:
    with Interrupts(), pytest.raises(Stopped) as caught:
        send(signal.SIGTERM)
    assert caught.value.signal == signal.SIGTERM


def commit(interrupts: Interrupts, *steps: Callable[[], object]) -> None:
    with interrupts.shielded():
        for step in steps:
            step()


def test_within_a_commit_the_first_signal_waits_for_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[str] = []
    with Interrupts() as interrupts:

        def inner() -> None:
            commit(interrupts, send, lambda: done.append("inner"))

        with pytest.raises(Stopped):
            commit(interrupts, inner, lambda: done.append("outer"))
    assert done == ["inner", "outer"]
    assert "stopping after this commit" in capsys.readouterr().err


def test_within_a_commit_the_second_signal_does_not_wait() -> None:
    done: list[str] = []
    with Interrupts() as interrupts, pytest.raises(Stopped):
        commit(interrupts, send, lambda: done.append("1"), send, lambda: done.append("2"))
    assert done == ["1"]


def test_an_error_within_a_commit_goes_before_a_signal() -> None:
    def full() -> None:
        raise OSError("full")

    with Interrupts() as interrupts, pytest.raises(OSError, match="full"):
        commit(interrupts, send, full)


def test_handlers_are_given_back_and_other_threads_leave_them_alone() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    seen: list[object] = []

    def elsewhere() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before[1]]


def test_a_signal_that_a_library_reports_in_its_own_way_keeps_its_number() -> None:
    def library() -> None:
        try:
            send(signal.SIGTERM)
        except Stopped:
            raise KeyboardInterrupt from None

    with pytest.raises(Stopped) as caught, Interrupts():
        library()
    assert caught.value.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt) as plain, Interrupts():
        raise KeyboardInterrupt
    assert not isinstance(plain.value, Stopped)
