"""The audit page's panels in a real browser: what if, charts, review, clips; axe-core's checks."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curate import ledger, sql
from curate.cli_ledger import app
from curate.config import CurateConfig
from curate.replay import replay
from curate.report import write_comparison, write_report
from render.qa import QaConfig
from tests.curate.audit_run import make_audit_run
from tests.curate.browsing import open_page

pytestmark = pytest.mark.browser

_AXE = Path(sys.prefix) / "npm" / "node_modules" / "axe-core" / "axe.min.js"  # by `make setup`
_MOVE = "(input, place) => { input.value = place; input.dispatchEvent(new Event('input')); }"
# how DuckDB says the default rules over scores that the made-up rows have
_KEPT = """
SELECT count(*) FROM ledger
WHERE coalesce(blank_images, 0) <= {blank}
  AND clip_index >= 0 AND verdict <> 'failed' AND rule <> 'no_animation' AND motion IS NOT NULL
  AND duration_s >= {duration} AND reach <= 4 AND margin_px >= {margin}
  AND NOT (step >= 0.5 AND step_share >= 0.6)
  AND NOT (motion < {motion} AND moved_most < {moved_most} AND drift < 0.05)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_audit_run(tmp_path_factory.mktemp("audit") / "run", assets=6)
    write_report(run)
    return run


@pytest.fixture(params=[1280, 400])
def page(request: pytest.FixtureRequest, browser: Any, run: Path) -> Iterator[Any]:
    yield from opened(browser, run / "report" / "index.html", request.param)


def opened(browser: Any, path: Path, width: int) -> Iterator[Any]:
    noise: list[str] = []
    yield from open_page(browser, path, width, noise)
    assert noise == []


def number(page: Any, selector: str) -> int:
    return int(page.inner_text(selector).replace(",", "").replace("\N{MINUS SIGN}", "-"))


def settle(page: Any) -> None:
    page.wait_for_function("() => planes !== null")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def move(page: Any, setting: str, place: int) -> float:
    """Drag a limit to one of its values, and return it."""
    slider = page.locator(f"[data-setting='{setting}']")
    slider.evaluate(_MOVE, place)
    settle(page)
    return float(slider.get_attribute("data-value"))


def test_sliders_count_what_duckdb_and_a_replay_count(page: Any, run: Path) -> None:
    settle(page)
    rows = ledger.load(run)
    limits = {"duration": 0.1, "margin": 0.0, "motion": 0.01, "moved_most": 0.1, "blank": 0.5}
    names = {"motion": "motion.min", "moved_most": "motion.moved_most_min"}
    names |= {"margin": "boundary.margin_min_px", "duration": "clips.duration_min_s"}
    names |= {"blank": "render.qa.empty_share_max"}
    (at_rest,) = sql.ask(run, _KEPT.format(**limits)).rows[0]
    assert number(page, "#if-kept") == number(page, "#if-was") == at_rest
    kept = sum(row["verdict"] == "kept" for row in rows)
    assert kept != at_rest  # the made-up rows were rejected by other limits, and the page says so
    assert f"The ledger keeps {kept}. " in page.inner_text("#if-note")
    seen = {at_rest}
    for name, place in (
        ("motion", 12),
        ("moved_most", 9),
        ("blank", 2),
        ("margin", 8),
        ("duration", 2),
    ):
        last = int(page.get_attribute(f"[data-setting='{names[name]}']", "max"))
        limits[name] = move(page, names[name], min(place, last))
        (expected,) = sql.ask(run, _KEPT.format(**limits)).rows[0]
        assert number(page, "#if-kept") == expected
        settings = [f"{names[key]}={limits[key]}" for key in limits.keys() - {"blank"}]
        images = QaConfig(empty_share_max=limits["blank"])
        judged = replay(rows, CurateConfig.load(None, settings), images).rows
        assert sum(row["verdict"] == "kept" for row in judged) == expected
        for line in page.locator("#if-rules tr").all():
            count = sum(row["rule"] == line.get_attribute("data-rule") for row in judged)
            assert int(line.locator(".after").inner_text()) == count
        change = number(page, "#if-gained") + number(page, "#if-lost")
        assert number(page, "#if-was") + change == expected
        seen.add(expected)
    assert len(seen) >= 3


