"""Make the sample assets: ``python -m render.blender.samples OUT_DIR [--seed 0]``."""

import argparse
import zlib
from pathlib import Path

import numpy as np

from render.blender.samples.catalogue import ASSETS
from render.blender.samples.export import write_asset, write_json
from render.blender.samples.model import Model


def main() -> None:
    """Write every asset of the catalogue, then ``samples.json``: complete once that is there."""
    parser = argparse.ArgumentParser(prog="render.blender.samples", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to; made if missing")
    parser.add_argument("--seed", type=int, default=0, help="moves spots and stripes")
    parser.add_argument("--version", default="", help="recorded in samples.json")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "samples.json").unlink(missing_ok=True)
    samples = []
    for name, build in ASSETS.items():
        # each asset has its own stream: adding one does not change the others
        rng = np.random.default_rng([arguments.seed, zlib.crc32(name.encode())])
        model = Model(name, rng)
        build(model)
        samples.append(write_asset(model, out))
    head = {"seed": arguments.seed, "version": arguments.version, "samples": samples}
    write_json(out / "samples.json", head)


if __name__ == "__main__":
    main()
