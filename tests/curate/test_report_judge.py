"""The page's script judges rows as ``curate.whatif_judge`` does: gaps, NaN, chains of copies."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate import ledger, report_payload, whatif, whatif_judge
from curate.config import BuildConfig
from curate.report import write_report
from shards.seeding import rng_for
from tests.curate.browsing import open_page
from tests.curate.test_whatif import rows

_ANSWER = """places => {
  const found = judge(places);
  return [Array.from(found.verdicts), Array.from(found.rules)];
}"""
SETTINGS = (
    [],
    ["curate.duplicates.reject=geometry", "curate.clips.per_asset_max=2"],
    ["curate.duplicates.reject=bytes", "curate.clips.per_asset_max=1"],
)


@pytest.mark.browser
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_script_says_what_python_says(
    browser: Any, tmp_path: Path, settings: list[str]
) -> None:
    config = BuildConfig.load(None, settings)
    ledger.recover(tmp_path)
    ledger.append(tmp_path, rows(600, seed=21), 0)
    (tmp_path / "run.json").write_text(json.dumps({"config": config.model_dump(mode="json")}))
    table = pa.Table.from_pylist(ledger.load(tmp_path), schema=ledger.SCHEMA)
    prepared = whatif.prepare(table, config.curate, config.render.qa)
    assert len(prepared.copies.rows) > 100
    assert (not prepared.copies.alike) == ("bytes" in str(settings))
    rng, noise, counts = rng_for(0, "script"), list[str](), set[int]()
    for page in open_page(browser, write_report(tmp_path), 1280, noise):
        page.wait_for_function("() => planes !== null")
        for trial in range(12):
            places = [offer.place for offer in prepared.offers]
            for number in rng.permutation(len(places))[: trial % 4].tolist():
                places[number] = int(rng.integers(len(prepared.offers[number].values)))
            expected = whatif_judge.evaluate(prepared, dict(enumerate(places)))
            verdicts, fired = page.evaluate(_ANSWER, places)
            assert verdicts == expected.verdicts.tolist()
            assert fired == expected.rules.tolist()
            counts.add(verdicts.count(whatif.KEPT))
    assert noise == []
    assert len(counts) >= 3


def test_bytes_are_as_many_as_rows_and_numbers_need() -> None:
    table = pa.Table.from_pylist(rows(60, seed=2), schema=ledger.SCHEMA)
    prepared = whatif.prepare(table, BuildConfig().curate)
    data = gzip.decompress(base64.b64decode(report_payload.pack_bytes(prepared)))
    assert len(data) == 60 * (2 + len(prepared.offers)) + 5 * 4 * len(prepared.copies.rows)
