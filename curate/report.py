"""The audit page: RUN/report/index.html says of every clip whether it was kept, and why.

One file that opens from disk, without a server or network: markup, style and scripts from
``templates/``, rows as JSON. The counts are made in Python from the whole ledger, so the page's
totals stand without its scripts.
"""

import base64
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup

from curate import report_data, report_payload, thumbs, whatif
from curate.config import BuildConfig
from shards import index
from shards.errors import ConfigError, RunError, SampleError, ShardError
from shards.files import clear_temporaries, write_atomic
from shards.store import LocalStore
from shards.tombstones import is_named, read_tombstones

MAX_ROWS = 3000  # embedded; the page opens in well under a second
PREVIEWS_MAX = 240  # clips with pictures: three sequences of each are decoded, 0.1 s a clip
_DECODED = 16  # at a time
INLINE_LIMIT_BYTES = 5 * 2**20  # of pictures; about 100 clips
_FACTS_MAX = 400
_NAMED_MAX = 5  # examples in a message
_SCRIPTS = (  # in this order
    "vendor/uplot/uPlot.iife.min.js",
    "report_rows.js",
    "report_plots.js",
    "report_clip.js",
    "report.js",
    "report_copies.js",
    "report_whatif.js",
    "report_review.js",
    "vendor/sqljs/sql-wasm-inline.js",
    "report_sql.js",
)
_STYLES = ("vendor/uplot/uPlot.min.css", "report.css", "report_panels.css")
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Samples:
    """What the index says lies in the shards, and what is wrong with it.

    ``entries`` are those that may be shown; ``taken_down`` are the keys of the others.
    """

    entries: dict[str, index.IndexEntry]
    taken_down: list[str]
    shards: list[str]
    total_bytes: int
    problems: list[str]


def write_report(
    run: Path,
    *,
    max_rows: int = MAX_ROWS,
    inline_limit_bytes: int = INLINE_LIMIT_BYTES,
    reviewed: int = report_payload.REVIEWED,
) -> Path:
    """Write RUN/report/index.html from the ledger, the index, the shards and run.json.

    Equal inputs give equal bytes. What is missing or damaged beside the ledger is named on the
    page.

    Args:
        run: RUN folder.
        max_rows: rows to embed; of a longer ledger a seeded choice from every rule is shown.
        inline_limit_bytes: previews that are larger together are written beside the page.
        reviewed: clips of every rule, and kept ones, that are offered for review.

    Returns:
        Path of the page.

    Raises:
        RunError: if the folder is no RUN folder or its ledger cannot be read.
    """
    _check_is_run(run)
    table = report_data.read_table(run)
    places = report_data.choose_rows(table, max_rows)
    shown = table.take(pa.array(places, pa.int64()))
    samples = read_samples(run)
    facts, problems = read_facts(run)
    config, doubt = read_settings(run)
    problems += doubt + samples.problems + compare(table, samples)
    page = run / "report" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    clear_temporaries(page.parent)
    previews = thumbs.Previews(page.parent / "thumbs", inline_limit_bytes)
    picks = report_payload.review_picks(shown, reviewed)
    keys = shown["sample_key"].to_pylist()
    first = dict.fromkeys([*(keys[pick] for pick in picks), *keys])  # what is reviewed has pictures
    looks, damaged = _add_previews(previews, run, list(first), samples)
    prepared = whatif.prepare(table, config.curate, config.render.qa)
    data = report_payload.page_data(table, places, picks, config, prepared)
    data |= {"previews": previews.sources(), "looks": report_payload.looks_document(looks)}
    data["run"] = run.resolve().name
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=run.resolve().name,
            summary=report_data.summarise(table),
            columns=report_payload.columns(),
            samples=samples,
            facts=facts,
            problems=problems + damaged,
            shown=len(shown),
            previews=previews,
            data=_script_json(data),
            bytes=report_payload.pack_bytes(prepared),
            offers=len(prepared.offers),
            picks=len(picks),
            **_assets(),
        )
    )
    write_atomic(page, html.encode())
    previews.clear_stale()
    return page


def write_comparison(run_a: Path, run_b: Path) -> Path:
    """Write RUN_B/report/compare.html: what changed from one run to the other.

    Raises:
        RunError: if one of them holds no readable ledger.
    """
    from curate.compare import compare as compare_runs  # DuckDB is needed for nothing else here

    found = compare_runs(run_a, run_b)
    page = run_b / "report" / "compare.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    html = (
        _environment()
        .get_template("compare.html.j2")
        .render(
            a=run_a.resolve().name,
            b=run_b.resolve().name,
            found=found,
            units={column.name: column.unit for column in report_payload.columns()},
            style=Markup("\n".join(_template(name) for name in _STYLES[1:])),
        )
    )
    write_atomic(page, html.encode())
    return page


def _check_is_run(run: Path) -> None:
    if not run.is_dir():
        raise RunError(f"{run}: there is no such folder; give the folder that `build --out` wrote")
    if not any((run / name).exists() for name in ("ledger", "run.json", "index", "index.json")):
        raise RunError(
            f"{run}: holds neither ledger/ nor run.json nor an index, so it is no RUN folder; "
            "give the folder that `build --out` wrote"
        )


