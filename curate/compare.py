"""Two runs beside each other: verdicts that changed, scores that drifted, new failures.

Clips are matched by uid and clip number. DuckDB joins the two ledgers where they lie.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate import ledger, sql
from shards.errors import RunError

EXAMPLES_MAX = 200  # rows that a table of the page lists
_TOLERANCE = 1e-6  # relative; below it a score counts as the same

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs from run A to run B.

    Attributes:
        totals: per verdict: how many in A, how many in B.
        both, only_a, only_b: clips in both ledgers, and in one alone.
        moves: (verdict, rule) of A and of B, with how many clips went that way.
        changed: clips with another verdict; at most ``EXAMPLES_MAX``.
        drifts: per score: clips with another value, median and largest change, the clip with it.
        failures: clips that fail in B and did not in A; likewise at most.
        changed_count, failure_count: how many there are of those two.
    """

    totals: list[tuple[str, int, int]]
    both: int
    only_a: int
    only_b: int
    moves: Rows
    changed: Rows
    changed_count: int
    drifts: Rows
    failures: Rows
    failure_count: int


def compare(run_a: Path, run_b: Path) -> Comparison:
    """Compare the ledgers of two runs.

    Raises:
        RunError: if one of the folders holds no readable ledger.
    """
    with duckdb.connect() as both:
        try:
            for name, run in (("a", run_a), ("b", run_b)):
                sql.add_ledger(both, f"{name}_rows", run)
                both.sql(f"CREATE TABLE {name} AS SELECT {_COLUMNS} FROM {name}_rows")
            both.sql(f"CREATE VIEW pairs AS {_PAIRS}")
            return _compared(both)
        except duckdb.Error as error:
            raise RunError(f"{run_a}, {run_b}: cannot be compared: {error}") from error


_SAID = ("path", "clip_name", "verdict", "rule", "stage", "value", "limit", "error", "sample_key")
_COLUMNS = ", ".join(f'"{name}"' for name in ("uid", "clip_index", *_SAID, *ledger.SCORES))
_PAIRS = "SELECT a, b, uid, clip_index FROM a JOIN b USING (uid, clip_index)"
_CHANGED = "a.verdict IS DISTINCT FROM b.verdict"


def _compared(both: duckdb.DuckDBPyConnection) -> Comparison:
    def count(query: str) -> int:
        return both.sql(query).fetchall()[0][0]

    def rows(query: str) -> Rows:
        found = both.sql(query)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    missing = "SELECT count(*) FROM {} ANTI JOIN {} USING (uid, clip_index)"
    totals = [
        (
            verdict,
            count(f"SELECT count(*) FROM a WHERE verdict = '{verdict}'"),
            count(f"SELECT count(*) FROM b WHERE verdict = '{verdict}'"),
        )
        for verdict in ledger.VERDICTS
    ]
    failed = f"b.verdict = 'failed' AND {_CHANGED}"
    shown = "b.path, clip_index, b.clip_name, uid, a.sample_key AS key_a, b.sample_key AS key_b"
    order = f"ORDER BY b.path, uid, clip_index LIMIT {EXAMPLES_MAX}"
    return Comparison(
        totals=totals,
        both=count("SELECT count(*) FROM pairs"),
        only_a=count(missing.format("a", "b")),
        only_b=count(missing.format("b", "a")),
        moves=rows(
            "SELECT a.verdict AS verdict_a, coalesce(a.rule, '') AS rule_a, "
            "b.verdict AS verdict_b, coalesce(b.rule, '') AS rule_b, count(*) AS clips "
            "FROM pairs "
            "WHERE (a.verdict, coalesce(a.rule, '')) <> (b.verdict, coalesce(b.rule, '')) "
            "GROUP BY ALL ORDER BY clips DESC, verdict_a, rule_a, verdict_b, rule_b"
        ),
        changed=rows(
            f"SELECT {shown}, a.verdict AS verdict_a, a.rule AS rule_a, b.verdict AS verdict_b, "
            f"b.rule AS rule_b, b.error FROM pairs WHERE {_CHANGED} {order}"
        ),
        changed_count=count(f"SELECT count(*) FROM pairs WHERE {_CHANGED}"),
        drifts=[row for name in ledger.SCORES for row in rows(_drift(name)) if row["clips"]],
        failures=rows(
            f"SELECT {shown}, b.stage, b.rule, b.error FROM pairs WHERE {failed} {order}"
        ),
        failure_count=count(f"SELECT count(*) FROM pairs WHERE {failed}"),
    )


def _drift(name: str) -> str:
    """Ask how a score changed in clips that both runs measured."""
    a, b = f"a.{name}::DOUBLE", f"b.{name}::DOUBLE"
    far = f"abs({b} - {a}) > {_TOLERANCE} * greatest(abs({a}), abs({b}))"
    return (
        f"SELECT '{name}' AS score, count(*) AS clips, median({b} - {a}) AS median_change, "
        f"arg_max({a}, abs({b} - {a})) AS from_value, arg_max({b}, abs({b} - {a})) AS to_value, "
        f"arg_max(b.path, abs({b} - {a})) AS path, "
        f"arg_max(clip_index, abs({b} - {a})) AS clip_index "
        f"FROM pairs WHERE {far} AND isfinite({a}) AND isfinite({b})"
    )
