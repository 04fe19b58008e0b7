"""What the ledger's columns mean, for people who read the report."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from curate import ledger
from curate.report_meanings import MEANINGS


@dataclass(frozen=True, slots=True)
class Column:
    """One ledger column as the page shows it.

    ``score`` columns stand in the table, as many as a screen holds; ``number`` and ``text`` in the
    panel of a clip; a ``curve`` is a list of numbers.
    """

    name: str
    title: str
    kind: Literal["text", "number", "score", "curve"]
    unit: str = ""
    meaning: str = ""


_ABOUT = {
    "motion": Column(
        "motion",
        "motion",
        "score",
        "sizes",
        "Mean displacement of the surface from the window's first pose after removing drift, in "
        "asset sizes. Low: the clip hardly moves.",
    ),
    "drift": Column(
        "drift",
        "drift",
        "score",
        "sizes",
        "Furthest translation of the whole asset over the window, in asset sizes. High: it leaves.",
    ),
    "rotation_deg": Column(
        "rotation_deg",
        "rot.",
        "score",
        "°",
        "Largest rotation of the best rigid fit to the first pose, in degrees.",
    ),
    "deformation": Column(
        "deformation",
        "deform.",
        "score",
        "sizes",
        "Mean displacement that the best rigid fit leaves over, in asset sizes. 0: a rigid body.",
    ),
    "moved_most": Column(
        "moved_most",
        "parts",
        "score",
        "sizes",
        "99th percentile over the surface of its furthest displacement, drift taken out, in "
        "asset sizes. High beside a low motion: a small part moves a lot.",
    ),
    "step": Column(
        "step",
        "step",
        "score",
        "sizes",
        "Largest mean displacement within one time step, in asset sizes.",
    ),
    "step_share": Column(
        "step_share",
        "jump",
        "score",
        "share",
        "Share of the whole path travelled that the largest step holds, 0 to 1. High: it jumps.",
    ),
    "reach": Column(
        "reach",
        "reach",
        "score",
        "sizes",
        "Furthest vertex from the first pose's centre at any time, in asset sizes.",
    ),
    "scale_change": Column(
        "scale_change",
        "scale",
        "number",
        "ratio",
        "Largest growth or shrinkage of the whole as a ratio, by the best similarity fit to the "
        "first pose. 1: its size stays.",
    ),
    "shape_change": Column(
        "shape_change",
        "shape",
        "number",
        "sizes",
        "Mean displacement left after drift, rotation and scale are taken out, in asset sizes.",
    ),
    "moved_p95": Column(
        "moved_p95",
        "p95",
        "number",
        "sizes",
        "95th percentile over times and vertices of the displacement from the first pose, drift "
        "included, in asset sizes.",
    ),
    "moved_max": Column(
        "moved_max",
        "furthest",
        "number",
        "sizes",
        "Furthest displacement of any vertex from the first pose, in asset sizes.",
    ),
    "moving_share": Column(
        "moving_share",
        "moving",
        "number",
        "share",
        "Share of the surface that moves by more than a thousandth of the asset's size, 0 to 1.",
    ),
    "activity_per_s": Column(
        "activity_per_s",
        "activity",
        "number",
        "sizes/s",
        "Mean path of the surface per second, in asset sizes.",
    ),
    "activity_curve": Column(
        "activity_curve",
        "activity over time",
        "curve",
        "sizes/s",
        "Mean speed of the surface within each step between two images, in asset sizes per second.",
    ),
    "starts_s": Column(
        "starts_s",
        "starts",
        "number",
        "s",
        "First movement, in seconds from the window's start.",
    ),
    "stops_s": Column(
        "stops_s",
        "stops",
        "number",
        "s",
        "Last movement, in seconds from the window's start.",
    ),
    "active_share": Column(
        "active_share",
        "active",
        "number",
        "share",
        "What lies between first and last movement, as a share of the window, 0 to 1.",
    ),
    "loop_gap": Column(
        "loop_gap",
        "gap",
        "number",
        "sizes",
        "Mean distance of the clip's last pose to its first, in asset sizes. 0: it is a loop.",
    ),
    "margin_px": Column(
        "margin_px",
        "margin",
        "score",
        "px",
        "Smallest distance of the projected asset to the image border over all cameras and times, "
        "in pixels. Negative: it is cut off.",
    ),
    "ssim_quarter": Column(
        "ssim_quarter",
        "SSIM T/4",
        "number",
        "SSIM",
        "Similarity of the front view a quarter of the window on to the first one. 1: the same.",
    ),
    "ssim_half": Column(
        "ssim_half",
        "SSIM T/2",
        "number",
        "SSIM",
        "Similarity of the front view half of the window on to the first one. 1: the same.",
    ),
    "border_frames": Column(
        "border_frames",
        "at border",
        "number",
        "images",
        "How many images of the moving orbit, seen as Diffusion4D sees it, touch their border.",
    ),
    "motion_magnitude": Column(
        "motion_magnitude",
        "m",
        "score",
        "px sum",
        "Motion magnitude of Diffusion4D, eq. 1: mean over frames of the squared difference "
        "between the orbit and static images. Only kept clips have it.",
    ),
}
_TITLES = {"value": "measured", "log_tail": "log tail", "duration_s": "duration (s)"}


def columns() -> list[Column]:
    """Describe every ledger column, in ledger order."""
    described: list[Column] = []
    for field in ledger.SCHEMA:
        title = _TITLES.get(field.name) or field.name.replace("_", " ")
        is_text = pa.types.is_string(field.type)
        named, unit, meaning = MEANINGS.get(field.name, (title, "", ""))
        plain = Column(field.name, named, "text" if is_text else "number", unit, meaning)
        described.append(_ABOUT.get(field.name, plain))
    return described
