"""Samples per second of 3 sequences of 24 RGBA images of 256x256 px, as batches of 4 for training.

All rows end in uint8 RGBA batches at the reader of a DataLoader with 2 workers, on the same images:
``shards.batches`` with the default codec and with ``fast``; stock webdataset over one PNG per image
(a); the bare codec in a loop in 2 processes (b); litdata (c), where it is installed: ``pip install
--no-deps litdata lightning-utilities tifffile`` (its usual torchvision does not load beside a
CPU torch). The images are synthetic: smoothly shaded, textured, slightly grainy blobs that cover a
quarter of the picture and decode like the hardest renders; with ``--run`` they are rendered ones.

The rows take turns, and each ratio is the median over the rounds of the ratios within a round, so
that a busy machine hits both sides alike.

Figures:
    vs_png_tar, fast_vs_png_tar: samples/s over (a).
    vs_bare_codec: samples/s over (b), both with 2 processes, so per core.
    vs_peer: samples/s over (c) with one PNG per image.
    vs_peer_with_our_sheets: the same over litdata fed with these very sheets and this very codec:
        what the loader alone makes.
    *_cpu: the same comparisons by CPU time per sample.
    first_batch_s: from opening the RUN to the first batch, with 2 workers.
    resume_s: the same in the middle of an index of 100,000 samples.
    worker_mb: the largest memory of a worker, shared memory included.
    *_per_s: samples per second of each row.
"""

import argparse
import importlib.util
import io
import multiprocessing
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, count, cycle, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from shards import index
from shards.batches import SharedBatches
from shards.manage import merge_runs
from shards.read import MapStyle, SampleReader, StreamConfig
from shards.sample import decode_sequence, parts_of
from shards.view import SampleView
from tests.bench.harness import Rate, arguments, rates_in_turn, report
from tests.make_shards import SEQUENCES, make_run

FRAMES, SIZE, TEXTURE = 24, 256, 0.7
WORKERS, BATCH = 2, 4
AS_STORED = StreamConfig(background=None, dtype="uint8", remainder="pad")
LONG_RUN, LONG_SHARD = 100_000, 200  # samples


def main() -> None:
    """Make the data, time every reader and print."""
    parser = arguments("Reading speed of shards.")
    parser.add_argument("--run", type=Path, help="rendered samples to read; none: synthetic ones")
    parser.add_argument("--samples", type=int, default=8, help="different samples to make")
    parser.add_argument("--count", type=int, default=6, help="batches per row and round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        given.run = given.run or make_run(
            root / "drawn",
            assets=given.samples,
            clips=1,
            frames=FRAMES,
            size=SIZE,
            per_shard=2,
            texture=TEXTURE,
        )
        runs: dict[str, Path] = {"webp": root / "webp", "fast": root / "fast"}
        merge_runs([given.run], runs["webp"], 2_000_000, None)
        merge_runs([given.run], runs["fast"], 2_000_000, "fast")
        shape = view_of(runs["webp"]).sequences["orbit"].images.shape
        rates, sizes = measure(runs, root, given)
        figures = named_figures(rates) | start_figures(runs["webp"], root / "long")
    rows = [(name, r.per_s * BATCH, r.cpu_ms / BATCH, sizes[name]) for name, r in rates.items()]
    header = ("reader", "samples/s", "CPU ms/sample", "kB/sample")
    title = f"3 x {shape[0]} RGBA images of {shape[1]}x{shape[2]} px per sample, batches of {BATCH}"
    report(title, header, rows, figures, given.json)


def view_of(run: Path) -> SampleView:
    """Read the first sample."""
    return MapStyle(run, AS_STORED).view(0)


def named_figures(rates: dict[str, Rate]) -> dict[str, float]:
    """Compare the rows; see the top of this file."""
    pairs = {
        "vs_png_tar": ("sheets", "png_tar"),
        "fast_vs_png_tar": ("fast", "png_tar"),
        "vs_bare_codec": ("sheets", "bare_codec"),
        "vs_peer": ("sheets", "litdata_png"),
        "vs_peer_with_our_sheets": ("sheets", "litdata"),
    }
    known = {name: pair for name, pair in pairs.items() if set(pair) <= set(rates)}
    return (
        {name: rates[a].times_as_fast_as(rates[b]) for name, (a, b) in known.items()}
        | {f"{name}_cpu": rates[b].cpu_ms / rates[a].cpu_ms for name, (a, b) in known.items()}
        | {f"{name}_per_s": rate.per_s * BATCH for name, rate in rates.items()}
    )


