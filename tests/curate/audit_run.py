"""A RUN folder with every kind of row, for the tests of the audit page and for looking at it."""

import json
import sys
from pathlib import Path
from typing import Any

from curate import ledger
from curate.config import BuildConfig
from shards import index
from tests.make_shards import make_run

NASTY = (
    "<script>alert(1)</script>.glb",
    "</script><img src=x onerror=alert(2)>.glb",
    "quotes \" ' ` & entities &lt;b&gt;.glb",
    "\u202eblg.txt mirrored.glb",
    "مشهد متحرك/شخصية.glb",
    "long-" + "name " * 2048 + ".glb",
    "line\u2028separator\nand\ttab\x00nul.glb",
    "日本語/歩く 🤖.glb",
)
_REJECTS = (
    # rule, value, limit, unit, stage, score that it is measured by
    ("too_still", 0.0012, 0.01, "asset sizes", "probe", "motion"),
    ("leaves_frame", 4.25, 2.0, "asset sizes", "probe", "drift"),
    ("teleport", 0.93, 0.5, "share of the path", "probe", "step_share"),
    ("touches_border", -3.5, 2.0, "px", "probe", "margin_px"),
    ("too_short", 0.083, 0.2, "s", "inspect", ""),
    ("no_animation", 0, 1, "clips", "inspect", ""),
)
_LOG = "\n".join(
    [
        "Read blend: /assets/broken.blend",
        'Warning: region type 4 missing in space type "Info" - removing region',
        "Writing: /tmp/blender.crash.txt",
        "Fatal Python error: Segmentation fault",
        "",
        "Current thread 0x00007f11 (most recent call first):",
        '  File "render/blender/scene.py", line 88 in import_asset',
        '  File "render/blender/__main__.py", line 41 in serve',
    ]
)
_FAILURES = (
    ("crashed", "render", "Blender ended with signal 11 (SIGSEGV) while importing the asset", _LOG),
    (
        "timeout",
        "render",
        "no answer for 120 s; the worker was stopped and started again",
        _LOG[:90],
    ),
    ("unreadable", "source", "not a glTF file: expected magic b'glTF', found b'PK\\x03\\x04'", ""),
    ("outside_folder", "inspect", "buffer 0 points to '../../etc/passwd', outside its folder", ""),
)


def make_audit_run(run: Path, *, assets: int = 4, size: int = 16, frames: int = 6) -> Path:
    """Write shards, ledger and run.json: ``3 * assets`` kept clips, all rejects and failures."""
    make_run(run, assets=assets, clips=3, frames=frames, size=size, per_shard=6)
    rows = [
        _kept(place, entry) for place, entry in enumerate(index.read_entries(run / "index.parquet"))
    ]
    for place, case in enumerate(_REJECTS * 3):
        rows.append(_rejected(place, case))
    for place, case in enumerate(_FAILURES):
        rows.append(_failed(place, case))
    for place, name in enumerate(NASTY):
        still = _rejected(place, _REJECTS[0])
        rows.append(still | {"uid": f"nasty{place}", "path": name, "clip_name": f"clip {name}"})
    ledger.recover(run)
    ledger.append(run, rows, 0)
    document = {
        "versions": {"orbit4d": "0.1.0", "bpy": "4.5.15", "python": "3.11.14"},
        "commit": "0123abc",
        "config": BuildConfig().model_dump(mode="json"),
        "counts": {},
    }
    (run / "run.json").write_text(json.dumps(document))
    return run


def _scores(place: int) -> dict[str, float]:
    return {
        "motion": 0.02 + 0.013 * (place % 11),
        "drift": 0.1 * (place % 5),
        "rotation_deg": 7.5 * (place % 9),
        "deformation": 0.008 * (place % 13),
        "moved_most": 0.09 + 0.02 * (place % 8),
        "step": 0.01 * (1 + place % 4),
        "step_share": 0.05 + 0.01 * (place % 7),
        "reach": 0.8 + 0.04 * (place % 6),
        "margin_px": 12.5 + place % 10,
    }


def _row(uid: str, path: str, clip: int, **more: Any) -> dict[str, Any]:
    row = {
        "uid": uid,
        "path": path,
        "clip_index": clip,
        "clip_name": "" if clip < 0 else ("Armature|Walk", "Idle", "Jump_ToIdle")[clip % 3],
        "rule": "",
        "stage": "",
        "error": "",
        "log_tail": "",
        "warnings": "[]",
        "source": "local",
        "format": path.rpartition(".")[2][:5],
        "sha256": "ab" * 32,
        "bytes": 123456,
        "licence": ("CC0-1.0", "CC-BY-4.0", "unknown")[len(uid + path) % 3],
        "attribution": "Quaternius (quaternius.com)",
        "sample_key": "",
        "fingerprint": "0123456789abcdef",
        "load_s": 0.31,
        "probe_s": 0.07,
    }
    return row | more


def _kept(place: int, entry: index.IndexEntry) -> dict[str, Any]:
    warnings = ["texture 'skin.png' is missing: drawn in flat colour", "hid UCX_body"]
    return _row(
        entry.uid,
        f"animals/{entry.uid}.glb",
        entry.clip_index,
        verdict="kept",
        sample_key=entry.key,
        window_start_s=0.0 if place % 3 else 1.25,
        window_stop_s=2.0 if place % 3 else 3.25,
        duration_s=2.0 if place % 3 else 4.1667,
        motion_magnitude=entry.motion_magnitude,
        warnings=json.dumps(warnings if place % 4 == 0 else []),
        render_s=2.9,
        encode_s=0.21,
        activity_curve=[0.5, 2.0, 0.25, 0.25, 0.5] if place % 3 else None,
        reproduce=f"orbit4d render one '/in/{entry.uid}.glb' --clip {entry.clip_index} --root /in",
        **dict.fromkeys(ledger.QA, 0.0) | {"blank_images": 0.01 * (place % 5)},
        **_scores(place),
    )


def _rejected(place: int, case: tuple[Any, ...]) -> dict[str, Any]:
    rule, value, limit, unit, stage, score = case
    clip = -1 if rule == "no_animation" else place % 4
    scores = _scores(place) | {score: value} if score else {}
    return _row(
        f"reject{place:02d}",
        f"machines/{rule}-{place:02d}.fbx",
        clip,
        verdict="rejected",
        rule=rule,
        value=value,
        limit=limit,
        unit=unit,
        stage=stage,
        error=f"measured {value}, the limit is {limit}",
        window_start_s=None if clip < 0 else 0.0,
        window_stop_s=None if clip < 0 else 1.0,
        duration_s=None if clip < 0 else 1.0,
        **scores,
    )


def _failed(place: int, case: tuple[str, str, str, str]) -> dict[str, Any]:
    rule, stage, error, log = case
    clip = -1 if stage in ("source", "inspect") else place
    path = f"malformed/{rule}.blend"
    more = {"verdict": "failed", "rule": rule, "stage": stage, "error": error, "log_tail": log}
    return _row(f"fail{place:02d}", path, clip, **more)


if __name__ == "__main__":
    print(make_audit_run(Path(sys.argv[1]), assets=10, size=256, frames=24))
