"""What all benchmarks share: arguments, a table for people, one JSON line for programs.

A benchmark is ``python -m tests.bench.NAME [--assets DIR] [--json]``. Results worth keeping go by
date and machine into ``RESULTS.md`` beside this file.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ASSETS = Path(__file__).resolve().parents[3] / "shared" / "assets"


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with ``--assets`` and ``--json``; a benchmark may add its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of 3D files")
    parser.add_argument("--json", action="store_true", help="end with one JSON object of figures")
    return parser


def machine() -> str:
    """Describe this machine without naming it."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores {platform.machine()}, {pages / 1e9:.0f} GB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def report(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    figures: dict[str, float],
    as_json: bool,
) -> None:
    """Print the table, the named figures and the machine; with ``as_json`` the JSON line last.

    Args:
        title: of the table.
        header: column names; the first is the row's name, the others are numbers.
        rows: floats are shown with three significant digits.
        figures: name -> value; what a program reads.
        as_json: whether ``--json`` was given.
    """
    table = Table(*header[:1], title=title)
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row))
    console = Console(width=120)
    console.print(table)
    console.print("  ".join(f"{name} {_shown(value)}" for name, value in figures.items()))
    console.print(machine(), highlight=False)
    if as_json:
        print(json.dumps(figures))


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Time one call: the mean of ``repeats`` after one that does not count, seconds."""
    call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast items came. CPU time hardly depends on who else is busy on the machine."""

    per_s: float
    cpu_ms: float  # per item, all processes
    rounds_s: tuple[float, ...] = ()  # per item, round by round

    def times_as_fast_as(self, other: "Rate") -> float:
        """Compare by wall time: the median of the ratios within a round."""
        rounds = zip(self.rounds_s, other.rounds_s, strict=True)
        return statistics.median(theirs / mine for mine, theirs in rounds)


def rates_in_turn(
    readers: Mapping[str, Iterable[Any]], *, count: int, skip: int, rounds: int = 3
) -> dict[str, Rate]:
    """Time several endless readers in turn, so that a busy moment of the machine hits them alike.

    Args:
        readers: name -> what to iterate.
        count: items timed per reader and round.
        skip: items before, each time, that do not count: start-up, and what was fetched ahead.
        rounds: how often each reader's turn comes.

    Returns:
        name -> rates, the median over the rounds.
    """
    iterators = {name: iter(reader) for name, reader in readers.items()}
    walls: dict[str, list[float]] = {name: [] for name in readers}
    cpus: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, iterator in iterators.items():
            settle()
            for _ in islice(iterator, skip):
                pass
            start, cpu = time.perf_counter(), cpu_seconds()
            got = sum(1 for _ in islice(iterator, count))
            if got < count:
                raise ValueError(f"{name}: only {got} of {count} items came")
            walls[name].append((time.perf_counter() - start) / count)
            cpus[name].append((cpu_seconds() - cpu) / count)
    return {
        name: Rate(
            1 / statistics.median(walls[name]),
            1000 * statistics.median(cpus[name]),
            tuple(walls[name]),
        )
        for name in readers
    }


def settle(at_most_s: float = 10.0) -> None:
    """Wait until what the last reader's workers fetched ahead is done: it is not the next one's."""
    end = time.perf_counter() + at_most_s
    before = cpu_seconds()
    while time.perf_counter() < end:
        time.sleep(0.2)
        now = cpu_seconds()
        if now - before < 0.03:
            return
        before = now


def cpu_seconds() -> float:
    """CPU time so far of this process and of its worker processes that are alive."""
    ticks = 0
    for pid in ("self", *(str(child.pid) for child in multiprocessing.active_children())):
        # the name in brackets may hold spaces; user and system time are fields 14 and 15
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
