from pathlib import Path

import av
import numpy as np

from train.media import contact_sheet, side_by_side, write_mp4


def frames(count: int, size: int, level: int) -> np.ndarray:
    return np.full((count, size, size, 3), level, np.uint8)


def test_side_by_side_enlarges_by_whole_pixels() -> None:
    wide = side_by_side(frames(2, 48, 10), frames(2, 48, 200))
    assert wide.shape == (2, 192, 384, 3)
    assert (wide[:, :, :192] == 10).all()
    assert (wide[:, :, 192:] == 200).all()


def test_a_video_plays_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    shown = np.concatenate([frames(3, 33, 40), frames(3, 33, 220)])
    write_mp4(path, shown, fps=12)
    with av.open(str(path)) as container:
        back = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(back) == 6
    assert back[0].shape == (32, 32, 3)
    assert abs(back[0].mean() - 40) < 4
    assert abs(back[-1].mean() - 220) < 4
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_contact_sheet_has_a_row_per_clip_and_both_kinds_of_frames() -> None:
    rows = [(f"clip {i}", frames(24, 8, 60), frames(24, 8, 180)) for i in range(3)]
    sheet = np.asarray(contact_sheet(rows, [15.0 * i for i in range(24)], views=4))
    one = np.asarray(contact_sheet(rows[:1], [15.0 * i for i in range(24)], views=4))
    row = (sheet.shape[0] - one.shape[0]) // 2
    middles = sheet[36 + row + 48, :, 0]  # through the tiles of the second row
    assert (middles == 60).sum() == 5 * 96  # the input and four true frames
    assert (middles == 180).sum() == 4 * 96
