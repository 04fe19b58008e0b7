"""Ctrl-C and SIGTERM while a build commits: the first lets the commit end, the second does not."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the build to stop.

    Attributes:
        signal: its number; shells expect an exit status of 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


class Interrupts:
    """While this is entered, signals raise ``Stopped`` where nothing is being committed.

    Every state of a RUN folder can be gone on from, a cut commit too; finishing one saves the next
    run some work. Outside the main thread signals stay as they are.
    """

    def __init__(self) -> None:
        self._shields = 0
        self._pending: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Give them back.

        Raises:
            Stopped: where a library turned one into a plain ``KeyboardInterrupt``, as Ray does.
        """
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if type(error) is KeyboardInterrupt and self._pending is not None:
            raise Stopped(self._pending) from error

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Hold back the first signal until the block has ended.

        Raises:
            Stopped: at the end, if there was one; within, if there was another.
        """
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending is not None and not self._shields:
            raise Stopped(self._pending)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        first = self._pending is None
        self._pending = number
        if not (first and self._shields):
            raise Stopped(number)
        print("stopping after this commit; once more stops now", file=sys.stderr, flush=True)
