"""An array (C, H, W) in a file, cut into square blocks. Each block lies there in one piece.

A crop touches few blocks, so few places of the disk. Blocks are not compressed: a crop is a copy
from the page cache, which all processes share. `docs/benchmarks.md` has what a TIFF costs instead.
"""

import functools
import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernelkit.errors import OutputError
from kernelkit.grid import Window

__all__ = ["BLOCK", "BlockArray"]

# The side of a block. A crop of 512 touches nine of them, and reads 2.3 times its own pixels.
BLOCK = 256


@dataclass(frozen=True, slots=True)
class BlockArray:
    """Where an array lies in a file. It pickles as that, and opens the file when it is read.

    Attributes
    ----------
    path
        The file.
    offset
        Of the first block, in bytes.
    shape
        Bands, height and width.
    dtype
        Of the values, by its name.
    block
        Height and width of a block. Blocks at the end are filled up with zeros.
    """

    path: Path
    offset: int
    shape: tuple[int, int, int]
    dtype: str
    block: tuple[int, int]

    @property
    def rows(self) -> int:
        """The number of rows of blocks."""
        return -(-self.shape[1] // self.block[0])

    @property
    def columns(self) -> int:
        """The number of blocks per row."""
        return -(-self.shape[2] // self.block[1])

    @property
    def block_bytes(self) -> int:
        """The size of a block."""
        return self.shape[0] * math.prod(self.block) * np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """The size of all blocks."""
        return self.rows * self.columns * self.block_bytes

    def read(self, window: Window) -> np.ndarray:
        """Copy a window that lies inside the array, (C, height, width).

        Raises
        ------
        OutputError
            The file is gone, or shorter than it was.
        """
        blocks = self._blocks()
        high, wide = self.block
        out = np.empty((self.shape[0], window.height, window.width), self.dtype)
        for row in range(window.row // high, -(-window.bottom // high)):
            for column in range(window.col // wide, -(-window.right // wide)):
                block = Window(row * high, column * wide, high, wide)
                part = block.intersection(window)
                there, here = part.relative_to(block), part.relative_to(window)
                out[(slice(None), *here.slices)] = blocks[row, column][(slice(None), *there.slices)]
        return out

    def _blocks(self) -> np.ndarray:
        """All blocks, (rows, columns, C, block height, block width), as the file has them."""
        memory = _mapped(self.path)
        if self.offset + self.nbytes > len(memory):
            raise OutputError(
                f"{self.path}: found {len(memory)} bytes, wanted {self.offset + self.nbytes}. "
                "Remove the file, and make the cuts again"
            )
        shape = (self.rows, self.columns, self.shape[0], *self.block)
        count = math.prod(shape)
        return np.frombuffer(memory, self.dtype, count, self.offset).reshape(shape)


# One map per file and process. Files of cuts are replaced by others of other names.
@functools.cache
def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"{path}: the cuts cannot be read ({reason}). Make the cuts again"
        ) from error
