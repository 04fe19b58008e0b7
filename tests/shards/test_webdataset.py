import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.make_shards import make_sample


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files to the collector
def test_stock_webdataset_and_pillow_read_the_shards(tiny_run: Path) -> None:
    import webdataset
    from PIL import Image

    urls = sorted(str(path) for path in (tiny_run / "shards").glob("*.tar"))
    keys: list[str] = []
    reader: Any = webdataset  # it exports its names in a way that type checkers do not see
    for sample in reader.WebDataset(urls, shardshuffle=False).decode():
        about = sample["json"]["sequences"]["orbit"]
        sheet = np.asarray(Image.open(io.BytesIO(sample["orbit.rgba.webp"])))
        frames = sheet.reshape(about["frames"], about["height"], about["width"], 4)
        _, images = make_sample(sample["json"]["asset"]["uid"], sample["json"]["clip"]["index"])
        np.testing.assert_array_equal(frames, images["orbit"])
        keys.append(sample["__key__"])
    assert len(keys) == len(set(keys)) == 12