def test_the_copied_settings_are_those_of_the_sliders(page: Any, run: Path) -> None:
    settle(page)
    assert "Move a limit" in page.inner_text("#if-command")
    value = move(page, "motion.loop_gap_max", 0) if page.query_selector(
        "[data-setting='motion.loop_gap_max']"
    ) else None  # fmt: skip
    assert value is None  # never measured in these rows, so it is not offered
    margin = move(page, "boundary.margin_min_px", 10)
    lines = page.inner_text("#if-command").splitlines()
    words = lines[0].replace("RUN", str(run)).split()[2:]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert f"{number(page, '#if-kept')} clips are kept" in told.output
    assert f"--set curate.boundary.margin_min_px={margin:g}" in lines[1]
    page.click("#if-reset")
    settle(page)
    assert page.inner_text("#if-gained") == "+0"


def test_clips_that_flip_are_shown_with_their_pictures(page: Any) -> None:
    settle(page)
    assert page.locator("#if-flips li").count() == 0
    last = int(page.get_attribute("[data-setting='boundary.margin_min_px']", "max"))
    move(page, "boundary.margin_min_px", last)
    lost = -number(page, "#if-lost")
    assert lost > 0
    assert page.locator("#if-flips li.out").count() == min(lost, 60)
    assert "by touches_border" in page.locator("#if-flips li.out").first.inner_text()
    image = page.locator("#if-flips li img").first
    image.scroll_into_view_if_needed()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 12 * 96


def test_charts_say_what_they_show_and_are_drawn(page: Any, run: Path) -> None:
    settle(page)
    counted = "SELECT count(*) FILTER (verdict = 'kept'), count(*) FROM ledger WHERE motion >= 0"
    kept, measured = sql.ask(run, counted).rows[0]
    chart = page.locator(".plot[aria-label^='Histogram of motion ']")
    assert f"{kept} kept, {measured - kept} dropped, limit 0.01" in chart.get_attribute(
        "aria-label"
    )
    chart.scroll_into_view_if_needed()
    chart.locator("canvas").wait_for()
    colours = chart.locator("canvas").evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data.buffer)).size"
    )
    assert colours > 3
    page.select_option("#scatter-y", "reach")
    page.locator("#scatter canvas").wait_for()
    assert f"{measured} listed clips have both; {kept} of them" in page.inner_text("#scatter-count")


def test_a_review_by_keyboard_ends_in_lists(page: Any, run: Path, tmp_path: Path) -> None:
    total = int(page.inner_text("#review-count").split()[3].rstrip(";"))
    page.focus("#review")
    for key in ("k", "d", "u", "ArrowLeft", "d", "ArrowRight", "d"):
        page.keyboard.press(key)
    assert page.inner_text("#review-count") == f"Clip 5 of {total}; 3 marked"
    with page.expect_download() as waiting:
        page.keyboard.press("s")
    saved = tmp_path / "review.json"
    waiting.value.save_as(saved)
    marks = json.loads(saved.read_text())["marks"]
    picks = page.evaluate(
        "[0, 1, 3].map(i => picks[i]).map(row => [at(row, 'uid'), at(row, 'clip_index')])"
    )
    assert [[mark["uid"], mark["clip_index"]] for mark in marks] == picks
    assert [mark["mark"] for mark in marks] == ["keep", "drop", "drop"]
    assert all(mark["verdict"] == "kept" for mark in marks)
    done = CliRunner().invoke(
        app, ["apply-review", str(run), str(saved), "--out", str(tmp_path / "lists")]
    )
    assert done.exit_code == 0, done.output
    words: dict[str, set[str]] = {}
    for mark in marks:
        words.setdefault(mark["uid"], set()).add(mark["mark"])
    for name, word in (("allow", "keep"), ("deny", "drop")):
        listed = (tmp_path / "lists" / f"{name}.txt").read_text().split()
        assert listed == sorted(uid for uid, said in words.items() if said == {word})
    page.reload()
    assert "3 marked" in page.inner_text("#review-count")
    page.evaluate("localStorage.clear()")


def test_a_clip_shows_pictures_cameras_activity_and_how_to_render_it(page: Any) -> None:
    page.fill("#search", "blob00-001")
    page.wait_for_function("() => document.querySelectorAll('#body tr.row').length === 1")
    page.click("#body button")
    detail = page.locator("#body tr.detail")
    captions = detail.locator(".films figcaption").all_text_contents()
    assert captions == ["orbit", "front", "static"]
    ring = detail.locator(".rings svg[aria-label*='orbit']")
    assert ring.locator(".camera").count() == 6
    assert "6 places" in ring.get_attribute("aria-label")
    activity = detail.locator(".plot[aria-label^='Activity over time, mean speed']")
    activity.scroll_into_view_if_needed()
    activity.locator("canvas").wait_for()
    text = detail.inner_text()
    assert "asset sizes per second: mean 0.700, most 2.00 at 0.500 s of the clip" in text
    assert "orbit4d render one '/in/blob00.glb' --clip 1 --root /in" in text
    for said in ("ab" * 32, "0123456789abcdef", "Quaternius", "≤ 4 (leaves_frame)"):
        assert said in text


