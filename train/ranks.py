"""The processes that train together: who they are, and how they agree.

Started by torchrun, by Ray Train or alone. What they tell each other beside gradients is small and
travels over gloo between CPUs, whatever the gradients travel over.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from shards.errors import ConfigError, Orbit4dError
from train.config import TrainConfig

T = TypeVar("T")


class TrainingError(Orbit4dError):
    """Training cannot go on.

    ``everywhere``: all ranks have found the same, so one of them is enough to say it.
    """

    def __init__(self, message: str, *, everywhere: bool = False) -> None:
        super().__init__(message)
        self.everywhere = everywhere


class RankLost(TrainingError):
    """Another rank is gone: nothing is wrong with this one, and with new ranks it may go on."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among ``world``; ``group`` is for CPU tensors and objects, none when alone."""

    device: torch.device
    rank: int = 0
    world: int = 1
    group: Any = None
    timeout_s: float = 600.0

    def new_group(self) -> Any:
        """Open another group for CPU tensors and objects; all ranks call it."""
        return dist.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout_s))

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def gather(self, values: Tensor) -> Tensor:
        """Stack the equally long vectors (n,) of all ranks, by rank: (world, n)."""
        if self.world == 1:
            return values[None]
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values, group=self.group)
        return torch.stack(parts)

    def objects(self, value: T) -> list[T]:
        """Give what every rank has, by rank."""
        if self.world == 1:
            return [value]
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, value, group=self.group)
        return parts

    def agreed(self, value: T) -> T:
        """Give what rank 0 has."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]


def device_for(name: str) -> torch.device:
    """Choose the device; ``auto`` takes CUDA where there is one, the one of this process."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device(name)


def started_ranks() -> tuple[int, int]:
    """Say which of how many processes this is, from the environment; needs no torch group."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def open_ranks(config: TrainConfig) -> Iterator[Ranks]:
    """Join the other processes, where there are any.

    Raises:
        ConfigError: if the batch cannot be spread evenly.
    """
    device = device_for(config.device)
    rank, world = started_ranks()
    parts = world * config.parallel.accumulate
    if config.batch % parts:
        raise ConfigError(
            f"batch {config.batch} cannot be spread over {world} ranks in "
            f"{config.parallel.accumulate} parts each; use a multiple of {parts}, or another "
            "parallel.accumulate"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Ranks(device)
        return
    ours = not dist.is_initialized()  # else Ray has done it
    timeout = timedelta(seconds=config.parallel.timeout_s)
    if ours:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timeout)
    ranks = Ranks(device, rank, world, timeout_s=config.parallel.timeout_s)
    yield replace(ranks, group=ranks.new_group())
    if ours:  # not after an error: the others may be gone
        dist.destroy_process_group()


def host_name() -> str:
    """Name this machine."""
    return socket.gethostname()
