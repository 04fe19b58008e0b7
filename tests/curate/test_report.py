"""Laws of the audit page: its counts are the ledger's, and no name can break it."""

import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer import Typer
from typer.testing import CliRunner

from curate import cli_report, ledger, report, report_columns, report_data
from curate.report_meanings import MEANINGS
from shards import index
from shards.errors import RunError
from shards.tombstones import add_tombstones
from tests.curate.audit_run import NASTY, make_audit_run


@pytest.fixture(scope="module")
def audit_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_audit_run(tmp_path_factory.mktemp("audit") / "run", assets=2)


@pytest.fixture
def own_run(audit_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audit_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def page(audit_run: Path) -> Path:
    return report.write_report(audit_run)


def _data(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def _rows(page: Path) -> list[dict[str, Any]]:
    data = _data(page)
    names = [column["name"] for column in data["columns"]]
    return [dict(zip(names, row, strict=True)) for row in data["rows"]]


def _problems(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<section class="panel problems".*?</section>', text, re.DOTALL)
    return re.findall(r"<li>(.*?)</li>", found[0]) if found else []


def test_counts_on_the_page_are_those_of_the_ledger(audit_run: Path, page: Path) -> None:
    rows = ledger.load(audit_run)
    text = page.read_text(encoding="utf-8")
    assert page == audit_run / "report" / "index.html"
    assert f"<dt>Rows</dt><dd>{len(rows)}</dd>" in text
    for verdict, count in Counter(row["verdict"] for row in rows).items():
        assert f"<dt>{verdict.capitalize()}</dt><dd>{count} <small>" in text
    assert [(row["uid"], row["clip_index"]) for row in _rows(page)] == [
        (row["uid"], row["clip_index"]) for row in rows
    ]
    assert not _problems(page)


@pytest.mark.slow
@pytest.mark.parametrize("inline_limit_bytes", [10**9, 0])
def test_what_was_taken_down_has_no_picture(own_run: Path, inline_limit_bytes: int) -> None:
    page = report.write_report(own_run, inline_limit_bytes=inline_limit_bytes)
    shown = set(_data(page)["previews"])
    gone = sorted(key for key in shown if key.startswith("blob00"))
    add_tombstones(own_run, {"blob00": ""})
    report.write_report(own_run, inline_limit_bytes=inline_limit_bytes)
    assert set(_data(page)["previews"]) == shown - set(gone)
    strips = {path.stem for path in (page.parent / "thumbs").glob("*")}
    assert strips == (set() if inline_limit_bytes else shown - set(gone))
    assert _problems(page) == [f"3 samples taken down, not shown here: {', '.join(gone)}"]


def test_summary_adds_up(audit_run: Path) -> None:
    rows = ledger.load(audit_run)
    summary = report_data.summarise(report_data.read_table(audit_run))
    verdicts = {tally.label: tally.count for tally in summary.verdicts}
    assert verdicts == Counter(row["verdict"] for row in rows)
    rules = {(tally.verdict, tally.stage, tally.label): tally.count for tally in summary.rules}
    assert rules == Counter(
        (row["verdict"], row["stage"], row["rule"]) for row in rows if row["verdict"] != "kept"
    )
    assert summary.steps[0].entered == len(rows)
    assert summary.steps[-1].left == verdicts["kept"]
    assert sum(tally.count for tally in summary.formats) == len(rows)
    assert sum(tally.kept for tally in summary.licences) == verdicts["kept"]
    assert summary.seconds["load"] == pytest.approx(sum(row["load_s"] or 0 for row in rows))


def test_table_reads_the_newest_word_like_the_ledger(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    row = {"uid": "a", "path": "b.glb", "clip_index": 0, "verdict": "failed", "rule": "crashed"}
    ledger.append(tmp_path, [row, row | {"uid": "b", "clip_index": 1}], 0)
    ledger.append(tmp_path, [row | {"verdict": "kept", "path": "a.glb"}], 1)
    assert report_data.read_table(tmp_path).to_pylist() == ledger.load(tmp_path)


def test_every_score_has_a_meaning() -> None:
    columns = {column.name: column for column in report_columns.columns()}
    measured = {*ledger.SCORES, *ledger.QA}
    assert measured <= {name for name in columns if columns[name].meaning}
    assert all(columns[name].unit for name in measured)
    assert set(MEANINGS) <= set(columns)
    assert {name for name in columns if columns[name].kind == "score"} < set(ledger.SCORES)


def test_names_cannot_break_out(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2 + len(report._SCRIPTS)
    assert "<img" not in text.partition("<body>")[2].partition("<script>")[0]
    assert "onerror=alert" in text  # as data
    shown = {row["path"] for row in _rows(page)}
    assert {name for name in NASTY if len(name) < 1000} <= shown
    (cut,) = [path for path in shown if path.startswith("long-")]
    assert cut.endswith("more characters in the ledger]")
    assert len(cut) < 1100


def test_rules_and_run_facts_are_escaped(own_run: Path) -> None:
    evil = "<i onclick=x>\"'&"
    row = {"uid": "z", "path": "z", "clip_index": 0, "verdict": "rejected", "rule": evil}
    ledger.append(own_run, [row | {"licence": evil, "format": evil, "stage": evil}], 1)
    (own_run / "run.json").write_text(json.dumps({evil: {evil: evil}}))
    text = report.write_report(own_run).read_text(encoding="utf-8")
    assert "<i onclick" not in text
    assert text.count("&lt;i onclick=x&gt;&#34;&#39;&amp;") >= 6


@pytest.mark.slow
def test_same_inputs_give_the_same_bytes(audit_run: Path, own_run: Path) -> None:
    first = report.write_report(audit_run).read_bytes()
    assert report.write_report(own_run).read_bytes() == first


def test_page_without_rows(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    page = report.write_report(tmp_path)
    assert _rows(page) == []
    assert "No rule rejected a clip" in page.read_text(encoding="utf-8")
    assert _problems(page) == [
        "run.json is missing: settings and versions of this run are not known"
    ]


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds neither ledger/ nor run.json nor an index"):
        report.write_report(tmp_path)
    with pytest.raises(RunError, match="there is no such folder"):
        report.write_report(tmp_path / "absent")


def test_damaged_ledger_is_named(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    (ledger.ledger_dir(tmp_path) / "part-000000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RunError, match=r"part-000000\.parquet: not a readable ledger part"):
        report.write_report(tmp_path)


@pytest.mark.slow
def test_missing_and_damaged_shards_are_named(own_run: Path) -> None:
    entries = index.read_entries(own_run / "index.parquet")
    assert len(entries) == 6
    tar = index.shard_dir(own_run) / "shard-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[: entries[-1].offset + 700])
    cut = report.write_report(own_run)
    assert len(_data(cut)["previews"]) == 5
    assert any(entries[-1].key in problem and "cut off" in problem for problem in _problems(cut))
    tar.write_bytes(b"x" * len(whole))
    assert "do not have the sha256 of the index" in _problems(report.write_report(own_run))[0]
    tar.unlink()
    page = report.write_report(own_run)
    assert _problems(page) == ["shard-000000.tar is missing: 6 samples of the index have no data"]
    assert len(_rows(page)) == len(ledger.load(own_run))


def test_ledger_and_index_that_disagree_are_named(own_run: Path) -> None:
    row = {"uid": "ghost", "path": "g.glb", "clip_index": 0, "verdict": "kept", "rule": ""}
    ledger.append(own_run, [row | {"sample_key": "ghost-000"}], 1)
    (index.part_dir(own_run) / "shard-000000.parquet").write_bytes(b"broken")
    problems = _problems(report.write_report(own_run))
    assert any("index/shard-000000.parquet: not a readable" in text for text in problems)
    assert "shard-000000.tar is not in the index" in problems
    assert any("7 samples kept in the ledger but not in the index" in text for text in problems)
    assert not any(str(own_run) in text for text in problems)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{not json", "run.json cannot be read"),
        (b'{"a": {"b": [1, null]}, "c": {}}', ""),
        (b"[]", ""),
        (json.dumps({str(i): i for i in range(1000)}).encode(), ""),
    ],
)
def test_any_run_json_is_borne(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    facts, problems = report.read_facts(tmp_path)
    assert len(facts) <= 401
    assert [expected in problem for problem in problems] == [True] * bool(expected)
    report.write_report(tmp_path)


def test_numbers_that_json_lacks_are_embedded() -> None:
    row = dict.fromkeys(ledger.SCHEMA.names) | {
        "motion": math.nan,
        "drift": math.inf,
        "step": 1 / 3,
    }
    table = pa.Table.from_pylist([row], schema=ledger.SCHEMA)
    (embedded,) = report_data.embed(table, ledger.SCHEMA.names)
    values = dict(zip(ledger.SCHEMA.names, embedded, strict=True))
    assert (values["motion"], values["drift"], values["step"]) == ("NaN", "Infinity", 0.3333333)
    assert values["warnings"] == []
    json.dumps(embedded, allow_nan=False)


def test_long_ledger_shows_a_share_of_every_rule(tmp_path: Path) -> None:
    row = {"clip_index": 0, "path": "p", "verdict": "rejected", "rule": "common"}
    rows = [row | {"uid": f"u{i}"} for i in range(200)]
    rows += [row | {"uid": f"r{i}", "rule": "rare"} for i in range(3)]
    ledger.recover(tmp_path)
    ledger.append(tmp_path, rows, 0)
    page = report.write_report(tmp_path, max_rows=50)
    shown = _rows(page)
    assert Counter(row["rule"] for row in shown) == {"common": 47, "rare": 3}
    assert len({row["uid"] for row in shown}) == 50
    text = page.read_text(encoding="utf-8")
    assert "50 of 203 rows are listed here" in text
    assert "<dt>Rejected</dt><dd>203 <small>" in text


@pytest.mark.slow
def test_large_previews_stand_beside_the_page_and_go_again(own_run: Path) -> None:
    page = report.write_report(own_run, inline_limit_bytes=1000)
    sources = _data(page)["previews"]
    assert len(sources) == 6
    assert all((page.parent / source).is_file() for source in sources.values())
    assert "copy both together" in page.read_text(encoding="utf-8")
    report.write_report(own_run)
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html"]


@pytest.mark.slow
def test_commands_print_what_they_wrote(own_run: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(cli_report.report)
    app.command()(cli_report.contact)
    runner = CliRunner()
    done = runner.invoke(app, ["report", str(own_run)])
    assert (done.exit_code, done.output.strip()) == (0, str(own_run / "report" / "index.html"))
    picture = tmp_path / "c.png"
    assert runner.invoke(app, ["contact", str(own_run), str(picture)]).exit_code == 0
    assert picture.exists()
    refused = runner.invoke(app, ["report", str(tmp_path / "absent")])
    assert refused.exit_code == 1
    assert "no such folder" in refused.output
    for verb in ("report", "contact"):
        assert f"Example: orbit4d {verb}" in runner.invoke(app, [verb, "--help"]).output
