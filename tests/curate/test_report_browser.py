"""The audit page in a real browser: it loads from disk, silently, and its controls work."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.report import write_report
from tests.curate.audit_run import make_audit_run
from tests.curate.browsing import open_page

pytestmark = pytest.mark.browser

_NONE = "\N{EN DASH}"  # how the page writes a score that was not measured


@pytest.fixture(scope="module")
def audit_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_audit_run(tmp_path_factory.mktemp("audit") / "run", assets=11)
    write_report(run)
    return run


@pytest.fixture
def noise() -> list[str]:
    """Collect what a quiet page does not do: console messages, errors, requests."""
    return []


@pytest.fixture(params=[1280, 400])
def page(
    request: pytest.FixtureRequest, browser: Any, audit_run: Path, noise: list[str]
) -> Iterator[Any]:
    yield from open_page(browser, audit_run / "report" / "index.html", request.param, noise)
    assert noise == []


def _listed(page: Any) -> int:
    return page.locator("#body tr.row").count()


def _wait_listed(page: Any, count: int) -> None:
    script = "count => document.querySelectorAll('#body tr.row').length === count"
    page.wait_for_function(script, arg=count)  # the search waits for a pause in typing


def _first_preview_width(page: Any) -> int:
    image = page.locator("img.thumb").first
    image.scroll_into_view_if_needed()  # previews load when they come into view
    return image.evaluate("image => image.decode().then(() => image.naturalWidth)")


def _status(page: Any) -> str:
    return page.inner_text("#status")


def test_page_loads_and_lists_the_ledger(page: Any, audit_run: Path) -> None:
    total = len(ledger.load(audit_run))
    assert _status(page) == f"1\N{EN DASH}50 of {total} clips"
    assert _listed(page) == 50
    assert _first_preview_width(page) == 12 * 96
    page.click("[data-page='1'] >> nth=0")
    assert _listed(page) == total - 50
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0


def test_filters_count_what_the_ledger_counts(page: Any, audit_run: Path) -> None:
    rows = ledger.load(audit_run)
    for verdict in ledger.VERDICTS:
        for other in ledger.VERDICTS:
            page.set_checked(f"[name=verdict][value={other}]", other == verdict)
        expected = sum(row["verdict"] == verdict for row in rows)
        assert f"{expected} clips" in _status(page)
    page.click("[type=reset]")
    _wait_listed(page, 50)
    for rule in sorted({row["rule"] for row in rows if row["rule"]}):
        page.select_option("#rule", rule)
        assert _listed(page) == sum(row["rule"] == rule for row in rows)
    page.click("button[data-rule=teleport]")
    assert page.input_value("#rule") == "teleport"
    assert _listed(page) == 3


def test_search_finds_text_of_any_kind(page: Any) -> None:
    for text, count in (("onerror=alert", 1), ("شخصية", 1), ("SIGSEGV", 1), ("zzz nothing", 0)):
        page.fill("#search", text)
        _wait_listed(page, count)
    assert "No clip matches" in page.inner_text("#body")


def test_sorting_puts_unmeasured_rows_last(page: Any) -> None:
    for way, reverse in (("up", False), ("down", True)):
        if page.locator("#sort").is_visible():
            page.select_option("#sort", f"motion_magnitude {way}")
        else:
            page.click("#head .at-motion_magnitude button")
        texts = page.locator("#body [data-label=m]").all_text_contents()
        numbers = [float(text) for text in texts if text != _NONE]
        assert len(numbers) == 33
        assert numbers == sorted(numbers, reverse=reverse)
        assert texts[: len(numbers)] == [text for text in texts if text != _NONE]


def test_details_show_error_log_and_ledger_row(page: Any) -> None:
    page.select_option("#rule", "crashed")
    button = page.locator("#body tr.row button")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    detail = page.locator("#body tr.detail")
    assert "Fatal Python error: Segmentation fault" in detail.inner_text()
    assert "0123456789abcdef" in detail.inner_text()
    page.keyboard.press("Enter")
    assert detail.count() == 0


def test_a_reason_is_a_comparison_or_where_that_says_little_a_sentence(page: Any) -> None:
    page.select_option("#rule", "too_still")
    reasons = page.locator("#body td.why").all_inner_texts()
    assert all("0.0012 < limit 0.01 asset sizes" in reason for reason in reasons)
    assert not any("the limit is" in reason for reason in reasons)
    page.select_option("#rule", "no_animation")
    reasons = page.locator("#body td.why").all_inner_texts()
    assert reasons
    assert all("measured 0, the limit is 1" in reason for reason in reasons)
    assert not any("0 < limit" in reason for reason in reasons)


def test_names_stay_text(page: Any) -> None:
    page.fill("#search", "nasty")
    _wait_listed(page, 8)
    names = page.locator("#body .path").all_text_contents()
    assert "<script>alert(1)</script>.glb" in names
    assert "\\u202eblg.txt mirrored.glb" in names  # the override is written out, not obeyed
    assert page.locator("#body img").count() == 0


def test_previews_beside_the_page_load(
    browser: Any, audit_run: Path, noise: list[str], tmp_path: Path
) -> None:
    run = shutil.copytree(audit_run, tmp_path / "run")
    for page in open_page(browser, write_report(run, inline_limit_bytes=0), 1280, noise):
        assert _first_preview_width(page) == 12 * 96
    assert noise
    assert all(re.search(r"/thumbs/blob\d\d-\d{3}\.webp$", text) for text in noise)
