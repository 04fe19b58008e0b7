"""Checkpoints: a folder per step that appears whole or not at all.

``step-000200/`` holds ``model.safetensors`` and ``ema.safetensors`` (all weights, for any reader),
``state/`` (the optimiser's tensors as torch's distributed checkpoint, each rank's share written by
that rank) and ``state.json`` (everything that is no tensor, the place in the stream too). No random
state is in it: the draws of a step depend on (seed, step, place) alone. ``train.saver`` writes and
takes up what this module names and reads.

Up to November 2026 ``state.pt`` stood in for the last two; such checkpoints are taken up as well.
"""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from shards.errors import RunError
from shards.files import publish, temporary_for

STATE = "state.json"
TENSORS = "state"
OLD_STATE = "state.pt"
WEIGHTS = ("model", "ema")
_NAME = re.compile(r"step-(\d{6,})")
DAMAGE = (OSError, SafetensorError, RuntimeError, EOFError, KeyError, ValueError)

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Progress:
    """What of a training run's state is no tensor, after ``step`` steps.

    ``updates`` counts the steps that changed the weights, ``skipped`` has the others with the names
    of their clips, ``broken`` has broken samples with what is wrong; ``stream`` is the place in the
    stream.
    """

    step: int
    updates: int
    stream: dict[str, Any]
    skipped: dict[int, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """Give it as JSON values."""
        skipped = {str(step): keys for step, keys in self.skipped.items()}
        return {
            **{"schema_version": 2, "step": self.step, "updates": self.updates},
            **{"stream": self.stream, "skipped": skipped, "broken": self.broken},
        }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of a training run after ``step`` steps."""

    step: int
    model: Weights
    ema: Weights


def step_folder(folder: Path, step: int) -> Path:
    """Name a step's checkpoint."""
    return folder / f"step-{step:06d}"


def checkpoint_steps(folder: Path) -> list[int]:
    """List the complete checkpoints, oldest first."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("step-*"))
    return sorted(int(match.group(1)) for match in found if match)


def commit(temporary: Path, folder: Path, step: int, keep: int) -> Path:
    """Give a whole checkpoint its name and remove all but the last ``keep``.

    A kill at any moment leaves the earlier ones usable and no part of this one under its name.
    """
    final = step_folder(folder, step)
    if final.exists():  # the same step again: what stands is as good
        shutil.rmtree(temporary)
    else:
        publish(temporary, final)
    for old_step in checkpoint_steps(folder)[:-keep]:
        old = step_folder(folder, old_step)
        doomed = temporary_for(old)  # loses its name first: no half removed checkpoint under it
        old.rename(doomed)
        shutil.rmtree(doomed)
    return final


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def checkpoint_path(folder: Path, step: int | None = None) -> Path:
    """Find a checkpoint: the last one unless told.

    Raises:
        RunError: if there is none.
    """
    steps = checkpoint_steps(folder)
    if not steps or (step is not None and step not in steps):
        raise RunError(f"{folder}: no checkpoint of step {step}, found {steps}; train first")
    return step_folder(folder, steps[-1] if step is None else step)


def load_checkpoint(folder: Path, step: int | None = None) -> Checkpoint:
    """Read the weights of a checkpoint: the last one unless told.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    path = checkpoint_path(folder, step)
    try:
        model, ema = (load_file(path / f"{name}.safetensors") for name in WEIGHTS)
    except DAMAGE as error:
        raise damaged(path, error) from error
    return Checkpoint(int(path.name.removeprefix("step-")), model, ema)


def load_progress(path: Path) -> Progress:
    """Read what is no tensor.

    Raises:
        RunError: if it is damaged.
    """
    try:
        if (path / OLD_STATE).exists() and not (path / STATE).exists():
            old = torch.load(path / OLD_STATE, weights_only=True, map_location="cpu")
            step = int(path.name.removeprefix("step-"))
            return Progress(step, old["ema_updates"], old["stream"])
        document = json.loads((path / STATE).read_bytes())
        skipped = {int(step): keys for step, keys in document["skipped"].items()}
        return Progress(
            **{name: document[name] for name in ("step", "updates", "stream", "broken")},
            skipped=skipped,
        )
    except DAMAGE as error:
        raise damaged(path, error) from error


def old_optimizer(path: Path) -> dict[int, dict[str, Tensor]] | None:
    """Read the optimiser's tensors of an old checkpoint, by the number of their parameter."""
    if not (path / OLD_STATE).exists():
        return None
    state = torch.load(path / OLD_STATE, weights_only=True, map_location="cpu")
    return state["optimizer"]["state"]


def open_weights(path: Path, name: str) -> Any:
    """Open one file of weights; its tensors are read one by one."""
    return safe_open(path / f"{name}.safetensors", "pt")


def damaged(path: Path, error: Exception) -> RunError:
    """Say that a checkpoint is damaged, and what is left."""
    rest = [
        step for step in checkpoint_steps(path.parent) if step_folder(path.parent, step) != path
    ]
    line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return RunError(f"{path}: damaged ({line}); remove this folder to go on from {rest or 'zero'}")
