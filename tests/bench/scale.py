"""What the machinery around rendering costs: driver, memory, restarts, workers, predictions.

Run ``python -m tests.bench.scale [--assets DIR] [--only PART] [--fakes N] [--json]``.
Parts:

- ``driver``: made-up assets on real Ray; every fourth leaves a sample of 20 kB, and nothing is
  rendered. CPU time of the driver per asset, by how much its memory and Ray's object store grow.
- ``restart``: from the start of a process until the first asset is handed out, in a RUN that has
  made-up rows, index and shards of 100,000 finished samples and one asset to do.
- ``workers``: two Ray workers on two cores beside one on one core, real assets, draft.
- ``cost``: real assets; how well headers predict seconds, and coefficients fitted to these.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import arguments, report
from tests.bench.render import two_worker_scaling
from tests.bench.scale_cost import cost_figures
from tests.bench.scale_fakes import make_finished_run, make_inputs

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Print one table per part, and all figures."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--fakes", type=int, default=100_000, help="made-up assets, and samples")
    parser.add_argument("--run", type=Path, help="RUN folder for cost, kept and gone on with")
    parts = {"driver": _driver, "restart": _restart, "workers": _workers, "cost": _cost}
    parser.add_argument("--only", choices=parts)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for name, part in parts.items():
        if options.only in (None, name):
            figures |= part(options)
    if options.json:
        print(json.dumps(figures))


def _driver(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        inputs = make_inputs(Path(folder) / "in", options.fakes)
        found = _run("driver_main", str(inputs), str(Path(folder) / "run"))
    figures = {name: found[name] for name in ("driver_ms_per_asset", "driver_growth_mb")}
    rows = [(name, value) for name, value in found.items()]
    report(f"driver over {options.fakes:,} made-up assets", ("", "value"), rows, figures, False)
    return figures


def _restart(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        inputs = make_inputs(Path(folder) / "in", options.fakes + 1)
        make_finished_run(Path(folder) / "run", inputs, options.fakes)
        found = _run("restart_main", str(inputs), str(Path(folder) / "run"))
    figures = {"restart_s": found["restart_s"]}
    title = f"a RUN of {options.fakes:,} finished samples is taken up"
    report(title, ("", "value"), list(found.items()), figures, False)
    return figures


def _workers(options: argparse.Namespace) -> dict[str, float]:
    return two_worker_scaling(options.assets, count=12, turns=2)


def _cost(options: argparse.Namespace) -> dict[str, float]:
    return cost_figures(options.assets, options.run)


def _run(function: str, *words: str) -> dict[str, float]:
    """Call a function of ``scale_fakes`` in a process of its own; returns what it prints."""
    code = (
        f"import sys; from tests.bench.scale_fakes import {function} as main; main(*sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=_ROOT, check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
