"""The ledger: one row per clip, with every score, the verdict and what it rests on.

Rows are written by workers as small JSON records, gathered into Parquet parts, and compacted at
the end of a run (``curate.compact``). An asset that has no clips, or that cannot be read, has one
row with ``clip_index`` -1. No (uid, clip_index) stands twice: the part with the highest number
wins.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.files import clear_temporaries, write_atomic

VERDICTS = ("kept", "rejected", "failed")

SCHEMA = pa.schema(
    [
        # which clip
        ("uid", pa.string()),
        ("path", pa.string()),  # as given, relative to the input root
        ("clip_index", pa.int32()),  # -1: the row is about the whole asset
        ("clip_name", pa.string()),
        # what was decided and why
        ("verdict", pa.string()),  # kept, rejected, failed
        ("rule", pa.string()),  # first rule that fired; empty when kept
        ("value", pa.float64()),  # what that rule measured
        ("limit", pa.float64()),  # what it was held against
        ("unit", pa.string()),
        # where the verdict fell: source, fetch, inspect, load, probe, curate, render, worker
        ("stage", pa.string()),
        ("error", pa.string()),  # one sentence for people
        ("log_tail", pa.string()),  # last lines of Blender's stderr, for failures
        ("reproduce", pa.string()),  # the command that does this clip alone
        ("warnings", pa.string()),  # JSON list: missing textures, hidden collision meshes, ...
        # time
        ("window_start_s", pa.float64()),
        ("window_stop_s", pa.float64()),
        ("duration_s", pa.float64()),
        # scores of curate.motion and curate.rules; null where not measured
        ("motion", pa.float64()),  # mean displacement less drift, in asset sizes
        ("drift", pa.float64()),  # furthest translation of the whole, in asset sizes
        ("rotation_deg", pa.float64()),  # largest rotation of the best rigid fit
        ("deformation", pa.float64()),  # mean displacement left by the best rigid fit, asset sizes
        ("moved_most", pa.float64()),  # 99th percentile of furthest displacements, asset sizes
        ("step", pa.float64()),  # largest mean displacement within one step, asset sizes
        ("step_share", pa.float64()),  # share of the whole path that this step holds
        ("reach", pa.float64()),  # furthest vertex from the first pose's centre, asset sizes
        # scores of curate.detail
        ("scale_change", pa.float64()),  # largest growth or shrinkage of the whole, a ratio
        ("shape_change", pa.float64()),  # mean displacement left by drift, rotation and scale
        ("moved_p95", pa.float64()),  # 95th percentile of the displacement, asset sizes
        ("moved_max", pa.float64()),  # furthest displacement of any vertex, asset sizes
        ("moving_share", pa.float64()),  # share of vertices that move at all
        ("activity_per_s", pa.float64()),  # mean path per second, asset sizes
        # mean speed of the surface within each step between images, asset sizes per second
        ("activity_curve", pa.list_(pa.float32())),
        ("starts_s", pa.float64()),  # first movement, from the window's start
        ("stops_s", pa.float64()),  # last movement, likewise
        ("active_share", pa.float64()),  # what lies between, as a share of the window
        ("loop_gap", pa.float64()),  # mean distance of the clip's last pose to its first
        ("key_tracks", pa.int64()),  # tracks that move nodes or morph weights; glTF only
        ("constant_tracks", pa.int64()),  # those of them that always have one value
        ("geometry_tracks", pa.int64()),  # tracks that move anything visible
        ("camera_tracks", pa.int64()),  # tracks that move cameras or lights alone
        ("margin_px", pa.float64()),  # smallest distance of the projection to the image border
        # scores of curate.pixels; null where no rule asked, or an earlier one rejected
        ("ssim_quarter", pa.float64()),  # front view a quarter of the window on, to the first
        ("ssim_half", pa.float64()),  # half of it on
        ("border_frames", pa.int64()),  # images of the moving orbit that touch the border
        ("root_motion", pa.string()),  # what the camera does about drift: keep, remove, follow
        ("motion_magnitude", pa.float64()),  # Diffusion4D eq. 1, pixel sum; kept clips
        # scores of curate.quality: of the asset at rest, the same for all its clips
        ("collision_meshes", pa.int64()),  # hulls that are left out of all that follows
        ("texture_mb", pa.float64()),  # all images once decoded to 8-bit RGBA, by their headers
        ("missing_textures", pa.int64()),  # images that are not there, or cannot be read
        ("parts", pa.int64()),  # pieces of surface that touch no other
        ("far_part_ratio", pa.float64()),  # size of the whole over that of its large parts
        ("backdrop_share", pa.float64()),  # share of the surface in planes as long as the rest
        ("degenerate_share", pa.float64()),  # share of triangles without an area
        ("visible_share", pa.float64()),  # share of the surface that is not wholly clear
        # what copies are known by: see curate.duplicates
        ("content", pa.string()),  # hash of all the asset's files
        ("geometry", pa.string()),  # triangles, and moments of the shape: shards.likeness.Sketch
        ("look", pa.string()),  # hash of materials and images
        ("clip_sketch", pa.string()),  # times, and moments of the motion
        ("family", pa.string()),  # uid of the first asset of this geometry; null where unknown
        ("duplicate_of", pa.string()),  # uid and clip number that this is a copy of
        ("recolour_of", pa.string()),  # uid and clip number that differ in colours alone
        # checks of render.qa; null unless rendered in the run that judged
        ("qa_not_finite", pa.float64()),  # rendered pixels that are NaN or infinite
        ("blank_images", pa.float64()),  # share of images that show nothing
        ("qa_black", pa.float64()),  # share of images that are black where they show anything
        ("qa_texture", pa.float64()),  # textures in use that have no pixels
        ("qa_magenta", pa.float64()),  # share of visible pixels in the missing-texture colour
        ("qa_flat", pa.float64()),  # share of images of one single colour
        ("qa_same_views", pa.float64()),  # share of orbit images equal to the first
        ("qa_frozen", pa.float64()),  # share of pairs, same camera and other time, that are equal
        ("qa_border", pa.float64()),  # images whose border cuts the object off
        ("qa_outside", pa.float64()),  # px by which images reach beyond the projected geometry
        ("qa_missing", pa.float64()),  # share of the projected box's side that is not seen
        (
            "qa_fireflies",
            pa.float64(),
        ),  # share of visible pixels far brighter than their neighbours
        # provenance
        ("source", pa.string()),
        ("format", pa.string()),
        ("stamp", pa.string()),  # what a remote source announced: sha256:, etag: or bytes:
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),  # the file's time stamp, to notice changes without reading
        ("companions", pa.string()),  # JSON list of [path, bytes, modified_ns]: textures, buffers
        ("settings", pa.string()),  # digest of the settings that decided
        ("licence", pa.string()),
        ("attribution", pa.string()),
        ("name", pa.string()),  # as the source calls it
        ("tags", pa.string()),  # likewise; separated by semicolons
        ("vertices", pa.int64()),
        ("triangles", pa.int64()),
        ("sample_key", pa.string()),  # empty unless kept
        ("fingerprint", pa.string()),
        # seconds spent; what is spent on an asset as a whole stands in its first row alone
        ("fetch_s", pa.float64()),
        ("inspect_s", pa.float64()),
        ("load_s", pa.float64()),
        ("probe_s", pa.float64()),
        ("render_s", pa.float64()),
        ("encode_s", pa.float64()),
    ]
)

SECONDS = ("fetch_s", "inspect_s", "load_s", "probe_s", "render_s", "encode_s")

_BLANK = dict.fromkeys(SCHEMA.names)  # parts of an older version may lack columns

QA = (
    "qa_not_finite",
    "blank_images",
    "qa_black",
    "qa_texture",
    "qa_magenta",
    "qa_flat",
    "qa_same_views",
    "qa_frozen",
    "qa_border",
    "qa_outside",
    "qa_missing",
    "qa_fireflies",
)

SCORES = (
    "motion",
    "drift",
    "rotation_deg",
    "deformation",
    "moved_most",
    "step",
    "step_share",
    "reach",
    "scale_change",
    "shape_change",
    "moved_p95",
    "moved_max",
    "moving_share",
    "activity_per_s",
    "starts_s",
    "stops_s",
    "active_share",
    "loop_gap",
    "geometry_tracks",
    "camera_tracks",
    "margin_px",
    "ssim_quarter",
    "ssim_half",
    "border_frames",
    "motion_magnitude",
    "collision_meshes",
    "texture_mb",
    "missing_textures",
    "parts",
    "far_part_ratio",
    "backdrop_share",
    "degenerate_share",
    "visible_share",
)


def ledger_dir(run: Path) -> Path:
    """Folder of the ledger's Parquet parts."""
    return run / "ledger"