def measure(
    runs: dict[str, Path], root: Path, given: argparse.Namespace
) -> tuple[dict[str, Rate], dict[str, float]]:
    """Time the readers: name -> rate per batch, and kB per sample."""
    run = runs["webp"]
    tars = write_png_tars(run, root / "png")
    samples = len(SampleReader(run))
    kb = {c: sum(SampleReader(r).column("length")) / samples / 1000 for c, r in runs.items()}
    readers: dict[str, Any] = {
        "bare_codec": bare_codec(run),
        "sheets": shared_loader(run),
        "fast": shared_loader(runs["fast"]),
        "sheets_default_collate": plain_loader(run),
        "png_tar": png_loader(tars),
    }
    sizes = {name: kb["webp"] for name in readers} | {"fast": kb["fast"], "litdata": kb["webp"]}
    sizes["png_tar"] = sizes["litdata_png"] = (
        sum(Path(tar).stat().st_size for tar in tars) / samples / 1000
    )
    if importlib.util.find_spec("litdata"):
        decode = partial(decoded_sheets, view_of(run).sequences["orbit"].images.shape)
        readers["litdata"] = litdata_loader(Sheets(run), decode, root / "litdata")
        readers["litdata_png"] = litdata_loader(Pngs(run), decoded_pngs, root / "litdata_png")
    skip = 2 * WORKERS + 1
    return rates_in_turn(readers, count=given.count, skip=skip, rounds=given.rounds), sizes


