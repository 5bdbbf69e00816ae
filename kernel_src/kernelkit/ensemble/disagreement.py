"""Where the members of an ensemble disagree: a thumbnail of their standard deviation."""

from math import ceil

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.grid import Tile, TileGrid

__all__ = ["DisagreementMap", "pooled"]


def pooled(deviation: Tensor, block: int) -> Tensor:
    """Means (N, K, ceil(h / block), ceil(w / block)) of a deviation (N, K, h, w) over blocks."""
    return F.avg_pool2d(deviation, block, ceil_mode=True)


class DisagreementMap:
    """Collects what `MegaModel.predict_with_disagreement` says of each tile's core.

    `image` is float32 (classes, ceil(height / step), ceil(width / step)), where `step` source
    pixels become one; skipped tiles stay 0.
    """

    def __init__(self, grid: TileGrid, classes: int, block: int = 16) -> None:
        self.step = block * grid.scale
        shape = classes, ceil(grid.height / self.step), ceil(grid.width / self.step)
        self.image: NDArray[np.float32] = np.zeros(shape, np.float32)

    def add(self, tile: Tile, deviation: NDArray[np.float32]) -> None:
        """Take the pooled deviation (K, rows, columns) of one tile; its core is pasted."""
        rows, source_rows = self._spans(tile.core.row, tile.core.height, tile.read.row)
        columns, source_columns = self._spans(tile.core.col, tile.core.width, tile.read.col)
        last_row, last_column = (size - 1 for size in deviation.shape[1:])
        self.image[:, rows, columns] = deviation[
            :,
            np.minimum(source_rows, last_row)[:, None],
            np.minimum(source_columns, last_column)[None, :],
        ]

    def _spans(self, start: int, size: int, origin: int) -> tuple[slice, NDArray[np.intp]]:
        """Places in the image along one axis, and the place in the tile nearest to each."""
        places = slice(start // self.step, ceil((start + size) / self.step))
        centres = (np.arange(places.start, places.stop) + 0.5) * self.step
        inside = np.clip(centres, start, start + size - 1)
        return places, ((inside - origin) // self.step).astype(np.intp)
