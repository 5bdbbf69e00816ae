"""Probabilities of a whole image on disk, a byte each: an .npy file that is written in parts."""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProbabilityFile"]


class ProbabilityFile:
    """A uint8 array (classes, height, width) in an .npy file, written through a memory map.

    The file is sparse: what is never written reads as 0 and takes no room. `forget` drops what was
    written from this process's memory; the system goes on writing it to the disk.
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, int, int]) -> None:
        self.path = Path(path)
        created = np.lib.format.open_memmap(self.path, mode="w+", dtype=np.uint8, shape=shape)
        offset = created.offset
        del created
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.array: NDArray[np.uint8] = np.frombuffer(
            memoryview(self._map)[offset:], np.uint8
        ).reshape(shape)

    def forget(self) -> None:
        """Take what was written out of this process's memory; it stays in the file."""
        self._map.madvise(mmap.MADV_DONTNEED)
