"""Spoil real files at random, many thousand times: nothing but named errors may come out.

Run ``python -m tests.bench.fuzz [--assets DIR] [--count N] [--seed N] [--seconds N]``. Files in
turn are damaged (bytes, and of glTF every other time the document's properties), then inspected,
and posed if they pass. What ends in anything but a result, an ``AssetError`` with a known rule or a
hand-over to Blender, or takes longer than 5 s, is printed with what makes it again, and the exit
status is 1. The same seed spoils the same files alike. ``--seconds`` bounds the whole.
"""

import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from shards.seeding import rng_for
from tests.bench.harness import arguments, peak_mb, report
from tests.curate.spoil import attempt, damage, join, split, spoil

_SUFFIXES = (".glb", ".gltf", ".usda", ".usdc", ".usdz", ".usd", ".fbx", ".blend")


def main() -> None:
    """Spoil, and report by format."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=20_000, help="files to spoil")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--seconds", type=float, default=500.0, help="end after so many")
    parser.add_argument("--bytes-max", type=int, default=1 << 19, help="leave larger files out")
    options = parser.parse_args()
    files = [path for path in sorted(options.assets.rglob("*")) if path.suffix in _SUFFIXES]
    files = [path for path in files if 0 < path.stat().st_size <= options.bytes_max]
    ends: dict[str, Counter[str]] = {suffix: Counter() for suffix in _SUFFIXES}
    wrong, started, number = 0, time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        while number < options.count and time.monotonic() - started < options.seconds:
            source = files[number % len(files)]
            turn = number // len(files)
            try:
                rule = _spoilt(source, Path(folder), options.seed, turn)
            except Exception:
                wrong += 1
                rule = "wrong"
                print(f"{source} --seed {options.seed}, turn {turn}:\n{traceback.format_exc()}")
            ends[source.suffix][rule] += 1
            number += 1
    rows = [
        (suffix, sum(rules.values()), rules[""], len(rules.keys() - {"", "wrong"}), rules["wrong"])
        for suffix, rules in ends.items()
        if rules
    ]
    rules = set[str]().union(*ends.values()) - {"", "wrong"}
    figures = {
        "fuzz_files": float(len(files)),
        "fuzz_mutations": float(number),
        "fuzz_rules": float(len(rules)),
        "fuzz_wrong": float(wrong),
        "fuzz_per_s": number / (time.monotonic() - started),
        "peak_mb": peak_mb(),
    }
    header = ("format", "spoilt", "still sound", "rules met", "wrong")
    report("Files spoilt at random", header, rows, figures, options.json)
    sys.exit(1 if wrong else 0)


def _spoilt(source: Path, folder: Path, seed: int, turn: int) -> str:
    """Spoil a file, beside its companions, and return the rule that refused it, or none."""
    place = folder / source.stem
    if not place.exists():
        place.mkdir()
        if source.suffix == ".gltf":
            for companion in source.parent.glob("*.bin"):
                shutil.copyfile(companion, place / companion.name)
    draw = rng_for(seed, "fuzz", source.name, turn)
    data, file = source.read_bytes(), place / f"spoilt{source.suffix}"
    if source.suffix in (".glb", ".gltf") and turn % 2:
        try:
            document, blob = split(data)
            document["asset"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            pass  # one of the hostile files, whose document is none
        else:
            file.write_bytes(join(source.suffix, spoil(document, draw), blob))
            return attempt(file)
    file.write_bytes(damage(data, draw))
    return attempt(file)


if __name__ == "__main__":
    main()
