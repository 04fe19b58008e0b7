"""A dataset card in Markdown: what was kept, under which licences, whom to name."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate import report_data, report_scores
from curate.rights import spdx
from shards.files import write_atomic

_NAMED = ("uid", "name", "path", "source", "licence", "attribution", "sha256", "clip_index")
# what would end a cell, begin markup, or turn text around
_MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~!"} | {"\n": " ", "\r": " "})
_TEXT_MAX = 200  # characters of one name; the ledger has all


def write_card(run: Path) -> Path:
    """Write RUN/report/card.md from the ledger and run.json.

    Raises:
        RunError: if the ledger cannot be read.
    """
    table = report_data.read_table(run)
    page = run / "report" / "card.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(page, card(table, run.resolve().name, _versions(run)).encode())
    return page


def card(table: pa.Table, name: str, versions: dict[str, Any]) -> str:
    """Write the card of a ledger: clips and assets by licence, every author of a kept asset."""
    kept = table.filter(pa.array(report_scores.verdict_is(table, "kept")))
    rows = kept.select(list(_NAMED)).to_pylist()
    assets = {row["uid"]: row for row in reversed(rows)}  # the first row of each
    clips = Counter(_licence(row) for row in rows)
    of_licence = Counter(_licence(row) for row in assets.values())
    dropped = Counter(v or "" for v in table["verdict"].to_pylist())
    summary = report_data.summarise(table)
    lines = [
        f"# {_plain(name)}",
        "",
        f"{len(rows):,} clips of {len(assets):,} animated 3D assets, rendered by orbit4d. "
        f"{summary.rows:,} clips of {summary.assets:,} assets were looked at; "
        f"{dropped['rejected']:,} were rejected and {dropped['failed']:,} failed.",
        "",
        "## Licences",
        "",
        "Each sample is under the licence of its asset, which stands in its metadata.",
        "",
        *_table(
            ("licence", "clips", "assets"),
            ((licence, f"{n:,}", f"{of_licence[licence]:,}") for licence, n in clips.most_common()),
        ),
    ]
    if clips["not stated"]:
        lines += ["", f"**Of {clips['not stated']:,} clips nobody states a licence.**"]
    lines += ["", "## How clips were chosen", "", *_rules(summary)]
    if versions:
        lines += ["", "## Made with", "", *_table(("part", "version"), sorted(versions.items()))]
    lines += ["", "## Attribution", "", *_attribution(assets.values())]
    return "\n".join(lines) + "\n"


def _rules(summary: report_data.Summary) -> list[str]:
    rows = [(tally.label, tally.verdict, f"{tally.count:,}") for tally in summary.rules]
    return _table(("rule", "verdict", "clips"), rows) if rows else ["No rule dropped a clip."]


def _attribution(assets: Iterable[dict[str, Any]]) -> list[str]:
    ordered = sorted(assets, key=lambda row: (row["attribution"] or "", row["path"] or ""))
    return _table(
        ("author", "work", "licence", "source", "sha256"),
        (
            (
                row["attribution"] or "not stated",
                row["name"] or row["path"] or row["uid"],
                _licence(row),
                row["source"] or "",
                (row["sha256"] or "")[:12],
            )
            for row in ordered
        ),
    )


def _licence(row: dict[str, Any]) -> str:
    return spdx(row["licence"] or "") or "not stated"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
    return lines + [f"| {' | '.join(_plain(str(cell)) for cell in row)} |" for row in rows]


def _plain(text: str) -> str:
    """Keep a name from being read as markup, and cut one that fills pages."""
    shown = "".join(c if c.isprintable() or c == " " else " " for c in text)
    return (shown if len(shown) <= _TEXT_MAX else f"{shown[:_TEXT_MAX]}…").translate(_MARKUP)


def _versions(run: Path) -> dict[str, Any]:
    try:
        document = json.loads((run / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    found = document.get("versions") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}
