"""docs/ledger.md names every column with its type, and its queries run and find what they say."""

import re
from pathlib import Path
from typing import Any

import pytest

from curate import ledger, sql
from tests.curate.audit_run import make_audit_run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "ledger.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_audit_run(tmp_path_factory.mktemp("audit") / "run")


def ask(run: Path, number: int) -> list[dict[str, Any]]:
    found = sql.ask(run, QUERIES[number])
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def test_every_column_stands_there_with_its_type_and_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+(?:<[\w: ]+>)?) \| (.+) \|$", TEXT, re.MULTILINE)
    assert [(name, kind) for name, kind, _ in rows] == [
        (field.name, str(field.type)) for field in ledger.SCHEMA
    ]
    assert all(len(meaning.strip()) > 2 for _, _, meaning in rows)


def test_the_counts_by_rule_add_up_to_all_rows(run: Path) -> None:
    rows = ledger.load(run)
    found = ask(run, 0)
    assert sum(row["clips"] for row in found) == len(rows)
    kept = sum(row["clips"] for row in found if row["verdict"] == "kept")
    assert kept == sum(row["verdict"] == "kept" for row in rows)


def test_near_misses_lie_between_half_the_limit_and_the_limit(run: Path, tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    values = {"far": 0.001, "near": 0.009, "half": 0.006}
    rows = [
        {"uid": name, "path": name, "clip_index": 0, "rule": "too_still", "value": v, "limit": 0.01}
        for name, v in values.items()
    ]
    ledger.append(tmp_path, rows, 0)
    assert [row["path"] for row in ask(tmp_path, 1)] == ["near", "half"]
    assert all(row["rule"] == "too_still" for row in ask(run, 1))


def test_assets_that_failed_wholly_are_those_without_another_verdict(run: Path) -> None:
    verdicts: dict[str, set[str]] = {}
    for row in ledger.load(run):
        verdicts.setdefault(row["path"], set()).add(row["verdict"])
    failed = sorted(path for path, words in verdicts.items() if words == {"failed"})
    assert failed
    assert sorted(row["path"] for row in ask(run, 2)) == failed


def test_licences_count_what_is_kept(run: Path) -> None:
    kept = [row for row in ledger.load(run) if row["verdict"] == "kept"]
    found = ask(run, 3)
    assert sum(row["clips"] for row in found) == len(kept)
    assert {row["licence"] for row in found} == {row["licence"] for row in kept}


def test_seconds_by_format_are_those_of_the_rows(run: Path) -> None:
    spent = sum(row["render_s"] or 0.0 for row in ledger.load(run))
    assert sum(row["render_s"] or 0.0 for row in ask(run, 4)) == pytest.approx(spent)
