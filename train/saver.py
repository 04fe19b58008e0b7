"""Writes a trainer's state and takes it up, at any number of ranks and however it is spread."""

import errno
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor, distribute_tensor

from shards.errors import MachineError
from shards.files import dump_json
from train.checkpoint import (
    DAMAGE,
    STATE,
    TENSORS,
    WEIGHTS,
    Progress,
    Weights,
    checkpoint_path,
    checkpoint_steps,
    clear_unfinished,
    commit,
    damaged,
    load_progress,
    old_optimizer,
    open_weights,
    step_folder,
)
from train.config import CheckpointConfig
from train.ema import here
from train.ranks import Ranks, host_name
from train.trainer import Trainer

_MOMENTS = ("exp_avg", "exp_avg_sq")
warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is meant


class Saver:
    """Writes checkpoints into a folder that all ranks see, in a thread where the settings say so.

    Every rank calls ``save`` and ``close``. What is written are copies, made before ``save``
    returns, and the ranks agree over a group of their own: training may go on meanwhile.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, ranks: Ranks) -> None:
        self.folder, self.config = folder, config
        # a group of its own: training uses the other one at the same time
        own = ranks.new_group() if ranks.world > 1 else None
        self.ranks = replace(ranks, group=own)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Write a checkpoint; returns once it is written, or copied.

        Raises:
            MachineError: on all ranks, if this one or the one before could not be written.
        """
        self.close()
        copy = self.config.background
        weights = {
            name: _whole(state, self.ranks)
            for name, state in zip(WEIGHTS, _weights(trainer), strict=True)
        }
        tensors = {name: _on_cpu(value, copy=copy) for name, value in moments(trainer).items()}
        if not copy:
            self._write(weights, tensors, progress)
            return
        self._thread = threading.Thread(
            target=self._guarded,
            args=(lambda: self._write(weights, tensors, progress),),
            daemon=True,  # nobody waits at exit for ranks that are gone
        )
        self._thread.start()

    def close(self) -> None:
        """Wait for what is being written.

        Raises:
            MachineError: on all ranks, if it could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised again by close
            self._error = error

    def _write(self, weights: dict[str, Weights], tensors: Weights, progress: Progress) -> None:
        temporary = self.folder / f".tmp-{step_folder(self.folder, progress.step).name}"
        # each part ends when all ranks are done with it; only the second is work for all
        for work in (
            partial(self._begin, temporary),
            partial(self._tensors, temporary, tensors),
            partial(self._files, temporary, weights, progress),
            partial(commit, temporary, self.folder, progress.step, self.config.keep),
        ):
            shared = work.func == self._tensors
            self._together(
                progress.step, temporary, work if self.ranks.first or shared else _nothing
            )

    def _begin(self, temporary: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_unfinished(self.folder)
        temporary.mkdir()

    def _tensors(self, temporary: Path, tensors: Weights) -> None:
        alone = self.ranks.world == 1
        target = temporary / TENSORS
        state_dict_saver.save(
            tensors, checkpoint_id=target, process_group=self.ranks.group, no_dist=alone
        )

    def _files(self, temporary: Path, weights: dict[str, Weights], progress: Progress) -> None:
        document = {**progress.dump(), "ranks": self.ranks.world}
        for name, state in weights.items():
            save_file(state, temporary / f"{name}.safetensors")
        (temporary / STATE).write_bytes(dump_json(document))
        for path in (*temporary.iterdir(), *(temporary / TENSORS).iterdir()):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())

    def _together(self, step: int, temporary: Path, work: Callable[[], object]) -> None:
        """Do a part of the writing; where one rank fails, all do."""
        problem = ""
        try:
            work()
        except (Exception, CheckpointException) as error:  # which is no Exception
            problem = f"{_reason(error)} (rank {self.ranks.rank} on {host_name()})"
        problems = [found for found in self.ranks.objects(problem) if found]
        if not problems:
            return
        if self.ranks.first:
            shutil.rmtree(temporary, ignore_errors=True)
        steps = checkpoint_steps(self.folder)
        left = f"step {steps[-1]}, which stands" if steps else "none"
        raise MachineError(
            f"{self.folder}: the checkpoint of step {step} could not be written: {problems[0]}. "
            f"The last whole one is of {left}. Mend this, then give the same command again"
        )


def _nothing() -> None:
    pass


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException):  # of any rank; the first will do
        error = next(iter(error.failures.values()))[0]
    number = getattr(error, "errno", None)
    text = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    if number == errno.ENOSPC or "No space left" in text or "os error 28" in text:
        return "the disk is full"
    return text


def _weights(trainer: Trainer) -> tuple[Weights, Weights]:
    return trainer.model.state_dict(), trainer.ema.weights


def _whole(state: Weights, ranks: Ranks) -> Weights:
    """Gather weights on rank 0, in the layout of files; other ranks get nothing."""
    whole: Weights = {}
    for name, value in state.items():
        value = value.detach()
        value = value.full_tensor() if isinstance(value, DTensor) else value
        if ranks.first:
            whole[name] = value.cpu().contiguous().clone()
    return whole


def _on_cpu(value: Tensor, *, copy: bool) -> Tensor:
    value = value.detach()
    return value.cpu().clone() if copy else value.cpu()


def moments(trainer: Trainer) -> Weights:
    """Give the optimiser's tensors by name; zeros before the first step."""
    named: Weights = {}
    for name, parameter in trainer.model.named_parameters():
        state = trainer.optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            named[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(parameter))
    return named


def restore(trainer: Trainer, folder: Path, step: int) -> Progress:
    """Take up a checkpoint, however many ranks wrote it; returns what is no tensor.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    path = checkpoint_path(folder, step)
    progress = load_progress(path)
    try:
        for name, state in zip(WEIGHTS, _weights(trainer), strict=True):
            with open_weights(path, name) as file:
                for key, value in state.items():
                    _put(value, file.get_tensor(key))
        _restore_optimizer(trainer, path, progress.updates)
    except CheckpointException as error:
        raise damaged(path, Exception(_reason(error))) from error
    except DAMAGE as error:
        raise damaged(path, error) from error
    trainer.done = progress.step
    trainer.ema.updates = progress.updates
    trainer.skipped = dict(progress.skipped)
    return progress


def _restore_optimizer(trainer: Trainer, path: Path, updates: int) -> None:
    if not updates:
        return
    own = moments(trainer)
    for name, parameter in trainer.model.named_parameters():
        count = torch.tensor(float(updates), device=trainer.device)
        state = {moment: own[f"{name}.{moment}"] for moment in _MOMENTS}
        trainer.optimizer.state[parameter] = {"step": count, **state}
    old = old_optimizer(path)
    if old is None:
        state_dict_loader.load(own, checkpoint_id=path / TENSORS, no_dist=trainer.ranks.world == 1)
        return
    for number, (name, _) in enumerate(trainer.model.named_parameters()):
        for moment in _MOMENTS:
            _put(own[f"{name}.{moment}"], old[number][moment])


@torch.no_grad()
def _put(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into what this rank holds of it."""
    if isinstance(target, DTensor):
        value = value.to(target.device)
        own = distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
        value = own.to_local()
    here(target).copy_(value)
