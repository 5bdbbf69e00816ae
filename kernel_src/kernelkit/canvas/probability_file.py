"""Probabilities of a whole image on disk, one byte each: an .npy file that is written in parts."""

import errno
import math
import mmap
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import OutputError

__all__ = ["ProbabilityFile"]


class ProbabilityFile:
    """A uint8 array (classes, height, width) in an .npy file, written through a memory map.

    The file is sparse. What is never written reads as 0 and takes no room.

    Parameters
    ----------
    path
        Of the file. One that is there is overwritten.
    shape
        (classes, height, width).

    Attributes
    ----------
    array
        The probabilities, to be written to.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, int, int]) -> None:
        try:
            free = shutil.disk_usage(Path(path).parent).free
            if free < math.prod(shape):  # the map of a sparse file on a full disk kills its process
                raise OSError(errno.ENOSPC, f"only {free / 1e9:.3g} GB are free")
            created = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            offset = created.offset
            del created
            with Path(path).open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            reason = getattr(error, "strerror", None) or "no file can have this name"
            raise OutputError(
                f"{path}: probabilities of shape {shape} cannot be written there "
                f"({reason}). Choose a path in a folder that exists, is writable and has room"
            ) from error
        self.array: NDArray[np.uint8] = np.frombuffer(
            memoryview(self._map)[offset:], np.uint8
        ).reshape(shape)

    def forget(self) -> None:
        """Take what was written out of this process's memory. It stays in the file."""
        self._map.madvise(mmap.MADV_DONTNEED)
