"""The audit page of a long ledger: seconds and memory to write it, its size, time until it answers.

Run ``python -m tests.bench.report [--rows 300000] [--check] [--json]``. The rows are made up:
scores with the spread of real ones, half of them kept, file hashes of which a tenth are copies,
sketches of shapes and motions of which some are near copies in chains. The index has a sample for
every kept row, 250 to a shard; those that the page lists are real ones of 3 x 24 images (256x256
px). The page is written by a process of its own, whose largest resident memory is reported.
Chromium then opens it from disk; ``interactive_s`` ends when the what-if counts stand there, after
all rows were judged. The counts are held against DuckDB, and with ``--check`` against a replay,
which takes minutes. ``--run`` keeps what was made for a second measurement.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from curate import ledger, report, report_data, sql
from curate.config import BuildConfig, CurateConfig
from curate.replay import replay
from shards import index
from shards.likeness import Sketch
from shards.sample import encode_members, sample_key, sample_to_tar
from shards.seeding import rng_for
from tests.bench import harness
from tests.curate.browsing import CHROMIUM
from tests.make_shards import make_sample

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
_PER_SHARD = 250


def main() -> None:
    """Make the ledger, write the page, open it."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--run", type=Path, help="folder to make, or to use if it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = _measured(options.run or Path(folder) / "run", options)
    harness.report(
        f"audit page of {options.rows:,} rows",
        ("figure", "value"),
        list(figures.items()),
        figures,
        options.json,
    )


def _measured(run: Path, options: argparse.Namespace) -> dict[str, float]:
    if not run.exists():
        make_ledger(run, options.rows)
        make_index(run)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(run)], check=True, capture_output=True, text=True
    )
    whole_s = time.monotonic() - started
    write_s, memory_mb, page_mb = map(float, done.stdout.split())
    open_s, move_s = open_page(run, check=options.check)
    return {
        "samples": float(sum(len(part) for part in index.committed(run).values())),
        "write_s": write_s,
        "process_s": whole_s,
        "memory_mb": memory_mb,
        "page_mb": page_mb,
        "interactive_s": open_s,
        "move_s": move_s,
    }


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
        drawn["near"] = rng.integers(0, 4, size).astype(float)  # its place in a chain
        kept = rng.random(size) < 0.5
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
        **_sketches(content, clip, int(drawn["near"][i])),
        "activity_curve": [0.25 * drawn["activity_per_s"][i]] * 23,
        "sample_key": sample_key(f"{asset:032x}", clip) if kept else "",
        "fingerprint": f"{number:032x}" if kept else "",
        "load_s": 0.3,
        "probe_s": 0.1,
        "render_s": 3.1 if kept else None,
        **{name: float(values[i]) for name, values in drawn.items() if name != "near"},
    }


def _sketches(content: int, clip: int, near: int) -> dict[str, str]:
    """Make a shape per file and a motion per clip; every 50th file has links of a chain."""
    shape = np.random.default_rng(content).random(14)
    motion = np.random.default_rng([content, clip]).random(16)
    if content % 50 == 0:
        shape, motion = np.full(14, 0.5), np.full(16, 0.1) + 8e-4 * near
    look = f"gltf:{content % 1000:016x}"
    sketches = {"geometry": Sketch(180, shape).encode(), "clip_sketch": Sketch(24, motion).encode()}
    return sketches | {"look": look}