def read_samples(run: Path) -> Samples:
    """Read the index: its parts where there are any, else the merged file."""
    problems: list[str] = []
    entries: dict[str, index.IndexEntry] = {}
    merged = run / "index.parquet"
    paths = sorted(index.part_dir(run).glob("*.parquet")) or ([merged] if merged.exists() else [])
    for path in paths:
        try:
            entries |= {entry.key: entry for entry in index.read_places(path)}
        except ShardError as error:
            problems.append(str(error).replace(f"{run}/", ""))  # equal wherever the run lies
    tars = {path.stem: path for path in sorted(index.shard_dir(run).glob("*.tar"))}
    named = Counter(entry.shard for entry in entries.values())
    for shard in sorted(named.keys() - tars):
        lost = f"{named[shard]:,} samples of the index have no data"
        problems.append(f"{shard}.tar is missing: {lost}")
    problems += [f"{shard}.tar is not in the index" for shard in sorted(tars.keys() - named)]
    total = sum(path.stat().st_size for path in tars.values())
    names = read_tombstones(LocalStore(run))
    gone = sorted(key for key in entries if is_named(key, names))
    shown = {key: entry for key, entry in entries.items() if not is_named(key, names)}
    if gone:
        problems.append(f"{_number(gone)} taken down, not shown here: {_few(gone)}")
    return Samples(shown, gone, sorted(tars), total, problems)


def compare(table: pa.Table, samples: Samples) -> list[str]:
    """Name what the ledger keeps and the index lacks, and the other way round."""
    pairs = zip(table["verdict"].to_pylist(), table["sample_key"].to_pylist(), strict=True)
    wanted = {key or "(no sample key)" for verdict, key in pairs if verdict == "kept"}
    problems: list[str] = []
    if absent := sorted(wanted - set(samples.entries) - set(samples.taken_down)):
        problems.append(
            f"{_number(absent)} kept in the ledger but not in the index: {_few(absent)}"
        )
    if extra := sorted(set(samples.entries) - wanted):
        problems.append(f"{_number(extra)} in the index but not kept in the ledger: {_few(extra)}")
    return problems


def _number(items: list[str]) -> str:
    return f"{len(items):,} sample{'' if len(items) == 1 else 's'}"


def _few(items: Iterable[str]) -> str:
    items = list(items)
    more = len(items) - _NAMED_MAX
    return ", ".join(items[:_NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")


def read_facts(run: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Read run.json, whatever it holds, as (dotted key, text) pairs, and what is wrong with it."""
    path = run / "run.json"
    if not path.exists():
        return [], ["run.json is missing: settings and versions of this run are not known"]
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        return [], [f"run.json cannot be read: {error}"]
    facts = list(_flatten(document, ""))
    if len(facts) > _FACTS_MAX:
        facts = [*facts[:_FACTS_MAX], ("…", f"{len(facts) - _FACTS_MAX} more in run.json")]
    return facts, []


def read_settings(run: Path) -> tuple[BuildConfig, list[str]]:
    """Read the settings of a run, and what is wrong with them; the defaults where they are lost."""
    try:
        document = json.loads((run / "run.json").read_bytes())
        settings = document.get("config") if isinstance(document, dict) else None
        return BuildConfig.build(settings if isinstance(settings, dict) else {}), []
    except (OSError, ValueError):
        return BuildConfig(), []  # named by read_facts
    except ConfigError:
        said = "run.json has settings that this version does not know: limits are the defaults"
        return BuildConfig(), [said]


def _flatten(value: Any, key: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in sorted(value.items()):
            yield from _flatten(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, str):
        yield key or "value", value[:2000]
    else:
        yield key or "value", json.dumps(value, sort_keys=True, ensure_ascii=False)[:2000]


def _add_previews(
    previews: thumbs.Previews, run: Path, keys: list[str | None], samples: Samples
) -> tuple[dict[str, thumbs.Look], list[str]]:
    damaged: list[str] = []
    looks: dict[str, thumbs.Look] = {}
    present = set(samples.shards)
    found = [samples.entries[key] for key in keys if key and key in samples.entries]
    entries = [entry for entry in found if entry.shard in present]  # others are named already

    def look(entry: index.IndexEntry) -> thumbs.Look | str:
        try:
            return thumbs.look_of(run, entry)
        except (SampleError, ShardError) as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # decoders let go of the interpreter's lock
        for batch in (entries[i : i + _DECODED] for i in range(0, len(entries), _DECODED)):
            if len(looks) >= PREVIEWS_MAX:
                break
            for entry, seen in zip(batch, threads.map(look, batch), strict=True):
                if isinstance(seen, str):
                    damaged.append(seen)
                elif len(looks) < PREVIEWS_MAX:
                    looks[entry.key] = seen
                    previews.add(entry.key, seen.strip)
    more = len(damaged) - 2 * _NAMED_MAX
    kept = damaged[: 2 * _NAMED_MAX]
    return looks, [*kept, f"{more:,} more damaged samples"] if more > 0 else kept


def _script_json(value: Any) -> Markup:
    """Write JSON that is safe inside a script element: no character of markup is left in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _assets() -> dict[str, Any]:
    return {
        "style": Markup("\n".join(_template(name) for name in _STYLES)),
        "scripts": [_script(name) for name in _SCRIPTS],
    }


def _script(name: str) -> dict[str, Any]:
    text = _template(name)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return {"text": Markup(text), "digest": digest}  # the page lets no other script run


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@functools.cache  # compiling the template takes longer than filling it
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["visible"] = _visible
    environment.filters["bytes"] = _bytes_text
    environment.filters["seconds"] = _seconds_text
    return environment


def _visible(text: str) -> str:
    """Write out characters that would hide or reorder others, as the page's script does."""
    hidden = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    return "".join(
        f"\\u{ord(c):04x}" if c in hidden or (ord(c) < 32 and c not in "\n\t") else c for c in text
    )


def _bytes_text(size: int) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    value, place = float(size), 0
    while value >= 1000 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.0f} {units[place]}" if place == 0 else f"{value:.1f} {units[place]}"


def _seconds_text(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
