"""Try again what may go well another time, and say how to see alone what does not.

A crash of Blender may be the asset's doing: the second one is believed. A process that was killed
from outside says nothing about the asset: it is tried again after a pause, more often.
"""

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from curate.sources import Source, as_text, uid_for
from render.config import RetryConfig
from render.runner import BlenderFault

T = TypeVar("T")


def persist(
    attempt: Callable[[], T], config: RetryConfig, sleep: Callable[[float], None] = time.sleep
) -> T:
    """Call ``attempt`` until it goes well or has had its tries; only a crash is tried again.

    Raises:
        BlenderFault: the last fault, with the number of ``attempts``.
    """
    crashes = machine = 0
    while True:
        try:
            return attempt()
        except BlenderFault as fault:
            if fault.kind != "crash" or fault.attempts > 1:  # or one that had its tries already
                raise
            machine += fault.of_machine
            crashes += not fault.of_machine
            if crashes >= config.crashes_max or machine >= config.machine_faults_max:
                fault.attempts = crashes + machine
                raise
            if fault.of_machine:
                sleep(config.pause_after(machine))


def command_alone(source: Source, clip_index: int, run: Path | str) -> str:
    """Return the command that does one clip of a run alone, with its settings and random draws.

    Of a whole asset (``clip_index`` -1) it does the first clip, and ends as the asset did.
    """
    given = as_text(str(source.file))
    if source.remote is not None:
        client = source.remote.client
        given = source.remote.address if client == "url" else f"{client}:"
    words = ["orbit4d", "render", "one", given, "--clip", str(max(clip_index, 0))]
    words += ["--run", str(run.absolute()) if isinstance(run, Path) else run]
    if source.remote is not None or source.uid != uid_for(source.file.name):
        words += ["--uid", source.uid]
    if source.remote is None and source.root != source.file.parent:
        words += ["--root", as_text(str(source.root))]
    return shlex.join(words)
