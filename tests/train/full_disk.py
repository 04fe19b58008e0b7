"""A run of two ranks on a small disk of its own: ``unshare -rm python -m tests.train.full_disk``.

    DATA MOUNT OUT

Mounts a tmpfs that has room for one checkpoint, and trains on it three times: until step 1 is
saved, until the disk is full, and with more room until the end. What was told goes to OUT.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.train.jobs import start, told_by

ROOM_KB, NO_ROOM_KB = 60_000, 64
NO_MOUNT = 77
FSDP = "parallel.strategy=fsdp"


def mount(folder: Path, size_kb: int, *options: str) -> int:
    words = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size_kb}k"]), "disk"]
    return subprocess.run([*words, str(folder)], check=False, stderr=sys.stderr).returncode


def main() -> None:
    data, folder, out = (Path(word) for word in sys.argv[1:])
    if mount(folder, ROOM_KB):
        sys.exit(NO_MOUNT)
    fit = folder / "fit"
    fit.mkdir()
    ends = [start(data, fit, 2, FSDP, fault="exit:2").wait()]
    used_kb = (ROOM_KB * 1024 - shutil.disk_usage(folder).free) // 1024
    mount(folder, used_kb + NO_ROOM_KB, "remount")
    ends.append(start(data, fit, 2, FSDP).wait())
    for rank in range(2):
        shutil.copy(told_by(fit, rank), out)
    mount(folder, ROOM_KB, "remount")
    ends.append(start(data, fit, 2, FSDP).wait())
    shutil.copy(fit / "steps.jsonl", out)
    print(ends)


if __name__ == "__main__":
    main()