def append(run: Path, rows: list[dict[str, Any]], number: int) -> Path:
    """Write one part. Rows hold the keys of ``SCHEMA``; missing ones become null."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd")
    path = ledger_dir(run) / f"part-{number:06d}.parquet"
    write_atomic(path, sink.getvalue().to_pybytes())
    return path


def parts(run: Path) -> list[Path]:
    """List the parts, oldest first."""
    return sorted(ledger_dir(run).glob("part-*.parquet"))


def load(run: Path) -> list[dict[str, Any]]:
    """Read all rows, newest word on each asset, ordered by (path, uid, clip_index)."""
    newest: dict[str, list[dict[str, Any]]] = {}
    for path in parts(run):
        table = pq.ParquetFile(path).read()
        fresh: dict[str, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            fresh.setdefault(row["uid"], []).append(_BLANK | row)
        newest |= fresh
    rows = [row for asset in newest.values() for row in asset]
    return sorted(rows, key=lambda row: (row["path"], row["uid"], row["clip_index"]))


def next_number(run: Path) -> int:
    """Return the number of the next part."""
    present = parts(run)
    return int(present[-1].stem.rpartition("-")[2]) + 1 if present else 0


def recover(run: Path) -> None:
    """Make the folder and remove half-written parts of a killed run."""
    ledger_dir(run).mkdir(parents=True, exist_ok=True)
    clear_temporaries(ledger_dir(run))
