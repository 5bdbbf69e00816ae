"""`DisagreementMap`: a thumbnail of where the members of an ensemble disagree."""

from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.ensemble.transfer import Pending
from kernelkit.grid import Tile, TileGrid

__all__ = ["DisagreementMap"]


class DisagreementMap:
    """Collects the spread of each tile's core (see `Answers.spread`).

    Parameters
    ----------
    grid
        The grid that the tiles are from.
    classes
        How many classes the answers have.
    block
        The side of the square, in pixels of the network, that becomes one pixel here.

    Attributes
    ----------
    image
        float32 (classes, ceil(height / step), ceil(width / step)). Tiles that never came stay 0.
    step
        How many source pixels one pixel of `image` covers, along each axis.
    """

    def __init__(self, grid: TileGrid, classes: int, block: int = 16) -> None:
        self.step = block * grid.scale
        shape = classes, ceil(grid.height / self.step), ceil(grid.width / self.step)
        self.image: NDArray[np.float32] = np.zeros(shape, np.float32)
        self._block = block

    def send(self, spread: Tensor) -> Pending:
        """Send down the spread (N, K, h, w) of N tiles, averaged over blocks on its device."""
        blocks = F.avg_pool2d(spread, self._block, ceil_mode=True)
        return Pending([blocks], blocks.new_ones(len(blocks), dtype=torch.bool))

    def add(self, tile: Tile, deviation: NDArray[np.float32]) -> None:
        """Take what came down of one tile: float32 (K, h, w), averaged over blocks."""
        rows, source_rows = self._spans(tile.core.row, tile.core.height, tile.read.row)
        columns, source_columns = self._spans(tile.core.col, tile.core.width, tile.read.col)
        last_row, last_column = (size - 1 for size in deviation.shape[1:])
        self.image[:, rows, columns] = deviation[
            :,
            np.minimum(source_rows, last_row)[:, None],
            np.minimum(source_columns, last_column)[None, :],
        ]

    def _spans(self, start: int, size: int, origin: int) -> tuple[slice, NDArray[np.intp]]:
        """Places in the image along one axis, and for each the nearest place in the tile."""
        places = slice(start // self.step, ceil((start + size) / self.step))
        centres = (np.arange(places.start, places.stop) + 0.5) * self.step
        inside = np.clip(centres, start, start + size - 1)
        return places, ((inside - origin) // self.step).astype(np.intp)
