"""Codecs of ``shards.codec``: size, time to write and to read, and error, per sample.

``python -m tests.bench.codecs --run RUN`` takes the first samples of a RUN; without one, synthetic
samples of 3 x 24 images of 256x256 px. CPU time of one thread; reading decodes into given memory.

Figures: ``*_kb``, ``*_encode_ms``, ``*_decode_ms`` per sample, and ``lossy_psnr_db``: the worst
sequence's, on visible pixels.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from shards.codec import CODECS, decode_frames, encode_frames, psnr_db
from shards.read import SampleReader
from shards.sample import decode_sequence
from tests.bench.harness import arguments, report
from tests.make_shards import make_run


def main() -> None:
    """Measure and print."""
    parser = arguments("Codecs of image sequences.")
    parser.add_argument("--run", type=Path, help="a RUN folder; none: synthetic samples")
    parser.add_argument("--count", type=int, default=3, help="samples to measure")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        run = given.run or make_run(
            Path(folder) / "run", assets=given.count, clips=1, frames=24, size=256, texture=0.7
        )
        sequences = list(sequences_of(run, given.count))
    samples = min(given.count, len(SampleReader(run))) if given.run else given.count
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    for codec in CODECS:
        size, encode_s, decode_s, worst = 0, 0.0, 0.0, np.inf
        for frames in sequences:
            start = time.process_time()
            parts, layout = encode_frames(frames, codec)
            encode_s += time.process_time() - start
            count, height, width, _ = frames.shape
            out = np.zeros_like(frames)
            decode_s += best_s(
                lambda p=parts, s=(count, height, width), a=layout, o=out: decode_frames(p, s, a, o)
            )
            size += sum(map(len, parts.values()))
            worst = min(worst, psnr_db(frames, out) or np.inf)
        row = (size / 1000 / samples, 1000 * encode_s / samples, 1000 * decode_s / samples)
        names = (f"{codec}_kb", f"{codec}_encode_ms", f"{codec}_decode_ms")
        figures |= dict(zip(names, row, strict=True))
        rows.append((codec, *row, worst))
        if codec == "lossy":
            figures["lossy_psnr_db"] = float(worst)
    header = ("codec", "kB", "encode ms", "decode ms", "worst PSNR dB")
    report(f"per sample, {samples} samples", header, rows, figures, given.json)


def sequences_of(run: Path, count: int) -> Iterator[np.ndarray]:
    """Give the image sequences of the first samples."""
    reader = SampleReader(run)
    for number in range(min(count, len(reader))):
        meta, members = reader.read(number)
        for name in meta.sequences:
            yield decode_sequence(meta, members, name)


def best_s(call: Callable[[], object], repeats: int = 3) -> float:
    """CPU time of the fastest of a few calls, seconds."""
    times: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
