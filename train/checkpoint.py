"""Checkpoints: a folder per step that appears whole or not at all.

``step-000200/`` holds ``model.safetensors``, ``ema.safetensors`` and ``state.pt`` (optimiser, EMA
count, place in the stream). No random state is in it: the draws of a step depend on (seed, step)
alone.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shards.errors import RunError
from shards.files import publish, temporary_for

_NAME = re.compile(r"step-(\d{6,})")

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All of a training run's state after ``step`` steps."""

    step: int
    model: Weights
    ema: Weights
    state: dict[str, Any]  # tensors, numbers, strings, lists and dicts


def checkpoint_steps(folder: Path) -> list[int]:
    """List the complete checkpoints, oldest first."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("step-*"))
    return sorted(int(match.group(1)) for match in found if match)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint beside the others and remove all but the last ``keep``.

    A kill at any moment leaves the earlier ones usable and no part of this one under its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_unfinished(folder)
    final = folder / f"step-{checkpoint.step:06d}"
    temporary = temporary_for(final)
    temporary.mkdir()
    for name, weights in (("model", checkpoint.model), ("ema", checkpoint.ema)):
        solid = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        save_file(solid, temporary / f"{name}.safetensors")
    torch.save(checkpoint.state, temporary / "state.pt")
    for path in temporary.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    if final.exists():  # the same step again: what stands is as good
        shutil.rmtree(temporary)
    else:
        publish(temporary, final)
    for step in checkpoint_steps(folder)[:-keep]:
        old = folder / f"step-{step:06d}"
        doomed = temporary_for(old)  # loses its name first: no half removed checkpoint under it
        old.rename(doomed)
        shutil.rmtree(doomed)
    return final


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def load_checkpoint(folder: Path, step: int | None = None) -> Checkpoint:
    """Read a checkpoint: the last one unless told.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    steps = checkpoint_steps(folder)
    if not steps or (step is not None and step not in steps):
        raise RunError(f"{folder}: no checkpoint of step {step}, found {steps}; train first")
    step = steps[-1] if step is None else step
    path = folder / f"step-{step:06d}"
    try:
        return Checkpoint(
            step=step,
            model=load_file(path / "model.safetensors"),
            ema=load_file(path / "ema.safetensors"),
            state=torch.load(path / "state.pt", weights_only=True, map_location="cpu"),
        )
    except (OSError, SafetensorError, RuntimeError, EOFError, KeyError) as error:
        raise RunError(
            f"{path}: damaged ({error}); remove this folder to go on from {steps[:-1] or 'zero'}"
        ) from error
