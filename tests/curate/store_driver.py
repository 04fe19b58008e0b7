"""A driver as a process: ``python -m tests.curate.store_driver URL INPUTS PAUSE_S``.

It builds as ``tests.curate.store_builds`` does, pauses before each asset, and says what it does.
"""

import contextlib
import sys
import time
from pathlib import Path

from curate.collect import Collector
from curate.sources import find_sources
from shards.errors import Orbit4dError
from tests.curate.store_builds import open_run, work


def main() -> int:
    url, inputs, pause_s = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    sources = find_sources([inputs])
    try:
        with contextlib.closing(open_run(url, keeps=False)) as run:
            run.begin()
            collector = Collector(run, sources)
            for source in list(collector.take_over()):
                print("at", source.path, flush=True)
                time.sleep(pause_s)
                work(run, source, away=True)
                collector.finished(source, run.finished_rows(source))
            collector.flush()
            run.finish({"assets": collector.assets})
    except Orbit4dError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
