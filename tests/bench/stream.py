"""Samples per second of 3 sequences of 24 RGBA images of 256x256 px, decoded, through a DataLoader.

Beside it, on the same images in the same run: stock webdataset over one PNG per image, and the bare
codec in a loop. The images are synthetic: smoothly shaded, textured, slightly grainy blobs that
cover a quarter of the picture, which compress about as object renders do (30 kB per PNG).

Figures:
    vs_png_tar: ShardStream's samples/s over webdataset's, both with 2 workers, both ending in uint8
        RGBA tensors.
    vs_bare_codec: ShardStream's samples/s per worker over the bare codec's in one process.
    vs_bare_codec_alone: the same without workers.
    *_cpu: the same comparisons by CPU time per sample, for machines that are busy with other work.
    *_per_s: samples per second of each row. ``rgb`` is float32
        over white, ``rgb64`` the same at 64x64 px.
"""

import io
import tarfile
from collections.abc import Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from shards.read import MapStyle, SampleReader, StreamConfig
from shards.sample import decode_sequence
from tests.bench.harness import Rate, arguments, rates_in_turn, report
from tests.make_shards import SEQUENCES, make_run

FRAMES, SIZE, TEXTURE = 24, 256, 0.7
WORKERS = 2


def main() -> None:
    """Make the data, time every reader and print."""
    parser = arguments("Reading speed of shards.")
    parser.add_argument("--samples", type=int, default=8, help="different samples to make")
    parser.add_argument("--count", type=int, default=24, help="samples per row and round")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        run = make_run(
            root / "run",
            assets=given.samples,
            clips=1,
            frames=FRAMES,
            size=SIZE,
            per_shard=2,
            texture=TEXTURE,
        )
        tars = write_png_tars(run, root / "png")
        rates, sizes = measure(run, tars, given.count)
    rows = [
        (name, rate.per_s, rate.cpu_ms, sizes["png" if "png" in name else "sheets"])
        for name, rate in rates.items()
    ]
    header = ("reader", "samples/s", "CPU ms/sample", "kB/sample")
    title = f"3 x {FRAMES} RGBA images of {SIZE}x{SIZE} px per sample"
    report(title, header, rows, named_figures(rates), given.json)


def named_figures(rates: dict[str, Rate]) -> dict[str, float]:
    """Compare the rows; see the top of this file."""
    bare, alone = rates["bare_codec"], rates["rgba_0_workers"]
    sheets, png = rates["rgba_2_workers"], rates["png_tar_2_workers"]
    return {
        "vs_png_tar": sheets.per_s / png.per_s,
        "vs_png_tar_cpu": png.cpu_ms / sheets.cpu_ms,
        "vs_bare_codec": sheets.per_s / WORKERS / bare.per_s,
        "vs_bare_codec_cpu": bare.cpu_ms / sheets.cpu_ms,
        "vs_bare_codec_alone": alone.per_s / bare.per_s,
    } | {f"{name}_per_s": rate.per_s for name, rate in rates.items()}


def measure(run: Path, tars: list[str], count: int) -> tuple[dict[str, Rate], dict[str, float]]:
    """Time the readers: name -> rate, and kind -> kB per sample."""
    readers: dict[str, Any] = {"bare_codec": bare_codec(run)}
    for name, config in {
        "rgba": StreamConfig(background=None, dtype="uint8"),
        "rgb": StreamConfig(background="white", dtype="float32"),
        "rgb64": StreamConfig(background="white", dtype="float32", size=64),
    }.items():
        for workers in (0, WORKERS):
            readers[f"{name}_{workers}_workers"] = sheet_loader(run, config, workers)
    readers[f"png_tar_{WORKERS}_workers"] = png_loader(tars)
    rates = rates_in_turn(readers, count=count, skip=2 * (WORKERS + 1))
    samples = len(SampleReader(run))
    sizes = {
        "sheets": sum(SampleReader(run).column("length")) / samples / 1000,
        "png": sum(Path(tar).stat().st_size for tar in tars) / samples / 1000,
    }
    return rates, sizes


def bare_codec(run: Path) -> Iterator[list[np.ndarray]]:
    """Decode the sheets of sample after sample from memory, over and over."""
    reader = SampleReader(run)
    samples = [
        [data for name, data in reader.read(i)[1].items() if name.endswith(".webp")]
        for i in range(len(reader))
    ]
    for sheets in cycle(samples):
        yield [imagecodecs.webp_decode(data, hasalpha=True) for data in sheets]


def sheet_loader(run: Path, config: StreamConfig, workers: int) -> Any:
    """Read the run under a stock DataLoader, over and over."""
    from torch.utils.data import DataLoader

    dataset: Any = MapStyle(run, config)
    endless: Any = Endless(dataset)
    return DataLoader(dataset, batch_size=None, sampler=endless, num_workers=workers)


class Endless:
    """A sampler that never ends: epoch after epoch."""

    def __init__(self, dataset: MapStyle) -> None:
        self.sampler = dataset.sampler()

    def __iter__(self) -> Iterator[int]:
        """Give sample numbers for ever."""
        while True:
            yield from self.sampler
            self.sampler.advance(len(self.sampler))


def png_loader(tars: list[str]) -> Any:
    """Read the tars of PNGs with stock webdataset under a DataLoader, over and over."""
    import webdataset
    from torch.utils.data import DataLoader

    stock: Any = webdataset
    dataset = stock.WebDataset(tars, shardshuffle=False).decode("rgba8").map(stack_images).repeat()
    return DataLoader(dataset, batch_size=None, num_workers=WORKERS)


def stack_images(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    """Put the 72 images of a sample into one array (t, h, w, 4) per sequence."""
    return {
        name: np.stack([sample[f"{name}.{i:03d}.png"] for i in range(FRAMES)]) for name in SEQUENCES
    }


def write_png_tars(run: Path, into: Path) -> list[str]:
    """Write the run's samples as one PNG per image (Pillow's defaults), two samples per tar."""
    into.mkdir()
    reader = SampleReader(run)
    paths: list[str] = []
    for first in range(0, len(reader), 2):
        path = into / f"{first:06d}.tar"
        with tarfile.open(path, "w") as archive:
            for number in range(first, min(first + 2, len(reader))):
                meta, members = reader.read(number)
                for name, i, frame in chain.from_iterable(
                    zip(repeat(s), range(FRAMES), decode_sequence(meta, members, s), strict=False)
                    for s in SEQUENCES
                ):
                    data = io.BytesIO()
                    Image.fromarray(frame).save(data, "PNG")
                    info = tarfile.TarInfo(f"{meta.key}.{name}.{i:03d}.png")
                    info.size = data.tell()
                    data.seek(0)
                    archive.addfile(info, data)
        paths.append(str(path))
    return paths


if __name__ == "__main__":
    main()