def make_index(run: Path) -> None:
    """Write an index part for every shard of kept clips, real samples of those the page lists."""
    table = report_data.read_table(run).select(
        ["verdict", "rule", "uid", "clip_index", "sample_key"]
    )
    shown = table.take(report_data.choose_rows(table, report.MAX_ROWS))["sample_key"].to_pylist()
    real = {key for key in shown if key}
    meta, images = make_sample("shown", 0, 24, 256)
    sheets, _ = encode_members(images, "webp")
    scores = json.dumps(dict.fromkeys((*ledger.SCORES, *ledger.QA), 0.123456))
    shard_dir = index.shard_dir(run)
    shard_dir.mkdir(parents=True)
    index.part_dir(run).mkdir()
    made: list[index.IndexEntry] = []
    keys = [row for row in table.to_pylist() if row["verdict"] == "kept"]
    keys.sort(key=lambda row: row["sample_key"] not in real)  # real ones first, in one shard
    with (shard_dir / "shard-000000.tar").open("wb") as tar:
        for place, row in enumerate(keys):
            key, shard, offset = row["sample_key"], 1 + (place - len(real)) // _PER_SHARD, 0
            data = b""
            if key in real:
                asset = meta.asset.model_copy(update={"uid": row["uid"]})
                clip = meta.clip.model_copy(update={"index": row["clip_index"]})
                of_it = meta.model_copy(update={"key": key, "asset": asset, "clip": clip})
                data, shard, offset = sample_to_tar(of_it, sheets), 0, tar.tell()
                tar.write(data)
            made.append(
                index.IndexEntry(
                    key, row["uid"], row["clip_index"], f"shard-{shard:06d}", offset, len(data),
                    hashlib.sha256(data or key.encode()).hexdigest(), 24, f"{place:016x}", 1.0,
                    scores, hashlib.sha256(row["uid"].encode()).hexdigest(),
                )
            )  # fmt: skip
    by_shard: dict[str, list[index.IndexEntry]] = {}
    for entry in made:
        by_shard.setdefault(entry.shard, []).append(entry)
    for shard, entries in by_shard.items():
        (shard_dir / f"{shard}.tar").touch()
        index.write_part(run, shard, entries)


def _replayed(run: Path, margin: float) -> int:
    rows = replay(ledger.load(run), CurateConfig.load(None, [f"boundary.margin_min_px={margin}"]))
    return sum(row["verdict"] == "kept" for row in rows.rows)


# what the default rules keep, copies and all
_KEPT = """
SELECT count(*) FROM ledger
WHERE verdict <> 'failed' AND duration_s BETWEEN 0.1 AND 600 AND texture_mb <= 2048
  AND visible_share >= 0.01 AND far_part_ratio <= 16 AND reach <= 4 AND margin_px >= {margin}
  AND NOT (step >= 0.5 AND step_share >= 0.6)
  AND NOT (motion < 0.01 AND moved_most < 0.1 AND drift < 0.05)
"""


def open_page(run: Path, *, check: bool) -> tuple[float, float]:
    """Open a page in Chromium: seconds until it answers, and until a moved limit is counted.

    Raises:
        ValueError: if the counts are not those of a replay, or, with copies, of DuckDB.
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
        counts = {0.0: _count(tab)}
        started = time.monotonic()
        slider = tab.locator("[data-setting='boundary.margin_min_px']")
        slider.evaluate(
            "input => { input.value = Math.round(input.max / 2);"
            " input.dispatchEvent(new Event('input')); }"
        )
        tab.wait_for_function(
            "before => document.getElementById('if-kept').textContent !== before",
            arg=f"{counts[0.0][0]:,}",
        )
        move_s = time.monotonic() - started
        counts[float(slider.get_attribute("data-value") or "nan")] = _count(tab)
        browser.close()
    for limit, (count, copies) in counts.items():
        (passing,) = sql.ask(run, _KEPT.format(margin=limit)).rows[0]
        if count + copies != passing or (check and count != _replayed(run, limit)):
            raise ValueError(f"margin_min_px {limit:g}: page {count:,} and {copies:,} copies")
    return open_s, move_s


def _count(tab: Any) -> tuple[int, int]:
    """Read how many clips are kept, and how many are not because they are copies."""
    copies = tab.locator("#if-rules tr[data-rule^=duplicate] .after").all_inner_texts()
    kept = int(tab.inner_text("#if-kept").replace(",", ""))
    return kept, sum(int(text.replace(",", "")) for text in copies)


if __name__ == "__main__":
    main()