def test_the_command_is_copied_as_it_is_and_older_ledgers_are_told_apart(page: Any) -> None:
    page.fill("#search", "blob00-000")
    page.wait_for_function("() => document.querySelectorAll('#body tr.row').length === 1")
    page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text; }")
    page.evaluate("found[0][place.reproduce] = 'orbit4d \u202e one'")
    page.click("#body tr.row button")
    detail = page.locator("#body tr.detail")
    assert detail.locator(".plot[aria-label*='change of the front view']").count() == 1
    assert "speeds were not stored" in detail.inner_text()
    assert "orbit4d \\u202e one" in detail.inner_text()  # what is seen tells of what hides
    detail.get_by_text("Copy the command").click()
    assert page.evaluate("window.copied") == "orbit4d \u202e one"
    page.click("#body tr.row button")
    page.evaluate("found[0][place.reproduce] = ''")
    page.click("#body tr.row button")
    assert (
        "orbit4d render one INPUT/animals/blob00.glb --root INPUT --clip 0" in detail.inner_text()
    )


def test_sql_inside_the_page_answers_like_the_ledger(page: Any, run: Path) -> None:
    query = "SELECT rule, count(*), round(sum(motion), 4) FROM {} GROUP BY rule ORDER BY rule"
    page.fill("#sql-query", query.format("clips"))
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => document.getElementById('sql-said').textContent !== ''")
    lines = page.locator("#sql-answer tbody tr").all()
    found = [[cell.inner_text() for cell in line.locator("td").all()] for line in lines]
    expected = sql.ask(run, query.format("ledger")).rows
    assert [[rule, int(count)] for rule, count, _ in found] == [[r, c] for r, c, _ in expected]
    for (*_, text), (*_, value) in zip(found, expected, strict=True):
        assert (text == "\N{EN DASH}") == (value is None)
        assert value is None or float(text) == pytest.approx(value, abs=2e-4)
    page.fill("#sql-query", "SELECT path FROM clips WHERE path LIKE '%onerror%'")
    page.click("#sql-run")
    page.wait_for_function("() => document.getElementById('sql-said').textContent === '1 row'")
    assert page.locator("#sql-answer img").count() == 0
    for wrong, said in (("SELECT moton FROM clips", "no such column"), ("DROP TABLE clips", "")):
        page.fill("#sql-query", wrong)
        page.click("#sql-run")
        page.wait_for_function("() => document.getElementById('sql-error').textContent !== ''")
        assert said in page.inner_text("#sql-error")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(page: Any, scheme: str) -> None:
    assert _AXE.exists(), f"{_AXE} is not there; run `make setup`"
    page.emulate_media(color_scheme=scheme)
    page.click("#body button >> nth=0")
    move(page, "boundary.margin_min_px", 10)
    check_with_axe(page)


def check_with_axe(page: Any) -> None:
    page.evaluate(_AXE.read_text())  # not a script of the page, which lets none in
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    faults = [
        (fault["id"], fault["help"], [node["html"][:200] for node in fault["nodes"]][:3])
        for fault in found["violations"]
    ]
    assert faults == []
    assert len(found["passes"]) > 10


@pytest.mark.parametrize("width", [1280, 400])
def test_a_comparison_is_quiet_and_sound(
    browser: Any, run: Path, tmp_path: Path, width: int
) -> None:
    other = make_audit_run(tmp_path / "other <b>", assets=6)
    row = {"uid": "reject00", "path": "<img src=x onerror=alert(1)>", "clip_index": 0}
    more = {"verdict": "failed", "rule": "crashed", "error": "<script>alert(1)</script>"}
    ledger.append(other, [row | more], 1)
    for page in opened(browser, write_comparison(run, other), width):
        text = page.inner_text("body")
        assert "New failures (1)" in text
        assert "<script>alert(1)</script>" in text
        assert page.locator("img, script").count() == 0
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0
        check_with_axe(page)