def start_figures(run: Path, folder: Path) -> dict[str, float]:
    """Time the way to the first batch, and look at the workers' memory."""
    resumed = long_run(run, folder)
    state = MapStyle(resumed, AS_STORED).sampler().state_dict() | {"done": LONG_RUN // 2}
    first_s, mb = first_batch(run, None)
    resume_s, _ = first_batch(resumed, state)
    return {"first_batch_s": first_s, "resume_s": resume_s, "worker_mb": mb}


def first_batch(run: Path, state: dict[str, int] | None) -> tuple[float, float]:
    """Open a run and read a few batches: seconds to the first, and MB of the largest worker."""
    from torch.utils.data import DataLoader

    start = time.perf_counter()
    samples: Any = SharedBatches(MapStyle(run, AS_STORED), batch_size=BATCH, workers=WORKERS)
    sampler: Any = samples.sampler()
    if state:
        sampler.load_state_dict(state)
    before = {child.pid for child in multiprocessing.active_children()}
    loader = iter(
        DataLoader(
            samples,
            batch_size=BATCH,
            sampler=Endless(sampler),
            num_workers=WORKERS,
            collate_fn=samples.collate,
        )
    )
    next(loader)
    took_s = time.perf_counter() - start
    for _ in islice(loader, 12):
        pass
    workers = [c.pid for c in multiprocessing.active_children() if c.pid not in before]
    return took_s, max(peak_mb(pid) for pid in workers if pid)


def peak_mb(pid: int) -> float:
    """Read the largest resident memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def long_run(run: Path, folder: Path) -> Path:
    """Make a RUN folder of 500 shards of 200 samples each: the same few, over and over."""
    for name in ("index", "shards"):
        (folder / name).mkdir(parents=True)
    known = list(index.committed(run).items())
    entries: list[index.IndexEntry] = []
    for number in range(LONG_RUN // LONG_SHARD):
        shard, samples = known[number % len(known)]
        name = f"shard-{number:06d}"
        (folder / "shards" / f"{name}.tar").symlink_to(index.shard_dir(run) / f"{shard}.tar")
        entries += [replace(entry, shard=name) for entry in islice(cycle(samples), LONG_SHARD)]
    index.write_part(folder, "long", entries)
    (folder / "index" / "long.parquet").rename(folder / "index.parquet")
    return folder


def bare_codec(run: Path) -> Any:
    """Decode the sheets of sample after sample from memory, over and over, in 2 processes."""
    from torch.utils.data import DataLoader, IterableDataset

    reader = SampleReader(run)
    samples: list[list[bytes]] = []
    for i in range(len(reader)):
        meta, members = reader.read(i)
        samples.append([parts_of(members, meta.key, s, "rgba")["webp"] for s in SEQUENCES])

    class Bare(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            for number, sheets in enumerate(cycle(samples), start=1):
                for data in sheets:
                    imagecodecs.webp_decode(data, hasalpha=True)
                if number % BATCH == 0:
                    yield number

    return DataLoader(Bare(), batch_size=None, num_workers=WORKERS)


def shared_loader(run: Path) -> Any:
    """Read the run in batches through shared memory, over and over."""
    from torch.utils.data import DataLoader

    samples: Any = SharedBatches(MapStyle(run, AS_STORED), batch_size=BATCH, workers=WORKERS)
    endless: Any = Endless(samples.sampler())
    return DataLoader(
        samples,
        batch_size=BATCH,
        sampler=endless,
        num_workers=WORKERS,
        collate_fn=SharedBatches.collate,
    )


def plain_loader(run: Path) -> Any:
    """Read the run sample by sample under torch's default collate, over and over."""
    from torch.utils.data import DataLoader

    samples: Any = MapStyle(run, AS_STORED)
    endless: Any = Endless(samples.sampler(batch_size=BATCH))
    return DataLoader(samples, batch_size=BATCH, sampler=endless, num_workers=WORKERS)


class Endless:
    """A sampler that never ends: epoch after epoch."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[int]:
        """Give sample numbers for ever."""
        while True:
            yield from self.sampler
            self.sampler.advance(len(self.sampler) // self.sampler.batch_size)


def png_loader(tars: list[str]) -> Any:
    """Read the tars of PNGs with stock webdataset under a DataLoader, over and over."""
    import webdataset
    from torch.utils.data import DataLoader

    stock: Any = webdataset
    dataset = stock.WebDataset(tars, shardshuffle=False).decode("rgba8").map(stack_images).repeat()
    return DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS)


def litdata_loader(source: Any, decode: Any, folder: Path) -> Any:
    """Read the same images from litdata's own format, over and over."""
    import litdata  # pyright: ignore[reportMissingImports]

    litdata.optimize(
        source,
        list(range(len(source.reader))) * 4,
        str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        start_method="fork",
    )

    class Decoded(litdata.StreamingDataset):
        def __getitem__(self, number: Any) -> Any:
            return decode(super().__getitem__(number))

    def endless() -> Iterator[Any]:
        loader = litdata.StreamingDataLoader(
            Decoded(str(folder)), batch_size=BATCH, num_workers=WORKERS, persistent_workers=True
        )
        while True:
            yield from loader

    return endless()


class Sheets:
    """Gives the sheets of a sample by its number."""

    def __init__(self, run: Path) -> None:
        self.reader = SampleReader(run)

    def __call__(self, number: int) -> dict[str, Any]:
        """Read the bytes: sequence -> WebP."""
        meta, members = self.reader.read(number)
        return {name: parts_of(members, meta.key, name, "rgba")["webp"] for name in SEQUENCES}


class Pngs(Sheets):
    """Gives the images of a sample as PNGs, by its number."""

    def __call__(self, number: int) -> dict[str, Any]:
        """Write them with Pillow's defaults: sequence and number -> PNG."""
        meta, members = self.reader.read(number)
        pngs: dict[str, bytes] = {}
        for name in SEQUENCES:
            for i, frame in enumerate(decode_sequence(meta, members, name)):
                data = io.BytesIO()
                Image.fromarray(frame).save(data, "PNG")
                pngs[f"{name}.{i:03d}"] = data.getvalue()
        return pngs


def decoded_sheets(shape: tuple[int, ...], sample: dict[str, Any]) -> dict[str, np.ndarray]:
    """Decode what ``Sheets`` gave."""
    return {
        name: imagecodecs.webp_decode(data, hasalpha=True).reshape(shape)
        for name, data in sample.items()
    }


def decoded_pngs(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    """Decode what ``Pngs`` gave, with Pillow."""
    return stack_images(
        {name: np.asarray(Image.open(io.BytesIO(data))) for name, data in sample.items()}
    )


def stack_images(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    """Put the images of a sample into one array (t, h, w, 4) per sequence."""
    names = sorted(sample)
    return {
        sequence: np.stack([sample[name] for name in names if name.startswith(f"{sequence}.")])
        for sequence in SEQUENCES
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
                    zip(repeat(s), count(), decode_sequence(meta, members, s), strict=False)
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
