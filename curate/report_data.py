"""What the audit page says, as plain values: columns, counts, chosen rows. No HTML here.

Counts are taken over the whole ledger; rows are embedded up to a number. To add a section to the
page, compute it here and show it in ``curate/templates``.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import ledger, report_scores
from shards.errors import RunError
from shards.seeding import rng_for

STAGES = ("source", "fetch", "inspect", "load", "probe", "curate", "render", "pack")
NO_RULE = "(no rule)"
_CLIPPED = {
    "reproduce": 16000,
    "log_tail": 8000,
    "error": 4000,
    "warnings": 8000,
}  # characters; page size is bounded
_CLIPPED_OTHERS = 1000


@dataclass(frozen=True, slots=True)
class Tally:
    """One line of a table of counts."""

    label: str
    count: int
    total: int
    verdict: str = ""
    stage: str = ""
    kept: int = 0
    seconds: float = 0.0

    @property
    def percent(self) -> float:
        """Share of the total, 0 to 100."""
        return 100 * self.count / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the funnel: how many rows came in, fell here, went on."""

    stage: str
    entered: int
    rejected: int
    failed: int
    seconds: float = 0.0  # spent on the rows that fell here

    @property
    def left(self) -> int:
        """Rows that went on to the next stage."""
        return self.entered - self.rejected - self.failed


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over the whole ledger."""

    rows: int
    assets: int
    whole_assets: int  # rows about an asset, not about a clip
    verdicts: list[Tally]
    rules: list[Tally]
    steps: list[Step]
    formats: list[Tally]
    licences: list[Tally]
    sources: list[Tally]
    lengths: list[Tally]
    failures: list[dict[str, Any]]
    seconds: dict[str, float]


def read_table(run: Path) -> pa.Table:
    """Read the ledger as one table, the newest word on each asset, in ``ledger.load``'s order.

    A table of 300,000 rows takes a tenth of the memory that ``load``'s dictionaries take.

    Raises:
        RunError: if a part cannot be read.
    """
    tables: list[pa.Table] = []
    newest: dict[str, int] = {}
    for number, path in enumerate(ledger.parts(run)):
        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{path}: not a readable ledger part: {error}") from error
        tables.append(_as_schema(table, path))
        newest |= dict.fromkeys(tables[-1]["uid"].to_pylist(), number)
    live = [
        table.filter(
            pa.array([newest[uid] == number for uid in table["uid"].to_pylist()], pa.bool_())
        )
        for number, table in enumerate(tables)
    ]
    whole = pa.concat_tables(live) if live else ledger.SCHEMA.empty_table()
    return whole.sort_by([(name, "ascending") for name in ("path", "uid", "clip_index")])


def _as_schema(table: pa.Table, path: Path) -> pa.Table:
    needed = {"uid", "path", "clip_index", "verdict"} - set(table.column_names)
    if needed:
        raise RunError(f"{path}: a ledger part without the columns {sorted(needed)}")
    present = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in ledger.SCHEMA
    ]
    return pa.table(present, schema=ledger.SCHEMA)


def summarise(table: pa.Table) -> Summary:
    """Count the rows of a ledger by verdict, rule, stage, format and licence."""
    groups = _count(table, "verdict", "stage", "rule")
    verdicts = Counter[str]()
    rules = Counter[tuple[str, str, str]]()
    for (verdict, stage, rule), count in groups.items():
        verdicts[verdict] += count
        if verdict != "kept":
            rules[verdict, stage, rule or NO_RULE] += count
    spent = report_scores.seconds_by_rule(table)
    names = [*ledger.VERDICTS, *sorted(set(verdicts) - set(ledger.VERDICTS))]
    total = len(table)
    return Summary(
        rows=total,
        assets=len(table["uid"].unique()),
        whole_assets=table["clip_index"].to_pylist().count(-1),
        verdicts=[Tally(name, verdicts[name], total, verdict=name) for name in names],
        rules=[
            Tally(
                rule,
                count,
                total,
                verdict=verdict,
                stage=stage,
                seconds=spent[verdict, stage, "" if rule == NO_RULE else rule],
            )
            for (verdict, stage, rule), count in sorted(
                rules.items(), key=lambda item: (-item[1], item[0])
            )
        ],
        steps=_funnel(groups, total, spent),
        formats=_by(table, "format"),
        licences=_by(table, "licence"),
        sources=_by(table, "source"),
        lengths=[
            Tally(label, count, total, kept=kept)
            for label, count, kept in report_scores.lengths(table)
        ],
        failures=report_scores.failures(table),
        seconds={
            name.removesuffix("_s"): math.fsum(value or 0 for value in table[name].to_pylist())
            for name in ledger.SECONDS
        },
    )


def _count(table: pa.Table, *names: str) -> Counter[tuple[str, ...]]:
    grouped = table.group_by(list(names)).aggregate([([], "count_all")])
    keys = zip(*(grouped[name].to_pylist() for name in names), strict=True)
    counts = Counter[tuple[str, ...]]()
    for key, count in zip(keys, grouped["count_all"].to_pylist(), strict=True):
        counts[tuple(part or "" for part in key)] += count
    return counts


def _funnel(
    groups: Counter[tuple[str, ...]], total: int, spent: dict[tuple[str, str, str], float]
) -> list[Step]:
    fell = Counter[tuple[str, str]]()
    seconds: defaultdict[str, float] = defaultdict(float)
    for (verdict, stage, _), value in spent.items():
        if verdict != "kept":
            seconds[stage] += value
    for (verdict, stage, _), count in groups.items():
        if verdict != "kept":
            fell[stage, "failed" if verdict == "failed" else "rejected"] += count
    unknown = sorted({stage for stage, _ in fell} - set(STAGES))
    steps: list[Step] = []
    entered = total
    for stage in (*STAGES, *unknown):
        counts = fell[stage, "rejected"], fell[stage, "failed"]
        step = Step(stage or "(no stage)", entered, *counts, seconds[stage])
        steps.append(step)
        entered = step.left
    return steps


def _by(table: pa.Table, name: str, most: int = 12) -> list[Tally]:
    totals, kept = Counter[str](), Counter[str]()
    for (value, verdict), count in _count(table, name, "verdict").items():
        totals[value or "unknown"] += count
        kept[value or "unknown"] += count if verdict == "kept" else 0
    ordered = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    tallies = [Tally(value, count, len(table), kept=kept[value]) for value, count in ordered[:most]]
    rest = [value for value, _ in ordered[most:]]
    if rest:
        label = f"{len(rest)} others"
        left = sum(totals[value] for value in rest)
        tallies.append(Tally(label, left, len(table), kept=sum(kept[value] for value in rest)))
    return tallies


def choose_rows(table: pa.Table, most: int) -> list[int]:
    """Choose the rows to embed, by their places: all that fit, else a seeded share of every rule.

    Groups of (verdict, rule) share the places evenly; what small groups leave goes to large ones,
    so that a rare rule is shown whole beside a common one.
    """
    if len(table) <= most:
        return list(range(len(table)))
    groups: dict[tuple[str, str], list[int]] = {}
    pairs = zip(table["verdict"].to_pylist(), table["rule"].to_pylist(), strict=True)
    for row, (verdict, rule) in enumerate(pairs):
        groups.setdefault((verdict or "", rule or ""), []).append(row)
    chosen: list[int] = []
    left = most
    smallest_first = sorted(groups.items(), key=lambda item: (len(item[1]), item[0]))
    for place, (key, rows) in enumerate(smallest_first):
        quota = min(len(rows), left // (len(groups) - place))
        left -= quota
        picks = rng_for(0, "report rows", *key).permutation(len(rows))[:quota]
        chosen += [rows[pick] for pick in picks]
    return sorted(chosen)


def embed(table: pa.Table, names: Sequence[str]) -> list[list[Any]]:
    """Turn columns of rows into JSON values; lossless but for very long text."""
    values = [[_embed_value(value, name) for value in table[name].to_pylist()] for name in names]
    return [list(row) for row in zip(*values, strict=True)]


def _embed_value(value: Any, name: str) -> Any:
    if name == "warnings":
        most = _CLIPPED[name]
        return [_clip(text, most) for text in _texts(value)][:100]
    if isinstance(value, str):
        return _clip(value, _CLIPPED.get(name, _CLIPPED_OTHERS))
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, float):
        return float(f"{value:.7g}")  # three times shorter, and more digits than anyone reads
    if isinstance(value, list):  # a curve is drawn, not read
        return [float(f"{item:.3g}") if math.isfinite(item) else None for item in value]
    return value


def _texts(value: str | None) -> Iterable[str]:
    if not value:
        return []
    try:
        document = json.loads(value)
    except json.JSONDecodeError:
        return [value]
    items = document if isinstance(document, list) else [document]
    return [item if isinstance(item, str) else json.dumps(item) for item in items]


def _clip(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}… [{len(text) - most:,} more characters in the ledger]"
