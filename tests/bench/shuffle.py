"""How well each ``window_shards`` shuffles an epoch, and what that costs per sample.

The order is that of 100,000 samples in 500 shards. Reading fetches every sample of 64 shards of 32
samples of 100 kB from the disk, in that order, out of a cold page cache.

Figures:
    spread, spread_sequential: mean distance in the order between two samples of one shard, as a
        share of the epoch, at the default window and unshuffled; a perfect shuffle has a third.
    order_us: drawing the order, CPU time per sample, at the default window.
    read_us, read_sequential_us: reading a sample, wall time.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int64

from shards.order import OrderConfig, order
from shards.store import LocalStore
from tests.bench.harness import arguments, report

SHARDS, SAMPLES = 500, 200
DISK_SHARDS, DISK_SAMPLES, SAMPLE_BYTES = 64, 32, 100_000


def main() -> None:
    """Measure and print."""
    parser = arguments("Quality and cost of shuffling.")
    parser.add_argument("--rounds", type=int, default=5)
    given: argparse.Namespace = parser.parse_args()
    default = OrderConfig().window_shards
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        store = filled(Path(folder))
        for window in (0, 1, 4, default, 64, SHARDS):
            places, order_us = drawn(window)
            numbers = drawn(window, DISK_SHARDS, DISK_SAMPLES)[0]
            read_us = min(read_cold(store, numbers) for _ in range(given.rounds))
            row = (spread_of(places), order_us, read_us)
            rows.append((str(window or "unshuffled"), *row))
            if window == default:
                figures |= dict(zip(("spread", "order_us", "read_us"), row, strict=True))
            if not window:
                figures |= {"spread_sequential": row[0], "read_sequential_us": row[2]}
    header = ("window_shards", "spread", "order us/sample", "cold read us/sample")
    report(f"{SHARDS * SAMPLES} samples in {SHARDS} shards", header, rows, figures, given.json)


def drawn(
    window: int, shards: int = SHARDS, samples: int = SAMPLES
) -> tuple[Int64[np.ndarray, " n"], float]:
    """Draw an epoch: sample numbers, and CPU microseconds per sample; window 0: unshuffled."""
    if not window:
        return np.arange(shards * samples), 0.0
    start = time.process_time()
    numbers = order(0, 0, [samples] * shards, window)
    return numbers, 1e6 * (time.process_time() - start) / len(numbers)


def spread_of(numbers: Int64[np.ndarray, " n"]) -> float:
    """Measure the mean distance between two samples of one shard, as a share of the epoch."""
    place = np.empty(len(numbers))
    place[numbers] = np.arange(len(numbers))
    ordered = np.sort(place.reshape(SHARDS, SAMPLES), axis=1)
    # sum over pairs of |a - b| of sorted values: each counts by how many lie on either side
    weights = 2 * np.arange(SAMPLES) - SAMPLES + 1
    pairs = SAMPLES * (SAMPLES - 1) / 2
    return float((ordered @ weights).mean() / pairs / len(numbers))


def filled(folder: Path) -> LocalStore:
    """Write files as large as shards."""
    noise = np.random.default_rng(0).bytes(DISK_SAMPLES * SAMPLE_BYTES)
    for shard in range(DISK_SHARDS):
        with (folder / f"{shard:03d}").open("wb") as stream:
            stream.write(noise)
            stream.flush()
            os.fsync(stream.fileno())  # pages that are not written yet cannot be dropped
    return LocalStore(folder)


def read_cold(store: LocalStore, numbers: Int64[np.ndarray, " n"]) -> float:
    """Read the samples in this order: microseconds per sample."""
    for path in store.root.iterdir():
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    for number in numbers.tolist():
        shard, sample = divmod(number, DISK_SAMPLES)
        store.read_range(f"{shard:03d}", sample * SAMPLE_BYTES, SAMPLE_BYTES)
    return 1e6 * (time.perf_counter() - start) / len(numbers)


if __name__ == "__main__":
    main()
