"""Laws of contact sheets: one row per kept clip, in order, on as many pages as it takes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.contact import FRAME_PX, contact_sheet
from shards import index
from shards.errors import RunError
from shards.tombstones import add_tombstones


def _opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_one_page_with_a_row_per_clip(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    assert contact_sheet(tiny_run, out, columns=3) == [out]
    page = _opened(out)
    assert page.shape[0] >= 12 * FRAME_PX
    assert page.shape[1] >= 3 * FRAME_PX
    first = out.read_bytes()
    contact_sheet(tiny_run, out, columns=3)
    assert out.read_bytes() == first


def test_many_clips_take_pages(tiny_run: Path, tmp_path: Path) -> None:
    pages = contact_sheet(tiny_run, tmp_path, rows=5)
    assert [path.name for path in pages] == [f"contact-00{i}.png" for i in range(3)]
    heights = [len(_opened(path)) for path in pages]
    assert heights[0] == heights[1] > heights[2]


def test_sequences_stand_side_by_side(tiny_run: Path, tmp_path: Path) -> None:
    key = "blob01-002"
    one, three = tmp_path / "one.png", tmp_path / "three.png"
    contact_sheet(tiny_run, one, "static", 4, only=[key])
    contact_sheet(tiny_run, three, ("static", "orbit", "front"), 4, only=[key])
    alone, together = _opened(one), _opened(three)
    assert together.shape[1] > 2.9 * alone.shape[1]
    rows = slice(40, None)  # below the labels
    np.testing.assert_array_equal(together[rows, : 4 * FRAME_PX], alone[rows, : 4 * FRAME_PX])


def test_damage_takes_a_row_and_not_the_sheet(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    whole, partly = tmp_path / "whole.png", tmp_path / "partly.png"
    contact_sheet(run, whole)
    (index.shard_dir(run) / "shard-000001.tar").unlink()
    contact_sheet(run, partly)
    before, after = _opened(whole), _opened(partly)
    assert before.shape == after.shape
    reds = (after.astype(int) @ (1, -1, 0) > 100).any(axis=1) & ~(before != after).all(axis=(1, 2))
    assert reds.any()


def test_what_was_taken_down_is_not_shown(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    add_tombstones(run, {"blob00": "", "blob02-001": ""})
    left = [f"blob{asset:02d}-{clip:03d}" for asset in (1, 2, 3) for clip in range(3)]
    left.remove("blob02-001")
    contact_sheet(run, tmp_path / "without.png")
    contact_sheet(tiny_run, tmp_path / "chosen.png", only=left)
    assert (tmp_path / "without.png").read_bytes() == (tmp_path / "chosen.png").read_bytes()
    with pytest.raises(RunError, match=r"samples \['blob00-001'\] were taken down"):
        contact_sheet(run, tmp_path / "a.png", only=["blob00-001"])


def test_sheets_that_would_be_empty_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no kept clip to show: its index lists no sample"):
        contact_sheet(tmp_path, tmp_path / "a.png")
    with pytest.raises(RunError, match=r"no samples \['nobody-000'\]"):
        contact_sheet(tiny_run, tmp_path / "a.png", only=["nobody-000"])
    with pytest.raises(RunError, match="a contact sheet of 0 columns"):
        contact_sheet(tiny_run, tmp_path / "a.png", columns=0)
