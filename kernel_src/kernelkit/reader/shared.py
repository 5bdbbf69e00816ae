"""Memory for tiles that other processes can map, and that no crash can leave behind.

It lies in an anonymous file (memfd), which has no name in any folder: the kernel frees it when the
last process that maps it ends, however it ends. Nor does it count against the size of /dev/shm,
64 MB in a default container, where torch's and Python's own shared memory lies.
"""

import collections
import contextlib
import functools
import itertools
import math
import mmap
import os
import threading
import weakref
from typing import Any

import numpy as np

from kernelkit.errors import ReaderError

__all__ = ["LocalArray", "SharedArena"]

# What an arena may grow to: address space, of which memory is taken only where tiles are written.
_ADDRESS_SPACE = 64 << 30
# What slots that nobody holds may keep, in bytes. A wide image in strips has whole rows of tiles
# that wait for their last rows while those above are being given back.
_KEPT_BYTES = 288 << 20

_serial = itertools.count()


class LocalArray:
    """An array that this process can write, with the face of a `SharedArena`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


class SharedArena:
    """Slots of shared memory, each for a batch (n, C, h, w); `.array` is all their tiles in a row.

    A slot is taken, written by workers, and lent to the consumer; it is free again when no view of
    it is left. The arena itself lives as long as somebody uses it (`use`, `leave`) or holds a slot.
    It pickles as its address: unpickled in another process of the same user, while this one lives,
    it is a `LocalArray` on the same memory. Linux only.
    """

    supported = hasattr(os, "memfd_create")

    def __init__(self, batch: tuple[int, ...], dtype: np.dtype) -> None:
        if not self.supported:
            raise ReaderError(
                "reading with processes needs Linux, whose memfd is shared between them; use "
                'ReaderPool(workers, "thread") here'
            )
        self.batch, self.dtype = batch, dtype
        self._slot_bytes = math.prod(batch) * dtype.itemsize
        slots = max(1, _ADDRESS_SPACE // self._slot_bytes)
        shape = (slots * batch[0], *batch[1:])
        self._fd = os.memfd_create("kernelkit-tiles")
        os.ftruncate(self._fd, math.prod(shape) * dtype.itemsize)
        self._memory, self.array = _map(self._fd, shape, dtype)
        # the serial number tells this arena from a later one with the same file number
        self._address = (f"/proc/{os.getpid()}/fd/{self._fd}", next(_serial), shape, dtype)
        self._lock = threading.RLock()  # slots come back from whichever thread collects garbage
        # those with memory on the right; how many these are
        self._free: collections.deque[int] = collections.deque()
        self._kept = 0
        self._taken, self._out, self._users = 0, 0, 0

    def use(self) -> None:
        """Keep the arena until `leave` is called."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Give the arena up; the last user's memory goes back once no slot is out."""
        with self._lock:
            self._users -= 1
            self._free_if_unused()

    def take(self) -> int:
        """Return a slot, if possible one that was used: workers have its memory mapped already.

        New memory costs a page fault for every 4 KiB in each of them, as much as a copy.
        """
        with self._lock:
            self._out += 1
            if self._free:
                self._kept = max(0, self._kept - 1)
                return self._free.pop()
            self._taken += 1
            return self._taken - 1

    def give_back(self, slot: int) -> None:
        """Take back a slot that nobody reads or writes any more; of many, the memory goes."""
        with self._lock:
            if (self._kept + 1) * self._slot_bytes <= _KEPT_BYTES:
                self._kept += 1
                self._free.append(slot)
            else:
                self._release(slot)
                self._free.appendleft(slot)
            self._out -= 1
            self._free_if_unused()

    def lend(self, slot: int) -> np.ndarray:
        """Return a slot's batch; the slot comes back once no view of it is left."""
        first = slot * self.batch[0]
        loan = _Loan(self.array[first : first + self.batch[0]])
        weakref.finalize(loan, self.give_back, slot).atexit = False
        return np.asarray(loan)

    def _release(self, slot: int) -> None:
        """Give the memory of a slot back, but for what of its pages belongs to its neighbours."""
        page = mmap.PAGESIZE
        start = -(-slot * self._slot_bytes // page) * page
        stop = (slot + 1) * self._slot_bytes // page * page
        if start < stop:
            with contextlib.suppress(OSError):  # a kernel that cannot: the memory stays
                self._memory.madvise(mmap.MADV_REMOVE, start, stop - start)

    def _free_if_unused(self) -> None:
        """Give the memory back at once, even where idle workers still map it."""
        if not self._users and not self._out and self._fd >= 0:
            del self.array, self._memory
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, self._address


class _Loan:
    """What all views of a lent batch refer to in the end: when it goes, they are gone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


# two: the arena of this image, and that of the next one if its tiles are of another size
@functools.lru_cache(maxsize=2)
def _attach(path: str, serial: int, shape: tuple[int, ...], dtype: np.dtype) -> LocalArray:
    """Map another process's arena."""
    fd = os.open(path, os.O_RDWR)
    try:
        return LocalArray(_map(fd, shape, dtype)[1])
    finally:
        os.close(fd)


def _map(fd: int, shape: tuple[int, ...], dtype: np.dtype) -> tuple[mmap.mmap, np.ndarray]:
    count = math.prod(shape)
    memory = mmap.mmap(fd, count * dtype.itemsize)
    return memory, np.frombuffer(memory, dtype, count).reshape(shape)
