"""Laws of previews: which frames, their colours, and that damage is named."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate import thumbs
from shards import index
from shards.errors import SampleError, ShardError


def _opened(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


@pytest.mark.parametrize(
    ("frames", "wanted", "expected"),
    [(24, 12, list(range(0, 24, 2))), (3, 6, [0, 0, 1, 1, 2, 2]), (1, 3, [0, 0, 0]), (7, 1, [0])],
)
def test_frames_are_spread_evenly(frames: int, wanted: int, expected: list[int]) -> None:
    assert thumbs.spread(frames, wanted) == expected


def test_strip_holds_the_frames_in_order() -> None:
    frames = np.zeros((24, 32, 32, 4), np.uint8)
    frames[..., 0] = (np.arange(24) * 10)[:, None, None]
    frames[..., 3] = 255
    strip = _opened(thumbs.strip([frames]))
    size = thumbs.STRIP_SIZE_PX
    assert strip.shape == (size, thumbs.STRIP_FRAMES * size, 4)
    middles = strip[size // 2, size // 2 :: size, 0].astype(int)
    np.testing.assert_allclose(middles, np.arange(0, 24, 2) * 10, atol=8)
    assert thumbs.strip([frames]) == thumbs.strip([frames])


@pytest.mark.parametrize(("height", "width"), [(64, 32), (16, 64), (300, 300), (1, 200)])
def test_shrinking_keeps_shape_and_colour(height: int, width: int) -> None:
    frame = np.zeros((height, width, 4), np.uint8)
    frame[:, : width // 2] = (200, 100, 50, 255)  # the rest is invisible black
    image = np.asarray(thumbs.shrink(frame, 48))
    assert image.shape == (48, 48, 4)
    seen = image[image[..., 3] > 40]
    assert len(seen)
    np.testing.assert_allclose(
        seen[:, :3], np.broadcast_to((200, 100, 50), seen[:, :3].shape), atol=6
    )


def test_look_of_a_sample(tiny_run: Path) -> None:
    entry = index.read_entries(tiny_run / "index.parquet")[0]
    sample = thumbs.read_sample(tiny_run, entry)
    assert sample.meta.key == entry.key
    look = thumbs.look_of(tiny_run, entry)
    assert look.rows == thumbs.PREFERRED
    assert look.strip == thumbs.strip([sample.frames(name) for name in look.rows])
    for name, sequence in sample.meta.sequences.items():
        azimuths = [azimuth for azimuth, _ in look.cameras[name]]
        np.testing.assert_allclose(azimuths, sequence.azimuth_deg, atol=0.051)
    assert look.activity is not None
    times_s, change = look.activity
    assert len(times_s) == len(change) == sample.meta.sequences["front"].frames - 1


def test_change_is_the_mean_difference_over_white() -> None:
    frames = np.zeros((4, 2, 2, 4), np.uint8)
    frames[1, 0, 0] = (0, 0, 0, 255)  # one black pixel of four
    frames[2] = frames[1]
    frames[3, ..., :3] = 77  # what is invisible does not count
    assert thumbs.changes(frames) == pytest.approx([0.25, 0.0, 0.25])


def test_entries_that_do_not_fit_are_refused(tiny_run: Path) -> None:
    first, second, *_ = index.read_entries(tiny_run / "index.parquet")
    with pytest.raises(ShardError, match=r"shard-000099.tar: cannot be read: No such file"):
        thumbs.read_sample(tiny_run, replace(first, shard="shard-000099"))
    with pytest.raises(SampleError, match="do not have the sha256"):
        thumbs.read_sample(tiny_run, replace(first, offset=second.offset, length=second.length))
    with pytest.raises(SampleError, match="in its place"):
        thumbs.read_sample(tiny_run, replace(second, key="../../evil"))
    with pytest.raises(SampleError, match="cut off"):
        thumbs.read_sample(tiny_run, replace(first, length=10**9))


def test_previews_change_to_files_as_a_whole(tmp_path: Path) -> None:
    previews = thumbs.Previews(tmp_path / "thumbs", inline_limit_bytes=40)
    previews.add("a-000", b"x" * 20)
    assert previews.sources() == {"a-000": "data:image/webp;base64," + "eHh4" * 6 + "eHg="}
    previews.add("b-000", b"y" * 20)
    assert previews.sources() == {"a-000": "thumbs/a-000.webp", "b-000": "thumbs/b-000.webp"}
    assert (tmp_path / "thumbs" / "a-000.webp").read_bytes() == b"x" * 20
    (tmp_path / "thumbs" / "old-000.webp").write_bytes(b"")
    previews.clear_stale()
    assert sorted(path.stem for path in (tmp_path / "thumbs").iterdir()) == ["a-000", "b-000"]
