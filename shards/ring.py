"""Memory that worker processes fill and the reader sees without a copy.

A ``Ring`` is one block of shared memory cut into equal slots. A worker takes a slot, decodes into
it and sends its number; the process that made the ring opens the slot as arrays. The slot is free
again once the last of those arrays is gone, so a batch may be kept for as long as it is needed.
When no slot is free, the reader is holding more batches than expected: the worker then uses memory
of its own and the batch is copied, which is slower and never wrong.
"""

import ctypes
import itertools
import multiprocessing
import os
import weakref
from multiprocessing.context import BaseContext
from multiprocessing.heap import BufferWrapper
from typing import Any

import numpy as np

from shards.files import is_alive

_PAGE = 4096
_LOCK_TIMEOUT_S = 5.0  # a worker that was killed while it held the lock must not stop the others

_rings: "weakref.WeakValueDictionary[tuple[int, int], Ring]" = weakref.WeakValueDictionary()
_numbers = itertools.count()


class Ring:
    """Slots of shared memory, made before the workers start and inherited by them."""

    def __init__(self, slots: int, slot_bytes: int, context: BaseContext | None = None) -> None:
        """Reserve the memory; the kernel gives a page when it is first written.

        Args:
            slots: how many; see ``shards.batches.slots_for``.
            slot_bytes: room in each.
            context: how workers are started; the platform's default.
        """
        context = context or multiprocessing.get_context()
        self.slots = slots
        self.slot_bytes = -(-slot_bytes // _PAGE) * _PAGE
        self.token = (os.getpid(), next(_numbers))
        # what lies under RawArray, less its zeroing: half a gigabyte before the first batch
        self._memory = BufferWrapper(slots * self.slot_bytes)
        self._owners: Any = context.RawArray(ctypes.c_int64, slots)  # process id; 0 is free
        self._lock = context.Lock()
        self._had: dict[int, set[int]] = {}  # process id -> slots; what is forked inherits it
        _rings[self.token] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker that was spawned."""
        self.__dict__.update(state)
        _rings[self.token] = self

    def take(self) -> int | None:
        """Take a free slot for this process, or one whose taker has died; none if all are in use.

        Dead takers are those of a loader that was left before its end. Slots that this process had
        before come first: the kernel has given it their pages already.
        """
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT_S):
            return None
        try:
            had = self._had.setdefault(os.getpid(), set())
            slots = sorted(range(self.slots), key=lambda slot: slot not in had)
            for alive in (lambda pid: pid != 0, is_alive):
                for slot in slots:
                    if not alive(self._owners[slot]):
                        self._owners[slot] = os.getpid()
                        had.add(slot)
                        return slot
            return None
        finally:
            self._lock.release()

    def free(self, slot: int) -> None:
        """Give a slot back; only its owner does, so one aligned write needs no lock."""
        self._owners[slot] = 0

    def bytes_of(self, slot: int) -> np.ndarray:
        """Look at a slot's bytes; its ownership stays as it is."""
        memory = self._memory.create_memoryview()
        return np.frombuffer(memory, np.uint8, self.slot_bytes, slot * self.slot_bytes)

    def open(self, slot: int) -> np.ndarray:
        """Own a slot from now on: it is freed when the array and all its views are gone."""
        self._owners[slot] = os.getpid()
        base = self.bytes_of(slot)
        weakref.finalize(base, _free_if_ours, self, slot, os.getpid()).atexit = False
        return base


def ring_of(token: tuple[int, int]) -> Ring:
    """Find a ring of this process.

    Raises:
        RuntimeError: if it is not here: its dataset was dropped, or lives in another process.
    """
    try:
        return _rings[token]
    except KeyError:
        raise RuntimeError(
            "a batch in shared memory arrived where its dataset does not live (or no longer); keep "
            "the dataset, and iterate the loader in the process that made it"
        ) from None


def _free_if_ours(ring: Ring, slot: int, pid: int) -> None:
    if os.getpid() == pid:  # not in a child that was forked while the batch was alive
        ring.free(slot)
