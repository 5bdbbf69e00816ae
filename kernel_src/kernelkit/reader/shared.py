"""Memory for tiles that other processes can map, and that no crash can leave behind.

It lies in an anonymous file (memfd) without a name in any folder. Linux frees it when the last
process that maps it ends, however it ends. It does not count against the size of /dev/shm, which is
64 MB in a default container. The shared memory of torch and of Python lies there.
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

# What an arena may grow to, in bytes of address space. Only written tiles take memory.
_ADDRESS_SPACE = 64 << 30
# How much memory free slots may keep, in bytes. In strips a whole row of tiles waits for its last
# pixels. Meanwhile the row above is given back.
_KEPT_BYTES = 288 << 20

_serial_numbers = itertools.count()


class LocalArray:
    """An array that this process can write, used like a `SharedArena`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


class SharedArena:
    """Slots of shared memory, each for one batch of tiles. It needs Linux.

    A slot is taken, written by workers, and lent to the caller. It is free again once no view of it
    is left. The arena itself lives as long as something uses it (`use`, `leave`) or holds a slot.

    It pickles as its address. Unpickled in another process of the same user it is a `LocalArray` on
    the same memory. This process must still live then.

    Parameters
    ----------
    batch
        The shape of one batch, (n, C, h, w).
    dtype
        That of its pixels.

    Attributes
    ----------
    supported
        Whether this system has such memory.
    array
        The tiles of all slots, one after the other: (slots x n, C, h, w).

    Raises
    ------
    ReaderError
        This system has no such memory.
    """

    supported = hasattr(os, "memfd_create")

    def __init__(self, batch: tuple[int, ...], dtype: np.dtype) -> None:
        if not self.supported:
            raise ReaderError(
                "found a system without memfd, wanted Linux to read with processes. Use threads: "
                'ReaderPool(workers, "thread")'
            )
        self.batch, self.dtype = batch, dtype
        self._slot_bytes = math.prod(batch) * dtype.itemsize
        slots = max(1, _ADDRESS_SPACE // self._slot_bytes)
        shape = (slots * batch[0], *batch[1:])
        self._fd = os.memfd_create("kernelkit-tiles")
        os.ftruncate(self._fd, math.prod(shape) * dtype.itemsize)
        self._memory, self.array = _map(self._fd, shape, dtype)
        # a later arena may have the same file number, but never the same serial number
        self._address = (f"/proc/{os.getpid()}/fd/{self._fd}", next(_serial_numbers), shape, dtype)
        self._lock = threading.RLock()  # any thread that collects garbage gives slots back
        # the last `_kept` of the free slots still have their memory
        self._free: collections.deque[int] = collections.deque()
        self._kept = 0
        self._taken, self._out, self._users = 0, 0, 0

    def use(self) -> None:
        """Keep the arena until `leave` is called."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Give the arena up. After the last user it frees its memory, once no slot is out."""
        with self._lock:
            self._users -= 1
            self._free_if_unused()

    def take(self) -> int:
        """Return a free slot, if possible a used one, whose memory the workers have mapped.

        New memory costs each of them one page fault per 4 KiB, which takes as long as a copy.
        """
        with self._lock:
            self._out += 1
            if self._free:
                self._kept = max(0, self._kept - 1)
                return self._free.pop()
            self._taken += 1
            return self._taken - 1

    def give_back(self, slot: int) -> None:
        """Take back a slot that is no longer read or written. Only some keep their memory."""
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
        """Return a slot's batch. The slot comes back once no view of it is left."""
        first = slot * self.batch[0]
        loan = _Loan(self.array[first : first + self.batch[0]])
        weakref.finalize(loan, self.give_back, slot).atexit = False
        return np.asarray(loan)

    def _release(self, slot: int) -> None:
        """Free the memory of a slot, except pages that it shares with its neighbours."""
        page = mmap.PAGESIZE
        start = -(-slot * self._slot_bytes // page) * page
        stop = (slot + 1) * self._slot_bytes // page * page
        if start < stop:
            with contextlib.suppress(OSError):  # if the system cannot, the memory stays
                self._memory.madvise(mmap.MADV_REMOVE, start, stop - start)

    def _free_if_unused(self) -> None:
        """Free the memory at once, even if idle workers still map it."""
        if not self._users and not self._out and self._fd >= 0:
            del self.array, self._memory
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, self._address


class _Loan:
    """The object behind all views of a lent batch: it is collected once they are gone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


# Two: this image's arena, and the next one's if its tiles are of another size. The serial number
# only tells arenas apart.
@functools.lru_cache(maxsize=2)
def _attach(path: str, _serial: int, shape: tuple[int, ...], dtype: np.dtype) -> LocalArray:
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
