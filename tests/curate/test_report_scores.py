"""Distributions, causes of failure, review draws: what the audit page counts besides verdicts."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import ledger, report_data, report_payload, report_scores
from curate.config import BuildConfig
from tests.curate.audit_run import make_audit_run

CONFIG = BuildConfig()


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=ledger.SCHEMA)


@pytest.fixture(scope="module")
def audit_table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return report_data.read_table(make_audit_run(tmp_path_factory.mktemp("audit") / "run"))


def test_histograms_hold_every_measured_row_once(audit_table: pa.Table) -> None:
    found = {entry["score"]: entry for entry in report_scores.histograms(audit_table, CONFIG)}
    rows = audit_table.to_pylist()
    assert {"motion", "drift", "margin_px", "duration_s", "motion_magnitude"} <= found.keys()
    for score, entry in found.items():
        measured = [row for row in rows if row[score] is not None]
        assert entry["measured"] == len(measured)
        assert sum(entry["kept"]) == sum(row["verdict"] == "kept" for row in measured)
        assert sum(entry["kept"]) + sum(entry["dropped"]) == len(measured)
        assert len(entry["edges"]) == len(entry["kept"]) + 1
        assert np.all(np.diff(entry["edges"]) > 0), score


def test_counts_have_bins_of_whole_numbers_from_nought_on() -> None:
    rows = [{"uid": "a", "verdict": "kept", "parts": n, "qa_border": 0.0} for n in (1, 1, 3, 9)]
    found = {entry["score"]: entry for entry in report_scores.histograms(table(rows), CONFIG)}
    assert found["parts"]["edges"] == list(range(1, 12))
    assert found["parts"]["kept"] == [2, 0, 1, 0, 0, 0, 0, 0, 1, 0]
    assert found["qa_border"]["edges"] == list(range(11))
    assert not found["parts"]["logarithmic"]


@pytest.mark.parametrize(
    "values", [[1.0], [0.0, 0.0], [-3.0, 5.0, np.nan], [1e-9, 1e-3, 1e6], [np.inf, 2.0, 1e300]]
)
def test_histograms_bear_any_values(values: list[float]) -> None:
    rows = [{"uid": "a", "verdict": "kept", "rotation_deg": value} for value in values]
    (entry,) = report_scores.histograms(table(rows), CONFIG)
    assert sum(entry["kept"]) == np.isfinite(values).sum()
    assert np.all(np.diff(entry["edges"]) > 0)


def test_limits_stand_beside_their_scores(audit_table: pa.Table) -> None:
    config = BuildConfig.load(None, ["curate.motion.min=0.02"])
    found = {entry["score"]: entry for entry in report_scores.histograms(audit_table, config)}
    (limit,) = found["motion"]["limits"]
    assert limit == {
        "rule": "too_still", "value": 0.02, "setting": "motion.min", "passes": "≥",
    }  # fmt: skip
    assert found["rotation_deg"]["limits"] == []
    names = {name for name, limits in report_scores._limits(CONFIG).items() if limits}
    assert set(ledger.QA) <= names


def test_lengths_and_seconds_add_up(audit_table: pa.Table) -> None:
    rows = audit_table.to_pylist()
    found = report_scores.lengths(audit_table)
    assert sum(count for _, count, _ in found) == len(rows)
    assert sum(kept for *_, kept in found) == sum(row["verdict"] == "kept" for row in rows)
    summary = report_data.summarise(audit_table)
    names = ledger.SECONDS
    dropped = sum(row[n] or 0 for row in rows if row["verdict"] != "kept" for n in names)
    assert sum(step.seconds for step in summary.steps) == pytest.approx(dropped)
    assert sum(tally.seconds for tally in summary.rules) == pytest.approx(dropped)


def test_failures_are_grouped_with_different_logs() -> None:
    row = {"uid": "a", "clip_index": 0, "verdict": "failed", "rule": "crashed", "stage": "render"}
    rows = [row | {"path": f"p{i}", "log_tail": f"log {i % 2}"} for i in range(9)]
    rows += [row | {"rule": "timeout", "error": "late"}, row | {"verdict": "kept"}]
    first, second = report_scores.failures(table(rows))
    assert (first["rule"], first["count"], len(first["examples"])) == ("crashed", 9, 2)
    assert (second["rule"], second["count"]) == ("timeout", 1)


def test_review_draws_so_many_of_every_rule_and_always_the_same(audit_table: pa.Table) -> None:
    picks = report_payload.review_picks(audit_table, 2)
    rows = [audit_table.slice(place, 1).to_pylist()[0] for place in picks]
    assert len(set(picks)) == len(picks)
    assert all(row["clip_index"] >= 0 and row["verdict"] != "failed" for row in rows)
    groups = [(row["verdict"], row["rule"]) for row in rows]
    assert max(Counter(groups).values()) == 2
    assert ("kept", "") in groups
    assert ("rejected", "too_still") in groups
    assert report_payload.review_picks(audit_table, 2) == picks
    assert report_payload.review_picks(audit_table, 0) == []


@pytest.mark.slow
def test_the_page_has_the_card_beside_it(tmp_path: Path) -> None:
    from typer import Typer
    from typer.testing import CliRunner

    from curate import cli_report

    app = Typer()
    app.command()(cli_report.report)
    run = make_audit_run(tmp_path / "run", assets=1)
    done = CliRunner().invoke(app, [str(run)])
    assert done.exit_code == 0
    assert (run / "report" / "card.md").read_text().startswith("# run\n")
    done = CliRunner().invoke(app, [str(run), str(run)])
    assert done.output.strip() == str(run / "report" / "compare.html")
    assert CliRunner().invoke(app, [str(run), str(tmp_path)]).exit_code == 1
