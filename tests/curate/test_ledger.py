from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import compact as compaction
from curate import ledger
from curate.compact import compact
from curate.records import Records
from shards.files import temporary_for
from shards.seeding import rng_for


def row(uid: str, clip: int = 0, verdict: str = "kept", **more: Any) -> dict[str, Any]:
    return {"uid": uid, "path": f"{uid}.glb", "clip_index": clip, "verdict": verdict, **more}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ledger.recover(tmp_path)
    return tmp_path


@pytest.fixture(params=["few rows", "many rows"])
def any_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compact as few rows are, in memory, and as many are, on disk."""
    if request.param == "many rows":
        monkeypatch.setattr(compaction, "_FEW_ROWS", 0)


def words(run: Path) -> list[tuple[str, int, str]]:
    return [(row["uid"], row["clip_index"], row["verdict"]) for row in ledger.load(run)]


def write(run: Path, *parts: list[dict[str, Any]]) -> None:
    for rows in parts:
        ledger.append(run, rows, ledger.next_number(run))


def test_an_empty_ledger_has_no_rows(tmp_path: Path) -> None:
    assert ledger.load(tmp_path) == []  # not even the folder is there
    ledger.recover(tmp_path)
    compact(tmp_path)
    assert ledger.load(tmp_path) == []
    assert ledger.next_number(tmp_path) == 0


def test_what_is_appended_is_read_back(run: Path) -> None:
    full = row(
        "a", 3, "rejected", rule="too_still", value=0.001, limit=0.01, unit="asset sizes",
        error="quo\"tes, ünï, new\nline", bytes=2**40, modified_ns=1_700_000_000_123_456_789,
        warnings="[]", motion=1 / 3, fingerprint="0f", window_start_s=0.0,
    )  # fmt: skip
    write(run, [full])
    (read,) = ledger.load(run)
    assert list(read) == ledger.SCHEMA.names
    assert {name: value for name, value in read.items() if value is not None} == full


def test_missing_columns_are_null_and_unknown_ones_are_left_out(run: Path) -> None:
    write(run, [row("a", mood="good"), row("b", motion=0.5)])
    first, second = ledger.load(run)
    assert "mood" not in first
    assert first["motion"] is None
    assert second["motion"] == 0.5
    assert first["sample_key"] is first["settings"] is None


@pytest.mark.usefixtures("any_size")
def test_a_part_of_an_older_version_reads_with_nulls_and_is_compacted(run: Path) -> None:
    older = pa.schema([field for field in ledger.SCHEMA if field.name != "companions"])
    pq.write_table(
        pa.Table.from_pylist([row("a")], schema=older),
        ledger.ledger_dir(run) / "part-000000.parquet",
    )
    write(run, [row("b", companions="[]")])
    assert [row["companions"] for row in ledger.load(run)] == [None, "[]"]
    compact(run)
    assert [row["companions"] for row in ledger.load(run)] == [None, "[]"]
    (part,) = ledger.parts(run)
    assert pq.read_schema(part).names == ledger.SCHEMA.names


def test_a_value_of_the_wrong_type_is_refused_and_leaves_no_part(run: Path) -> None:
    with pytest.raises(pa.ArrowException, match="many"):
        write(run, [row("a", vertices="many")])
    assert list(ledger.ledger_dir(run).iterdir()) == []


@pytest.mark.usefixtures("any_size")
def test_rows_come_in_the_order_of_path_and_clip(run: Path) -> None:
    write(run, [row("b", 2), row("b", 10), row("b", 0)], [row("c", -1), row("a", 1), row("a", 0)])
    expected = [("a", 0), ("a", 1), ("b", 0), ("b", 2), ("b", 10), ("c", -1)]
    assert [word[:2] for word in words(run)] == expected
    compact(run)
    (part,) = ledger.parts(run)
    table = pq.read_table(part).select(["uid", "clip_index"]).to_pylist()
    assert [(row["uid"], row["clip_index"]) for row in table] == expected


def test_the_newest_word_on_an_asset_replaces_all_older_ones(run: Path) -> None:
    write(
        run,
        [row("a", 0), row("a", 1), row("a", 2), row("b", 0)],
        [row("a", 0, "rejected")],  # the file has one clip now
        [row("c", 0)],
        [row("b", -1, "failed")],
    )
    assert words(run) == [("a", 0, "rejected"), ("b", -1, "failed"), ("c", 0, "kept")]


def test_what_a_build_looks_up_is_the_newest_word_too(run: Path) -> None:
    write(run, [row("a", 0), row("a", 1), row("b")], [row("a", 0, "rejected")])
    records = Records()
    records.read_ledger(run)
    for rows in (records.rows("a"), records.whole_rows("a")):
        assert [(one["clip_index"], one["verdict"]) for one in rows] == [(0, "rejected")]
    assert len(records.rows("b")) == 1


def test_parts_are_ordered_by_their_number(run: Path) -> None:
    ledger.append(run, [row("a", 0, "rejected")], 10)
    ledger.append(run, [row("a", 0, "kept")], 9)
    assert words(run) == [("a", 0, "rejected")]
    assert ledger.next_number(run) == 11


@pytest.mark.usefixtures("any_size")
def test_compaction_leaves_one_part_that_reads_the_same(run: Path) -> None:
    write(run, [row("a"), row("b")], [row("b", 1)], [row("c")])
    before = ledger.load(run)
    compact(run)
    assert ledger.load(run) == before
    assert len(ledger.parts(run)) == 1
    (part,) = ledger.parts(run)
    data = part.read_bytes()
    compact(run)
    assert ledger.load(run) == before
    assert ledger.parts(run) == [part]  # a single part is left alone
    assert part.read_bytes() == data
    write(run, [row("a", 0, "failed")])
    assert words(run)[0] == ("a", 0, "failed")  # what comes later is newer than the compacted part


@pytest.mark.parametrize("removed", range(4))
def test_a_kill_while_compacting_changes_no_word(run: Path, removed: int) -> None:
    write(run, [row("a"), row("b")], [row("a", 0, "rejected")], [row("b", 1), row("b", 2)])
    before = ledger.load(run)
    old = {path: path.read_bytes() for path in ledger.parts(run)}
    compact(run)
    for path, data in list(old.items())[removed:]:  # killed after it had removed this many
        path.write_bytes(data)
    assert ledger.load(run) == before
    compact(run)
    assert ledger.load(run) == before
    assert len(ledger.parts(run)) == 1


def test_half_written_parts_are_no_parts_and_are_cleared(run: Path) -> None:
    write(run, [row("a")])
    leftover = temporary_for(ledger.ledger_dir(run) / "part-000001.parquet")
    leftover.write_bytes(b"PAR1 half")
    assert words(run) == [("a", 0, "kept")]
    assert ledger.next_number(run) == 1
    ledger.recover(run)
    assert not leftover.exists()
    assert words(run) == [("a", 0, "kept")]


PARTS = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.lists(st.sampled_from(ledger.VERDICTS), min_size=1, max_size=3),
        min_size=1,
    ),
    max_size=5,
)


@given(PARTS, st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_it_reads_as_a_dictionary_that_is_updated(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, list[str]]], compacted: int
) -> None:
    run = tmp_path_factory.mktemp("run")
    ledger.recover(run)
    expected: dict[str, list[str]] = {}
    for number, part in enumerate(history):
        if number == compacted:
            compact(run)
        write(run, [row(uid, i, v) for uid, said in part.items() for i, v in enumerate(said)])
        expected |= part
    assert words(run) == [(u, i, v) for u in sorted(expected) for i, v in enumerate(expected[u])]


def test_compaction_reads_row_groups_again_that_it_had_to_let_go(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_FEW_ROWS", 0)
    monkeypatch.setattr(compaction, "_ROW_GROUP", 3)
    monkeypatch.setattr(compaction, "_ROWS_HELD", 7)
    draw = rng_for(0, "parts")
    for turn in range(3):  # from the second on, the first part has many row groups
        for part in range(6):
            uids = draw.choice(list("abcdefghijklmnop"), 5, replace=False).tolist()
            rows = [
                row(uid, clip, "kept", motion=draw.random(), activity_curve=[float(part), clip])
                for uid in uids
                for clip in range(int(draw.integers(1, 4)))
            ]
            write(run, rows)
        expected = ledger.load(run)
        compact(run)
        (whole,) = ledger.parts(run)
        file = pq.ParquetFile(whole)
        assert {file.metadata.row_group(i).num_rows for i in range(file.num_row_groups - 1)} == {3}
        assert file.read().to_pylist() == expected, turn
