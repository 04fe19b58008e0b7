"""What the audit page carries as data: rows, pictures' facts, distributions, every row in bytes."""

import base64
import gzip
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from curate import report_columns, report_data, report_scores, thumbs, whatif
from curate.config import BuildConfig
from shards.seeding import rng_for

REVIEWED = 8  # clips of each rule, and as many kept ones, unless asked for otherwise
# for programs; long, and nothing that a person could read
_UNREAD = frozenset(["companions", "modified_ns", "content", "geometry", "look", "clip_sketch"])


def columns() -> list[report_columns.Column]:
    """List the ledger columns that the page shows."""
    return [column for column in report_columns.columns() if column.name not in _UNREAD]


def review_picks(shown: pa.Table, number: int) -> list[int]:
    """Choose rows for human review: so many kept ones, and so many of each rule that dropped any.

    Rows about whole assets are left out: there is no clip to look at.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    names = ("verdict", "rule", "clip_index")
    for row, entry in enumerate(shown.select(list(names)).to_pylist()):
        if entry["clip_index"] is not None and entry["clip_index"] >= 0:
            verdict = entry["verdict"] or ""
            if verdict in ("kept", "rejected"):
                groups.setdefault((verdict, entry["rule"] or ""), []).append(row)
    picks: list[int] = []
    for key, rows in sorted(groups.items()):
        order = rng_for(0, "review", *key).permutation(len(rows))
        picks += [rows[place] for place in order[:number]]
    return picks


def page_data(
    table: pa.Table,
    places: list[int],
    picks: list[int],
    config: BuildConfig,
    prepared: whatif.WhatIf,
) -> dict[str, Any]:
    """Gather the JSON document of the page, but for its pictures."""
    described = columns()
    shown = table.take(pa.array(places, pa.int64()))
    return {
        "columns": [asdict(column) for column in described],
        "rows": report_data.embed(shown, [column.name for column in described]),
        "scores": [column.name for column in described if column.kind == "score"],
        "kept": int(report_scores.verdict_is(table, "kept").sum()),
        "places": places,
        "picks": picks,
        "histograms": report_scores.histograms(table, config),
        "whatif": _whatif_document(prepared),
    }


def _whatif_document(prepared: whatif.WhatIf) -> dict[str, Any]:
    offers = [
        {
            "setting": offer.limit.setting,
            "score": offer.limit.score,
            "breaks": offer.limit.breaks,
            "values": offer.values,
            "texts": offer.texts,
            "place": offer.place,
            "optional": offer.optional,
        }
        for offer in prepared.offers
    ]
    return {
        "count": len(prepared.states),
        "rules": [{"name": name, "offers": numbers} for name, numbers in prepared.rules],
        "images": prepared.images,
        "offers": offers,
        "copies": {
            "count": len(prepared.copies.rows),
            "kinds": prepared.copies.kinds,
            "alike": list(prepared.copies.alike.items()),
        },
        "clips_max": prepared.clips_max,
    }


def pack_bytes(prepared: whatif.WhatIf) -> str:
    """Pack the bytes of all rows: states, fixed, each offer's places, copies; gzip in base64."""
    planes = [prepared.states, prepared.fixed, *(offer.places for offer in prepared.offers)]
    copies = prepared.copies
    rows = np.diff(copies.rows, prepend=0)  # small numbers pack better
    shared = np.stack([rows, copies.files, copies.shapes, copies.motions, copies.looks])
    data = np.concatenate(planes).astype(np.uint8).tobytes() + shared.astype("<i4").tobytes()
    packed = gzip.compress(data, 6, mtime=0)
    return base64.b64encode(packed).decode()


def looks_document(looks: Mapping[str, thumbs.Look]) -> dict[str, Any]:
    """Say of every pictured clip what its strip shows, where cameras stood, how it moved."""
    return {
        key: {
            "rows": look.rows,
            "activity": look.activity,
            "cameras": look.cameras,
            "versions": look.versions,
        }
        for key, look in looks.items()
    }
