"""`Canvas`: the probabilities of tiles in, the masks of the whole image out, in bounded memory.

No array of floats as large as the image exists. With `blend="crop"` each tile's core is pasted as
bits and forgotten. With the others, rows of tiles are kept as integers until the image rows that
they touch have all their tiles; these are then added up, thresholded and leave as bits.

>>> grid = TileGrid(100, 100, core=40, pad=10)
>>> canvas = Canvas(grid, blend="hann")
>>> for tile in grid:
...     canvas.add(tile, np.full((1, 60, 60), 0.7, np.float32))
>>> canvas.finish()
[BitMask(100 x 100, area 10000)]
"""

import os
from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.blend import AxisWeights, axis_weights
from kernelkit.canvas.probability_file import ProbabilityFile
from kernelkit.canvas.stitchers import BandStitcher, CropStitcher, Stitcher
from kernelkit.errors import GridError, MaskError
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask
from kernelkit.vocabulary import Blend, Upsample

__all__ = ["Canvas"]


class Canvas:
    """Stitches the tiles of `grid` into one mask a class.

    Parameters
    ----------
    grid
        The tiles. Each has to be added or skipped exactly once, in any order; in the grid's order
        memory is bounded by two rows of tiles (overlap up to one half).
    classes
        Masks to make; probabilities have as many planes.
    blend
        "crop" takes each tile's core alone; "mean", "linear", "hann" and "gaussian" weigh all
        tiles that cover a pixel (see `kernelkit.canvas.blend.window`).
    upsample
        "tile" enlarges each tile's probabilities to the source's resolution before it is cut or
        blended (HuBMAP); "band" blends at the network's scale and enlarges finished rows
        (deepflash2), at a `scale**2`-th of the memory. Both are bilinear, pixel centres aligned.
    thresholds
        One for all classes, or one a class; a pixel is on where its probability is above it.
    probabilities
        Path of an .npy file to write as well: uint8 (classes, height, width), 255 p rounded, at the
        network's scale with `upsample="band"`, at the source's resolution with "tile".
    """

    def __init__(
        self,
        grid: TileGrid,
        *,
        classes: int = 1,
        blend: Blend = "crop",
        upsample: Upsample = "tile",
        thresholds: Sequence[float] = (0.5,),
        probabilities: str | os.PathLike[str] | None = None,
    ) -> None:
        if upsample not in get_args(Upsample):
            raise GridError(f'upsample is "tile" or "band", not {upsample!r}.')
        if len(thresholds) not in (1, classes):
            raise MaskError(
                f"{len(thresholds)} thresholds were given for {classes} classes; give one for all, "
                "or one a class."
            )
        self.grid = grid
        self.rows_done = 0
        """How many rows at the top of the image are finished."""
        self._classes = classes
        self._missing = np.ones(len(grid), np.bool_)
        self._missing_in_row = np.full(grid.rows, grid.columns)
        self._complete_rows = 0
        self._masks = [BitMask.zeros(grid.height, grid.width) for _ in range(classes)]
        self._stitcher: Stitcher = self._make_stitcher(
            blend, upsample, tuple(thresholds) * (classes // len(thresholds)), probabilities
        )

    def add(self, tile: Tile, probabilities: NDArray) -> None:
        """Take the probabilities of one tile.

        `probabilities` is (classes, h, w) at the network's scale, float32 in 0..1 or uint8
        (255 p, rounded). It is neither changed nor kept.

        Raises
        ------
        GridError
            The tile is not of this grid, or was added or skipped before.
        MaskError
            The array is of another shape or dtype, or holds NaN or values outside 0..1.
        """
        self._check_turn(tile)
        shape = self._classes, self.grid.net_size, self.grid.net_size
        if probabilities.shape != shape or probabilities.dtype not in (np.float32, np.uint8):
            raise MaskError(
                f"tile {tile.index} came with {probabilities.dtype} {probabilities.shape}; "
                f"probabilities must be float32 or uint8 {shape}."
            )
        row, column = divmod(tile.index, self.grid.columns)
        self._stitcher.add(tile, row, column, np.ascontiguousarray(probabilities))
        self._mark(tile)

    def add_bits(self, tile: Tile, packed: NDArray[np.uint8]) -> None:
        """Take one tile's core as the device has thresholded and packed it; with "crop" only.

        `packed` is uint8 (classes, rows, bytes) at the source's resolution: pixel c of a core's row
        is bit c % 8 of byte c // 8 (`np.packbits(..., bitorder="little")`). It starts at the core's
        upper left corner; what it has beyond the core, as for tiles at the border, is ignored.

        Raises as `add`.
        """
        if not isinstance(self._stitcher, CropStitcher):
            raise GridError(
                'packed bits cannot be blended; use blend="crop", or add probabilities.'
            )
        self._check_turn(tile)
        needed = self._classes, tile.core.height, -(-tile.core.width // 8)
        enough = packed.ndim == 3 and packed.shape[0] == self._classes
        if packed.dtype != np.uint8 or not enough or np.less(packed.shape, needed).any():
            raise MaskError(
                f"tile {tile.index} came with {packed.dtype} {packed.shape}; its packed core must "
                f"be uint8 {needed} or larger."
            )
        self._stitcher.add_bits(tile, packed)
        self._mark(tile)

    def skip(self, tile: Tile) -> None:
        """Take one tile as background: probability 0. Raises GridError as `add`."""
        self._check_turn(tile)
        self._mark(tile)

    def finish(self) -> list[BitMask]:
        """The masks, one a class. Raises GridError where tiles are missing."""
        if self._missing.any():
            first = self.grid[int(self._missing.argmax())]
            raise GridError(
                f"{int(self._missing.sum())} of {len(self.grid)} tiles are missing, the first is "
                f"tile {first.index} ({first.core}); add or skip each before finishing."
            )
        return self._masks

    def _make_stitcher(
        self,
        blend: Blend,
        upsample: Upsample,
        thresholds: tuple[float, ...],
        path: str | os.PathLike[str] | None,
    ) -> Stitcher:
        grid = self.grid
        zoom, scale = (grid.scale, 1) if upsample == "tile" else (1, grid.scale)
        down = [(t.read.row, t.core.row, t.core.bottom) for t in grid[:: grid.columns]]
        across = [(t.read.col, t.core.col, t.core.right) for t in grid[: grid.columns]]
        rows = _axis(blend, grid.height, grid.tile_size, scale, down)
        columns = _axis(blend, grid.width, grid.tile_size, scale, across)
        store = None
        if path is not None:
            store = ProbabilityFile(path, (self._classes, rows.length, columns.length))
        if blend == "crop" and scale == 1:
            return CropStitcher(grid, self._masks, thresholds, store)
        return BandStitcher(rows, columns, zoom, scale, self._masks, thresholds, store)

    def _check_turn(self, tile: Tile) -> None:
        if not 0 <= tile.index < len(self.grid) or self.grid[tile.index] != tile:
            raise GridError(
                f"tile {tile.index} ({tile.core}) is not of this canvas's grid of "
                f"{len(self.grid)} tiles; take tiles from the grid that the canvas was made with."
            )
        if not self._missing[tile.index]:
            raise GridError(
                f"tile {tile.index} ({tile.core}) came before; add or skip each tile once."
            )

    def _mark(self, tile: Tile) -> None:
        """Count a tile as seen, and finish the rows that waited for it."""
        self._missing[tile.index] = False
        row = tile.index // self.grid.columns
        self._missing_in_row[row] -= 1
        before = self._complete_rows
        while (
            self._complete_rows < self.grid.rows and not self._missing_in_row[self._complete_rows]
        ):
            self._complete_rows += 1
        if self._complete_rows > before:
            self.rows_done = self._stitcher.finish(self._complete_rows)


def _axis(
    blend: Blend, length: int, tile_size: int, scale: int, spans: list[tuple[int, int, int]]
) -> AxisWeights:
    """Weights along one axis at 1/scale, from source pixels: (read, core, the core's end) a tile.

    Reads and the beginnings of cores are multiples of the grid's scale; only the image's end is
    not.
    """
    return axis_weights(
        blend,
        -(-length // scale),
        tile_size // scale,
        [read // scale for read, _, _ in spans],
        [(core // scale, -(-end // scale)) for _, core, end in spans],
    )
