"""An array in memory that other processes can map, and that no crash can leave behind.

It lies in an anonymous file (memfd), which has no name in any folder: the kernel frees it when the
last process that maps it ends, however it ends. Nor does it count against the size of /dev/shm,
64 MB in a default container, where torch's and Python's own shared memory lies.
"""

import functools
import itertools
import math
import mmap
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from kernelkit.errors import ReaderError

__all__ = ["LocalArray", "SharedArray"]

_serial = itertools.count()


class LocalArray:
    """An array for the threads of one process, with the face of a `SharedArray`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def free(self) -> None:
        """Do nothing: the memory goes with the last who refers to it."""


class SharedArray:
    """An array that pickles as the address of its memory, not as its content.

    Unpickled in another process of the same user, while this one lives, it is a `LocalArray` on
    the same memory. Linux only.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if not hasattr(os, "memfd_create"):
            raise ReaderError(
                "reading with processes needs Linux, which shares memory between them by memfd; "
                'use kind="thread" here'
            )
        self.shape, self.dtype = shape, dtype
        self._fd = os.memfd_create("kernelkit-tiles")
        os.ftruncate(self._fd, math.prod(shape) * dtype.itemsize)
        self.array = _map(self._fd, shape, dtype)
        # the serial number tells this array from a later one with the same file number
        self._address = (f"/proc/{os.getpid()}/fd/{self._fd}", next(_serial), shape, dtype)

    def lend(self, on_return: "Callable[[SharedArray], None]") -> np.ndarray:
        """Return the array; `on_return(self)` is called once no view of it is left."""
        loan = _Loan(self)
        weakref.finalize(loan, on_return, self).atexit = False
        return np.asarray(loan)

    def free(self) -> None:
        """Give the memory back at once, even where workers still map it.

        Only once nobody reads or writes it any more: who does is killed by SIGBUS.
        """
        if self.__dict__.pop("array", None) is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, self._address


class _Loan:
    """What all views of a lent array refer to in the end: when it goes, they are gone."""

    def __init__(self, shared: SharedArray) -> None:
        self.shared = shared
        self.__array_interface__ = shared.array.__array_interface__


# As many as the tiles of two images that are open at a time; memory that was freed costs nothing.
@functools.lru_cache(maxsize=512)
def _attach(path: str, serial: int, shape: tuple[int, ...], dtype: np.dtype) -> LocalArray:
    """Map another process's array."""
    fd = os.open(path, os.O_RDWR)
    try:
        return LocalArray(_map(fd, shape, dtype))
    finally:
        os.close(fd)


def _map(fd: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    count = math.prod(shape)
    return np.frombuffer(mmap.mmap(fd, count * dtype.itemsize), dtype, count).reshape(shape)
