"""How copies are found among many: ``python -m tests.bench.copies [ROWS]``.

Rows are made up: every asset has two clips, a tenth of the assets are copies with float noise, and
all have one of 200 numbers of triangles, so that buckets are fuller than in the wild.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from curate.config_assets import DuplicateConfig
from curate.duplicates import Seen
from shards.likeness import Sketch


def assets(count: int) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Make the rows of so many assets, and say which are copies."""
    draw = np.random.default_rng(0)
    shapes = draw.uniform(0.2, 2.0, (count, 14))
    motions = draw.normal(0.0, 0.5, (count, 2, 16))
    kinds = draw.integers(0, 200, count)
    copies = draw.random(count) < 0.1
    copies[0] = False
    for place in range(count):
        source = int(draw.integers(place)) if copies[place] else place
        shapes[place], motions[place], kinds[place] = shapes[source], motions[source], kinds[source]
        shape = Sketch(int(kinds[place]), shapes[place] + draw.normal(0, 1e-5, 14)).encode()
        yield (
            [
                {
                    "uid": f"a{place}", "clip_index": clip, "verdict": "kept", "rule": "",
                    "content": f"c{place}", "geometry": shape, "look": "gltf:0",
                    "clip_sketch": Sketch(24, motion + draw.normal(0, 1e-5, 16)).encode(),
                }
                for clip, motion in enumerate(motions[place])
            ],
            bool(copies[place]),
        )  # fmt: skip


def main(rows: int) -> None:
    """Find the copies among made-up rows; all and no others must be found."""
    made = list(assets(rows // 2))
    seen = Seen(DuplicateConfig())
    started = time.perf_counter()
    wrong = 0
    for of_asset, is_copy in made:
        found = seen.look(of_asset)
        wrong += any((row["verdict"] == "rejected") != is_copy for row in found)
    seconds = time.perf_counter() - started
    print(f"{rows:,} rows in {seconds:.1f} s, {1e6 * seconds / rows:.0f} us a row, {wrong} wrong")
    assert wrong == 0


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
