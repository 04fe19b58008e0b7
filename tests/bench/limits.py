"""What grows with the number of clips, measured: bytes of ledger and index, commits, listings.

Run ``python -m tests.bench.limits [--json]``. ``docs/scale.md`` multiplies these figures.

``ledger_bytes_per_row``, ``index_bytes_per_sample``: Parquet of made-up rows, all scores measured.
``commit_mb_per_s``: one shard of 250 samples of ``sample_kb``, from staged files on the local disk,
with its fsync. ``commit_ms``: one shard of one small sample. ``list_ms_per_1000``: listing
a prefix of a local S3 server: slower than S3 for each request, but without a network before it.
"""

import json
import logging
import os
import tempfile
import time
from pathlib import Path

import s3fs
from moto.server import ThreadedMotoServer

from shards import index
from shards.sample import encode_members, sample_to_tar
from shards.seeding import rng_for
from shards.write import ShardWriter, StagedSample
from tests.bench.harness import arguments, report
from tests.bench.report import make_ledger
from tests.make_shards import make_sample

_ROWS = 60_000
_SAMPLES = 50_000
_SHARD_SAMPLES = 250
_KEYS = 3000
_SCORES = 40  # a document has about as many


def main() -> None:
    """Measure one after the other and print."""
    options = arguments(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "ledger_bytes_per_row": ledger_bytes(folder / "ledger"),
            "index_bytes_per_sample": index_bytes(folder / "index"),
            **commits(folder / "commits"),
            "list_ms_per_1000": listing_ms(),
        }
    report("limits", ("figure", "value"), list(figures.items()), figures, options.json)


def ledger_bytes(run: Path) -> float:
    """Return the bytes of a row in a part of many."""
    run.mkdir()
    make_ledger(run, _ROWS)
    return sum(part.stat().st_size for part in (run / "ledger").iterdir()) / _ROWS


def index_bytes(run: Path) -> float:
    """Return the bytes of an entry in an index of many."""
    index.recover(run)
    index.write_part(run, "shard-000000", [entry(n) for n in range(_SAMPLES)])
    return (index.part_dir(run) / "shard-000000.parquet").stat().st_size / _SAMPLES


def entry(number: int) -> index.IndexEntry:
    """Make up an entry with hashes and scores that no two samples share."""
    rng = rng_for(0, "made-up entry", number)
    uid, clip = f"asset-{rng.bytes(5).hex()}", number % 3
    scores = {f"score_number_{i:02d}": round(v, 6) for i, v in enumerate(rng.random(_SCORES))}
    return index.IndexEntry(
        key=f"{uid}-{clip:03d}", uid=uid, clip_index=clip, shard=f"shard-{number // 230:06d}",
        offset=number % 230 * 1_100_288, length=1_100_288, sha256=rng.bytes(32).hex(), frames=24,
        fingerprint=rng.bytes(8).hex(), motion_magnitude=float(rng.random()),
        scores=json.dumps(scores), asset_sha256=rng.bytes(32).hex(),
        geometry=f"{number}:{rng.bytes(56).hex()}",
    )  # fmt: skip


def commits(folder: Path) -> dict[str, float]:
    """Return the time of the smallest commit, and the pace of a large one."""
    folder.mkdir()
    (small,) = _staged(folder, "small", 1, frames=6, size=16)
    large = _staged(folder, "large", _SHARD_SAMPLES, frames=24, size=256)
    commit_ms = 1e3 * _commit_s(folder / "small", [small])
    megabytes = sum(sample.size() for sample in large) / 1e6
    return {
        "commit_ms": commit_ms,
        "sample_kb": 1e3 * megabytes / len(large),
        "commit_mb_per_s": megabytes / _commit_s(folder / "large", large),
    }


def _staged(folder: Path, name: str, count: int, frames: int, size: int) -> list[StagedSample]:
    """Stage one sample under many names."""
    meta, images = make_sample(name, 0, frames, size, texture=0.3)
    members, layouts = encode_members(images, "webp")
    sequences = {
        name: meta.sequences[name].model_copy(update={"layout": layout})
        for name, layout in layouts.items()
    }
    staged: list[StagedSample] = []
    for number in range(count):
        uid = f"{name}{number}"
        asset = meta.asset.model_copy(update={"uid": uid})
        update = {"key": f"{uid}-000", "asset": asset, "sequences": sequences}
        path = folder / f"{uid}-000.tar"
        path.write_bytes(sample_to_tar(meta.model_copy(update=update), members))
        staged.append(StagedSample(f"{uid}-000", path))
    return staged


def _commit_s(run: Path, staged: list[StagedSample]) -> float:
    writer = ShardWriter(run, 2**20)
    started = time.monotonic()
    writer.commit(staged)
    return time.monotonic() - started


def listing_ms() -> float:
    """Return how long a local S3 server takes to list a thousand keys."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        files = s3fs.S3FileSystem(
            key="testing", secret="testing", endpoint_url=f"http://{host}:{port}"
        )
        files.mkdir("bucket")
        for number in range(_KEYS):
            files.pipe_file(f"bucket/staging/asset-{number:06d}/asset.json", b"{}")
        files.invalidate_cache()
        started = time.monotonic()
        found = files.find("bucket/staging")
        assert len(found) == _KEYS
        return 1e6 * (time.monotonic() - started) / _KEYS
    finally:
        server.stop()


if __name__ == "__main__":
    main()
