"""Pages opened from disk in a real browser, and what they must not do there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")


def open_page(browser: Any, path: Path, width: int, noise: list[str]) -> Iterator[Any]:
    """Open a page; note in ``noise`` what a quiet one does not do: messages, errors, requests."""
    page = browser.new_page(viewport={"width": width, "height": 900}, accept_downloads=True)
    address = path.as_uri()
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("dialog", lambda dialog: noise.append(dialog.message))
    page.on("request", lambda sent: None if _local(sent.url, address) else noise.append(sent.url))
    page.goto(address)
    yield page
    page.close()


def _local(url: str, page: str) -> bool:
    return url == page or url.startswith("data:")
