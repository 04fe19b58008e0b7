"""The dataset card counts what was kept, names everyone, and lets no name be markup."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate import ledger
from curate.card import card, write_card
from tests.curate.audit_run import NASTY, make_audit_run


def made(rows: list[dict[str, Any]]) -> str:
    return card(pa.Table.from_pylist(rows, schema=ledger.SCHEMA), "a_run", {"bpy": "4.5"})


def clip(uid: str, licence: str, number: int = 0, **more: Any) -> dict[str, Any]:
    row = {"uid": uid, "path": f"{uid}.glb", "clip_index": number, "verdict": "kept"}
    return row | {"licence": licence, "attribution": f"by {uid}", "source": "local"} | more


def test_licences_count_kept_clips_and_their_assets() -> None:
    rows = [clip("a", "by"), clip("a", "by", 1), clip("b", "CC-BY-4.0"), clip("c", "unknown")]
    rows += [clip("d", "CC0-1.0", verdict="rejected", rule="too_still", stage="probe")]
    text = made(rows)
    assert "4 clips of 3 animated 3D assets" in text
    assert "| CC-BY-4.0 | 3 | 2 |" in text  # two spellings of one licence
    assert "| not stated | 1 | 1 |" in text
    assert "Of 1 clips nobody states a licence" in text
    assert "CC0-1.0" not in text  # nothing of it was kept
    assert "| too\\_still | rejected | 1 |" in text
    assert "| bpy | 4.5 |" in text


def test_every_kept_asset_is_named_once() -> None:
    rows = [clip(uid, "CC0-1.0", number) for uid in "abc" for number in range(3)]
    listed = made(rows).partition("## Attribution")[2]
    assert [line for line in listed.splitlines() if line.startswith("| by ")] == [
        f"| by {uid} | {uid}.glb | CC0-1.0 | local |  |" for uid in "abc"
    ]


def test_names_stay_in_their_cells() -> None:
    nasty = [
        *NASTY,
        "a | b",
        "[x](javascript:alert(1))",
        "![x](http://x)",
        "# head\n# two",
        "`<b>`",
    ]
    text = made([clip(f"u{i}", "MIT", path=name, attribution=name) for i, name in enumerate(nasty)])
    listed = text.partition("## Attribution\n\n")[2].splitlines()
    assert len(listed) == 2 + len(nasty)
    for line in listed:
        assert len(re.findall(r"(?<!\\)\|", line)) == 6
        assert not re.search(r"(?<!\\)[<>`\[\]#]", line)
        assert len(line) < 1000
        assert line.isprintable()


def test_a_run_without_kept_clips_has_a_card(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    assert "0 clips of 0 animated" in write_card(tmp_path).read_text()
    run = make_audit_run(tmp_path / "run", assets=2)
    assert "6 clips of 2 animated" in write_card(run).read_text(encoding="utf-8")
