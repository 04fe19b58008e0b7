"""Progress of a build: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from curate.collect import Collector

_LINE_EVERY_S = 10.0


class Display:
    """Shows assets done, clips by stage and verdict, elapsed and remaining time."""

    def __init__(self, collector: "Collector", total: int) -> None:
        self.collector = collector
        self.total = total
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
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),  # a file may be called [/b].glb
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=total, counts=self._counts())

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
        self.progress.update(self.task, advance=1, counts=self._counts(), description=name)
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

    def _line(self) -> None:
        elapsed_s = time.monotonic() - self.started
        left_s = elapsed_s / max(self.done, 1) * (self.total - self.done)
        print(
            f"build {self.done}/{self.total} assets, {self._counts()}, "
            f"{elapsed_s:.0f} s, ETA {left_s:.0f} s",
            file=sys.stderr,
            flush=True,
        )
