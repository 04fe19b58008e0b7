"""Progress of a build: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from curate.collect import Collector
    from curate.window import Window

_LINE_EVERY_S = 10.0


def eta_s(elapsed_s: float, window: "Window") -> float | None:
    """Tell how long the rest takes; None: nothing is finished yet.

    What is predicted of the finished assets is held against the time that they took. So it counts
    how fast this machine is, and how many workers there are.
    """
    if not window.finished_s:
        return None
    return window.left_s() * elapsed_s / window.finished_s


class Display:
    """Shows assets done, clips by stage and verdict, elapsed and remaining time."""

    def __init__(self, collector: "Collector", window: "Window") -> None:
        self.collector = collector
        self.window = window
        self.total = window.total or 0
        self.done = 0
        self.stages: Counter[str] = Counter()  # clips that went through a stage in this build
        self.started = self.last_line = time.monotonic()
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("build"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("assets  {task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("ETA {task.fields[eta]}"),
            TextColumn("{task.description}", markup=False),  # a file may be called [/b].glb
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(
            "", total=self.total, counts=self._counts(), eta="-:--:--"
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing; without a terminal, leave a last line."""
        self.progress.stop()
        if not self.console.is_terminal and self.total:
            self._line()

    def advance(self, path: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count one finished asset and the stages that its clips went through."""
        self.done += 1
        self.stages["inspected"] += len(rows)
        self.stages["probed"] += sum(row.get("probe_s") is not None for row in rows)
        self.stages["rendered"] += sum(row.get("render_s") is not None for row in rows)
        name = path if len(path) <= 40 else "..." + path[-37:]
        self.progress.update(
            self.task, advance=1, counts=self._counts(), description=name, eta=self._eta()
        )
        now = time.monotonic()
        if not self.console.is_terminal and now - self.last_line > _LINE_EVERY_S:
            self.last_line = now
            self._line()

    def _counts(self) -> str:
        stages, counts = self.stages, self.collector.verdicts
        return (
            f"clips inspected {stages['inspected']} probed {stages['probed']} "
            f"rendered {stages['rendered']}, "
            f"kept {counts['kept']} rejected {counts['rejected']} failed {counts['failed']}"
        )

    def _eta(self) -> str:
        left_s = eta_s(time.monotonic() - self.started, self.window)
        return "-:--:--" if left_s is None else str(timedelta(seconds=round(left_s)))

    def _line(self) -> None:
        elapsed_s = time.monotonic() - self.started
        print(
            f"build {self.done}/{self.total} assets, {self._counts()}, "
            f"{elapsed_s:.0f} s, ETA {self._eta()}",
            file=sys.stderr,
            flush=True,
        )
