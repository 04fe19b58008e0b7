"""One rank of a training run: what tests start under torchrun or rank by rank, and kill.

    python -m tests.train.fit_job DATA OUT [KEY=VALUE ...]

Each finished step of rank 0 is a line of ``OUT/steps.jsonl``: step, loss, keys of all ranks' clips.
FAULT in the environment makes something go wrong: ``nan:STEP`` in the last clip of the last rank,
``exit:STEP`` ends all ranks after a step, before its checkpoint.
"""

import json
import os
import sys
from pathlib import Path

import torch

import train.loop
from shards.errors import Orbit4dError
from tests.train.small import CONFIG
from train.config import TrainConfig
from train.data import ClipBatch
from train.log import TrainLog
from train.loop import fit
from train.report import StepReport
from train.run import plan_fit
from train.trainer import Trainer

BASE = CONFIG.model_copy(
    update={
        "batch": 6,
        "data": CONFIG.data.model_copy(update={"size": 16, "static_share": 0.5}),
        "checkpoint": CONFIG.checkpoint.model_copy(update={"every_steps": 1}),
    }
)
EXIT = 9


class Watched(Trainer):
    """Remembers what it was given, and stumbles where it is told to."""

    def step(self, batch: ClipBatch) -> StepReport:
        fault, _, at = os.environ.get("FAULT", "").partition(":")
        last = self.ranks.rank == self.ranks.world - 1
        if fault == "nan" and self.done + 1 == int(at) and last:
            batch.orbit[-1] = batch.static[-1] = torch.nan
        keys = [key for part in self.ranks.objects(batch.keys) for key in part]
        report = super().step(batch)
        if self.ranks.first:
            line = {"step": report.step, "loss": report.loss, "keys": keys}
            with Path(sys.argv[2], "steps.jsonl").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        return report


def leave(trainer: Trainer, log: TrainLog) -> None:
    fault, _, at = os.environ.get("FAULT", "").partition(":")
    if fault == "exit" and trainer.done == int(at):
        trainer.ranks.objects(None)  # all are here
        os._exit(EXIT)


def rank(words: list[str], environment: dict[str, str], told: str) -> None:
    """Be one rank in a process that was forked with everything imported."""
    os.environ.update(environment)
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.argv[1:] = words
    main()


def main() -> None:
    data, out, *sets = sys.argv[1:]
    torch.set_num_threads(1)
    config = TrainConfig.build(BASE.model_dump(mode="json"), sets)
    try:
        plan = plan_fit(config, Path(data), Path(out))
        if not plan.finished:
            train.loop.Trainer = Watched
            fit(plan, Path(data), Path(out), hooks=[leave])
    except Orbit4dError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # not waiting for ranks that may be gone


if __name__ == "__main__":
    main()
