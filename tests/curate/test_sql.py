"""``orbit4d sql``: what the views hold, what comes out, what is refused."""

import csv
import io
import json
import math
import re
import sys
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from curate import cli_sql, ledger, sql
from shards import index
from shards.errors import RunError
from tests.curate.audit_run import NASTY, make_audit_run

APP = Typer()
APP.command()(cli_sql.sql)
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # a folder whose name DuckDB would take for a pattern, or for the end of a text
    return make_audit_run(tmp_path_factory.mktemp("audit") / "it's [a]*?run", assets=2)


def test_the_views_hold_ledger_and_index_as_they_are_read_elsewhere(run: Path) -> None:
    found = sql.ask(run, "SELECT * FROM ledger ORDER BY path, uid, clip_index")
    assert found.columns == tuple(ledger.SCHEMA.names)
    assert [dict(zip(found.columns, row, strict=True)) for row in found.rows] == ledger.load(run)
    entries = index.read_entries(run / "index.parquet")
    keys = sql.ask(run, 'SELECT key, length FROM index ORDER BY shard, "offset"').rows
    assert keys == [(entry.key, entry.length) for entry in entries]
    joined = "SELECT count(*) FROM index JOIN ledger ON key = sample_key WHERE verdict = 'kept'"
    assert sql.ask(run, joined).rows == [(6,)]


def test_the_newest_part_has_the_word_on_an_asset(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    row = {"uid": "a", "path": "a", "clip_index": 0, "verdict": "kept"}
    ledger.append(tmp_path, [row, row | {"clip_index": 1}, row | {"uid": "b"}], 9)
    ledger.append(tmp_path, [row | {"verdict": "failed"}], 10)
    found = sql.ask(tmp_path, "SELECT uid, clip_index, verdict FROM ledger ORDER BY ALL").rows
    assert found == [("a", 0, "failed"), ("b", 0, "kept")]


def test_a_run_without_rows_or_shards_has_all_columns(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    assert sql.ask(tmp_path, "SELECT count(motion) FROM ledger").rows == [(0,)]
    listed = sql.schema(tmp_path).rows
    assert [name for view, name, _ in listed if view == "ledger"] == ledger.SCHEMA.names
    assert ("index", "offset", "BIGINT") in listed


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT moton FROM ledger", "moton.*--schema"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "one statement is expected, found 2"),
        ("", "one statement is expected, found 0"),
        ("CREATE TABLE x (a INT)", "is no question"),
        ("COPY ledger TO 'stolen.csv'", "is no question"),
    ],
)
def test_what_is_no_question_is_refused(run: Path, query: str, message: str) -> None:
    with pytest.raises(RunError, match=f"(?s){message}"):
        sql.ask(run, query)


@pytest.mark.parametrize("query", ["DESCRIBE ledger", "SUMMARIZE index", "EXPLAIN SELECT 1"])
def test_other_questions_are_answered(run: Path, query: str) -> None:
    assert sql.ask(run, query).rows


def test_folders_without_a_readable_ledger_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no ledger"):
        sql.ask(tmp_path, "SELECT 1")
    ledger.recover(tmp_path)
    (ledger.ledger_dir(tmp_path) / "part-000000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RunError, match=r"cannot be read.*part-000000\.parquet"):
        sql.ask(tmp_path, "SELECT 1")


def test_every_format_prints_the_same_rows(run: Path) -> None:
    query = "SELECT path, clip_index, value FROM ledger ORDER BY ALL"
    expected = sql.ask(run, query).rows
    printed = RUNNER.invoke(APP, [str(run), query, "--format", "csv"]).stdout
    rows = list(csv.reader(io.StringIO(printed, newline="")))
    assert rows[0] == ["path", "clip_index", "value"]
    texts = [[path, str(clip), "" if v is None else str(v)] for path, clip, v in expected]
    assert rows[1:] == texts
    printed = RUNNER.invoke(APP, [str(run), "-", "--format", "json"], input=query).stdout
    assert [tuple(row.values()) for row in json.loads(printed)] == expected
    table = RUNNER.invoke(APP, [str(run), f"{query} LIMIT 300"], env={"COLUMNS": "400"}).stdout
    assert len([line for line in table.splitlines() if ".glb" in line]) >= len(NASTY) - 1
    assert "\x1b" not in table
    assert "\u202e" not in table


def test_values_without_json_or_names_twice_are_not_lost(run: Path) -> None:
    found = sql.ask(run, "SELECT 'nan'::DOUBLE AS a, [1, 'inf'::DOUBLE] AS a, DATE '2026-01-01'")
    assert math.isnan(found.rows[0][0])
    (row,) = json.loads(sql.as_json(found))
    assert list(row.values()) == ["nan", [1.0, "inf"], "2026-01-01"]


_WIDE = (
    "SELECT 'a_rule_with_a_long_name' AS rule, 12345.678 AS value, -1 AS clip_index, "
    "'this sentence is longer than any screen that the other columns leave room on' AS error"
)


def test_what_is_piped_is_not_broken_into_lines(run: Path) -> None:
    head, row = RUNNER.invoke(APP, [str(run), _WIDE], env={"COLUMNS": "60"}).stdout.splitlines()
    assert head.split() == ["rule", "value", "clip_index", "error"]
    assert row.rstrip().endswith("leave room on")


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_on_a_screen_nothing_is_cut_off_and_numbers_stay_whole(run: Path, columns: int) -> None:
    screen = {"COLUMNS": str(columns), "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}
    printed = RUNNER.invoke(APP, [str(run), _WIDE], env=screen).stdout
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("12345.678" in line and "-1" in line for line in lines)
    words = _WIDE.split("'")[3].split()
    assert set(words) <= set(" ".join(lines).split())  # none is cut off, nor broken where it fits
    assert "a_rule_with_a_long_name".startswith(lines[1].split()[0])


def test_long_tables_say_what_they_leave_out(run: Path) -> None:
    done = RUNNER.invoke(APP, [str(run), "SELECT * FROM range(1234)"])
    assert "200 of 1,234 rows; --format csv prints all" in done.stdout


def test_the_schema_lists_types_and_goes_without_a_query(run: Path) -> None:
    listed = RUNNER.invoke(APP, [str(run), "--schema", "--format", "csv"]).stdout.splitlines()
    assert listed[0] == "view,column,type"
    assert "ledger,motion,DOUBLE" in listed
    for wrong in ([str(run)], [str(run), "SELECT 1", "--schema"]):
        assert isinstance(RUNNER.invoke(APP, wrong).exception, RunError)
    assert "orbit4d sql out/run1" in RUNNER.invoke(APP, ["--help"]).output


def test_the_command_ends_with_one_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import orbit4d

    monkeypatch.setattr(sys, "argv", ["orbit4d", "sql", str(run), "SELECT moton FROM ledger"])
    with pytest.raises(SystemExit, match="2"):
        orbit4d.main()
    assert capsys.readouterr().err.startswith("orbit4d: Binder Error")
