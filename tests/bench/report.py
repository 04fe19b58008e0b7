"""The audit page of a long ledger: seconds and memory to write it, its size, time until it answers.

Run ``python -m tests.bench.report [--rows 300000] [--json]``. The rows are made up: scores with the
spread of real ones, a third kept, file hashes of which a tenth are copies. The page is written by a
process of its own, whose largest resident memory is reported. Chromium then opens it from disk;
``interactive_s`` ends when the what-if counts stand there, after all rows were judged.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from curate import ledger, sql
from curate.config import BuildConfig
from shards.seeding import rng_for
from tests.bench.harness import arguments, report
from tests.curate.browsing import CHROMIUM

_SCRIPT = """
import resource, sys, time
from pathlib import Path
from typing import Any
from curate.report import write_report
start = time.monotonic()
page = write_report(Path(sys.argv[1]))
seconds = time.monotonic() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, page.stat().st_size / 1e6)
"""
_RULES = ("too_still", "touches_border", "leaves_frame", "teleport", "")
_PART_ROWS = 20_000


def main() -> None:
    """Make the ledger, write the page, open it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=300_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        make_ledger(run, options.rows)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(run)], check=True, capture_output=True, text=True
        )
        whole_s = time.monotonic() - started
        write_s, memory_mb, page_mb = map(float, done.stdout.split())
        open_s, move_s = open_page(run)
    figures = {
        "write_s": write_s,
        "process_s": whole_s,
        "memory_mb": memory_mb,
        "page_mb": page_mb,
        "interactive_s": open_s,
        "move_s": move_s,
    }
    report(
        f"audit page of {options.rows:,} rows",
        ("figure", "value"),
        list(figures.items()),
        figures,
        options.json,
    )


def make_ledger(run: Path, count: int) -> None:
    """Write a ledger of made-up clips, in parts as a run that was interrupted leaves them."""
    ledger.recover(run)
    document = {"versions": {}, "config": BuildConfig().model_dump(mode="json")}
    (run / "run.json").write_text(json.dumps(document))
    floats = [name for name in ledger.SCORES if ledger.SCHEMA.field(name).type == "double"]
    for part, first in enumerate(range(0, count, _PART_ROWS)):
        rng = rng_for(0, "made-up ledger", part)
        size = min(_PART_ROWS, count - first)
        drawn = {name: rng.lognormal(-1.5, 1.2, size) for name in floats}
        drawn["scale_change"] = 1 + drawn["scale_change"]
        drawn["far_part_ratio"] = 1 + drawn["far_part_ratio"]
        for name in ("step_share", "active_share", "visible_share", "moving_share"):
            drawn[name] = rng.random(size)
        drawn["margin_px"] = rng.normal(20, 10, size)
        kept = rng.random(size) < 0.35
        rules = rng.integers(len(_RULES) - 1, size=size)
        rows = [_row(first + i, drawn, i, bool(kept[i]), _RULES[rules[i]]) for i in range(size)]
        ledger.append(run, rows, part)


def _row(
    number: int, drawn: dict[str, np.ndarray], i: int, kept: bool, rule: str
) -> dict[str, Any]:
    asset, clip = divmod(number, 3)
    content = asset if asset % 10 else asset // 2  # of ten files one was there before
    return {
        "uid": f"{asset:032x}",
        "path": f"hf-objaverse-v1/glbs/{asset % 160:03d}-{asset:032x}.glb",
        "clip_index": clip,
        "clip_name": f"Armature|Take {clip}",
        "verdict": "kept" if kept else "failed" if number % 40 == 0 else "rejected",
        "rule": "" if kept else "blender_timeout" if number % 40 == 0 else rule,
        "stage": "" if kept else "render" if number % 40 == 0 else "probe",
        "error": ""
        if kept
        else f"measured {drawn['motion'][i]:.4f}, which the limit does not allow",
        "log_tail": "no answer for 120 s\n" * 20 if number % 40 == 0 and not kept else "",
        "warnings": "[]",
        "duration_s": 0.05 + float(drawn["drift"][i]) * 8,
        "vertices": 100 + number % 90_000,
        "triangles": 180 + number % 170_000,
        "geometry_tracks": 12,
        "camera_tracks": 0,
        "missing_textures": number % 3,
        "parts": 1 + number % 77,
        "source": "objaverse",
        "format": "glb",
        "licence": ("CC-BY-4.0", "CC-BY-NC-4.0", "CC0-1.0", "unknown")[asset % 4],
        "attribution": f"author {asset % 9000}",
        "sha256": f"{content:064x}",
        "content": f"{content:064x}",
        "settings": "0123456789abcdef",
        "fingerprint": f"{number:032x}" if kept else "",
        "load_s": 0.3,
        "probe_s": 0.1,
        "render_s": 3.1 if kept else None,
        **{name: float(values[i]) for name, values in drawn.items()},
    }


# what the default rules keep, one of each group of equal files
_KEPT = """
SELECT count(DISTINCT (content, clip_index)) FROM ledger
WHERE verdict <> 'failed' AND duration_s BETWEEN 0.1 AND 600 AND texture_mb <= 2048
  AND visible_share >= 0.01 AND far_part_ratio <= 16 AND reach <= 4 AND margin_px >= 0
  AND NOT (step >= 0.5 AND step_share >= 0.6)
  AND NOT (motion < 0.01 AND moved_most < {moved_most} AND drift < 0.05)
"""


def open_page(run: Path) -> tuple[float, float]:
    """Open a page in Chromium: seconds until it answers, and until a moved limit is counted.

    Raises:
        ValueError: if the counts are not those that DuckDB gives for the whole ledger.
    """
    from playwright.sync_api import sync_playwright

    page = run / "report" / "index.html"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.monotonic()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_function(
            "() => /\\d/.test(document.getElementById('if-kept')?.textContent ?? '')"
        )
        open_s = time.monotonic() - started
        counts = {0.1: _count(tab)}
        started = time.monotonic()
        slider = tab.locator("[data-setting='motion.moved_most_min']")
        slider.evaluate(
            "input => { input.value = input.max - 2; input.dispatchEvent(new Event('input')); }"
        )
        tab.wait_for_function(
            "before => document.getElementById('if-kept').textContent !== before",
            arg=f"{counts[0.1]:,}",
        )
        move_s = time.monotonic() - started
        counts[float(slider.get_attribute("aria-valuetext") or "nan")] = _count(tab)
        browser.close()
    for limit, count in counts.items():
        (expected,) = sql.ask(run, _KEPT.format(moved_most=limit)).rows[0]
        if count != expected:
            raise ValueError(f"moved_most_min {limit:g}: page {count:,}, DuckDB {expected:,}")
    return open_s, move_s


def _count(tab: Any) -> int:
    return int(tab.inner_text("#if-kept").replace(",", ""))


if __name__ == "__main__":
    main()
