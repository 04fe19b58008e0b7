"""One rank of a job that reads a RUN and may be killed: ``python -m tests.shards.resume_job``.

Every step, all ranks gather what they read and rank 0 appends it to a log with the state after it.
A log line is the truth of what was trained on: whatever is killed after it counts as seen, whatever
was only fetched does not.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from shards.batches import SharedBatches
from shards.read import MapStyle, StreamConfig


def main() -> None:
    """Read one epoch from the log's last state on."""
    import torch.distributed as dist
    from torch.utils.data import DataLoader

    run, log = map(Path, sys.argv[1:3])
    batch_size, workers, stop_after = map(int, sys.argv[3:])
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    meeting = f"file://{os.environ['MEETING']}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    config = StreamConfig(background=None, dtype="uint8", sequences=("orbit",), remainder="drop")
    batches: Any = SharedBatches(MapStyle(run, config), batch_size=batch_size, workers=workers)
    sampler: Any = batches.sampler(rank=rank, world=world)
    if log.exists():
        sampler.load_state_dict(json.loads(log.read_text().splitlines()[-1])["state"])
    epoch = sampler.epoch
    loader: Any = DataLoader(
        batches,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=SharedBatches.collate,
    )
    for steps, batch in enumerate(loader, start=1):
        everyone: list[Any] = [None] * world
        dist.all_gather_object(everyone, batch.keys)
        sampler.advance()
        if rank == 0:
            with log.open("a") as stream:
                seen = [key for keys in everyone for key in keys]
                line = {"epoch": epoch, "keys": seen, "state": sampler.state_dict()}
                stream.write(json.dumps(line) + "\n")
        if steps == stop_after:
            dist.barrier()
            os.kill(os.getpid(), 9)  # with its workers and what they fetched ahead
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
