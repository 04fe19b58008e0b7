"""The data half end to end: what a kept clip costs, by stage, and two Ray workers beside one.

Run ``python -m tests.bench.build [--assets DIR] [--count N] [--workers] [--json]``.
Each of N assets, spread over the folder, gives one kept clip at the default settings: 3 sequences
of 24 images of 256x256 px. Without ``--workers`` Ray is not started.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from curate import ledger
from curate.sources import find_sources
from tests.bench.harness import arguments, report

_STAGES = ("load_s", "probe_s", "render_s", "encode_s")


def main() -> None:
    """Build and print medians over the kept clips."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=8, help="assets to build")
    parser.add_argument("--workers", action="store_true", help="compare 1 and 2 Ray workers too")
    options = parser.parse_args()
    sources = [s for s in find_sources([options.assets]) if "malformed" not in s.path]
    step = max(len(sources) // options.count, 1)
    files = [source.file for source in sources[::step][: options.count]]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        wall_s = _build(files, Path(folder) / "run", workers=0)
        rows = [r for r in ledger.load(Path(folder) / "run") if r["verdict"] == "kept"]
        if not rows:
            sys.exit(f"{options.assets}: no clip of the {len(files)} assets tried was kept")
        table = []
        for name in _STAGES:
            values = [row[name] for row in rows if row[name] is not None]
            table.append((name, statistics.median(values), min(values), max(values)))
            figures[f"median_{name}"] = statistics.median(values)
        images = [row["render_s"] / 70 for row in rows]  # 72, of which three are the same
        table.append(("s per image", statistics.median(images), min(images), max(images)))
        figures |= {"kept_clips": len(rows), "wall_s_per_clip": wall_s / len(rows)}
        figures["s_per_image"] = statistics.median(images)
        if options.workers:
            one = _build(files, Path(folder) / "one", workers=1)
            two = _build(files, Path(folder) / "two", workers=2)
            figures["two_worker_scaling"] = one / two
    title = f"build: {len(files)} assets, {len(rows)} kept clips, {wall_s:.0f} s"
    report(title, ("seconds", "median", "min", "max"), table, figures, options.json)


def _build(files: list[Path], out: Path, workers: int) -> float:
    argv = [sys.executable, "-m", "orbit4d", "build", *map(str, files), "--out", str(out)]
    argv += ["--max-clips-per-asset", "1", "--workers", str(workers)]
    if workers:
        argv += ["--set", "limits.threads=1"]
    started = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
