"""`Canvas`: the probabilities of tiles in, the masks of the whole image out, in bounded memory.

No array of floats as large as the image exists. With `blend="crop"` each tile's core is pasted as
bits and forgotten. With the others, rows of tiles are kept as integers. Once an image row has all
its tiles, they are added up and thresholded, and only bits stay.

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

from kernelkit.canvas.blend import lattice_of
from kernelkit.canvas.decision import Decision
from kernelkit.canvas.probability_file import ProbabilityFile
from kernelkit.canvas.stitchers import BandStitcher, CropStitcher, Output, Stitcher
from kernelkit.errors import GridError, MaskError, kind_of
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask
from kernelkit.vocabulary import Blend, Upsample, choices

__all__ = ["Canvas"]


class Canvas:
    """The tiles of a grid, stitched into one mask per class.

    Parameters
    ----------
    grid
        The tiles. Each has to be added or skipped exactly once, in any order. In the grid's order,
        memory is bounded by two rows of tiles if they overlap by up to one half.
    classes
        How many masks to make. Probabilities have as many planes.
    blend
        "crop" takes the core of each tile. "mean", "linear", "hann" and "gaussian" weigh all tiles
        that cover a pixel (see `kernelkit.canvas.blend.window`).
    upsample
        "tile" enlarges each tile to the source's resolution before it is cut or blended, as the
        HuBMAP solution does. "band" blends at the network's scale and enlarges finished rows, as
        deepflash2 does. It takes `scale**2` times less memory. Both are bilinear, with pixel
        centres aligned.
    thresholds
        One for all classes, or one per class. A pixel is on if its probability is above it. With
        None, it is on for the class of its highest probability alone. Ties go to the first class.
        A pixel that only skipped tiles cover is on for none.
    probabilities
        The path of an .npy file to write as well: uint8 (classes, height, width), 255 p rounded.
        With `upsample="band"` it is at the network's scale, with "tile" at the source's resolution.
    masks
        Whether to make masks. Without, only the probabilities are written.

    Attributes
    ----------
    grid
        The tiles.
    rows_done
        How many rows at the top of the image are finished.

    Raises
    ------
    GridError
        There is no such blend or way to enlarge.
    MaskError
        The thresholds do not fit the classes.
    OutputError
        The file of probabilities cannot be written.
    """

    def __init__(
        self,
        grid: TileGrid,
        *,
        classes: int = 1,
        blend: Blend = "crop",
        upsample: Upsample = "tile",
        thresholds: Sequence[float] | None = (0.5,),
        probabilities: str | os.PathLike[str] | None = None,
        masks: bool = True,
    ) -> None:
        if upsample not in get_args(Upsample):
            raise GridError(f"upsample is {choices(Upsample)}, not {upsample!r}")
        if not isinstance(grid, TileGrid):
            raise GridError(f"a canvas needs a TileGrid, not {kind_of(grid)}")
        decision = Decision.of(thresholds, classes) if masks else None
        self.grid = grid
        self.rows_done = 0
        self._classes = classes
        self._missing = np.ones(len(grid), np.bool_)
        self._missing_in_row = np.full(grid.rows, grid.columns)
        self._complete_rows = 0
        self._masks = [
            BitMask.zeros(grid.height, grid.width) for _ in range(classes if masks else 0)
        ]
        self._stitcher: Stitcher = self._make_stitcher(blend, upsample, decision, probabilities)

    def add(self, tile: Tile, probabilities: NDArray) -> None:
        """Take the probabilities of one tile.

        Parameters
        ----------
        tile
            One of the grid's.
        probabilities
            (classes, *net_shape), at the network's scale. float32 from 0 to 1, or uint8,
            255 p rounded. The array is neither changed nor kept.

        Raises
        ------
        GridError
            The tile is not of this grid, or was added or skipped before.
        MaskError
            The array is of another shape or dtype, or holds NaN or values outside 0..1.
        """
        self._check_turn(tile)
        shape = self._classes, *self.grid.net_shape
        if not isinstance(probabilities, np.ndarray):
            raise MaskError(
                f"tile {tile.index} came with {kind_of(probabilities)}. Probabilities must be a"
                f" numpy array, float32 or uint8 {shape}"
            )
        if probabilities.shape != shape or probabilities.dtype not in (np.float32, np.uint8):
            raise MaskError(
                f"tile {tile.index} came with {probabilities.dtype} {probabilities.shape}. "
                f"Probabilities must be float32 or uint8 {shape}"
            )
        self._stitcher.add(tile, np.ascontiguousarray(probabilities))
        self._mark(tile)

    def add_bits(self, tile: Tile, packed: NDArray[np.uint8]) -> None:
        """Take the core of one tile as the device has thresholded and packed it.

        Parameters
        ----------
        tile
            One of the grid's.
        packed
            uint8 (classes, rows, bytes), at the source's resolution. Pixel c of a row is bit c % 8
            of byte c // 8 (`np.packbits(..., bitorder="little")`). It starts at the core's upper
            left corner. What it has beyond the core, as for tiles at the border, is ignored.

        Raises
        ------
        GridError
            The tile is not of this grid, was added or skipped before, or `blend` is not "crop".
        MaskError
            The array is smaller than the core, or of another dtype.
        """
        if not isinstance(self._stitcher, CropStitcher):
            raise GridError('packed bits cannot be blended. Use blend="crop", or add probabilities')
        self._check_turn(tile)
        needed = self._classes, tile.core.height, -(-tile.core.width // 8)
        if not isinstance(packed, np.ndarray):
            raise MaskError(
                f"tile {tile.index} came with {kind_of(packed)}. Its packed core must be a numpy"
                f" array, uint8 {needed} or larger"
            )
        enough = packed.ndim == 3 and packed.shape[0] == self._classes
        if packed.dtype != np.uint8 or not enough or np.less(packed.shape, needed).any():
            raise MaskError(
                f"tile {tile.index} came with {packed.dtype} {packed.shape}. Its packed core must "
                f"be uint8 {needed} or larger"
            )
        self._stitcher.add_bits(tile, packed)
        self._mark(tile)

    def skip(self, tile: Tile) -> None:
        """Take one tile as background, of probability 0.

        Raises
        ------
        GridError
            The tile is not of this grid, or was added or skipped before.
        """
        self._check_turn(tile)
        self._mark(tile)

    def finish(self) -> list[BitMask]:
        """Return the masks, one per class, or none if only probabilities are wanted.

        Raises
        ------
        GridError
            Tiles are missing.
        """
        if self._missing.any():
            first = self.grid[int(self._missing.argmax())]
            raise GridError(
                f"{int(self._missing.sum())} of {len(self.grid)} tiles are missing, the first is "
                f"tile {first.index} ({first.core}). Add or skip each before finishing"
            )
        return self._masks

    def _make_stitcher(
        self,
        blend: Blend,
        upsample: Upsample,
        decision: Decision | None,
        path: str | os.PathLike[str] | None,
    ) -> Stitcher:
        lattice = lattice_of(self.grid, blend, upsample)
        shape = self._classes, lattice.rows.length, lattice.columns.length
        file = None if path is None else ProbabilityFile(path, shape)
        output = Output(self._classes, self.grid.height, self._masks, decision, file)
        if blend == "crop" and lattice.scale == 1:
            return CropStitcher(self.grid, output)
        return BandStitcher(lattice, output)

    def _check_turn(self, tile: Tile) -> None:
        if not isinstance(tile, Tile):
            raise GridError(
                f"a canvas was given {kind_of(tile)} as a tile. Take tiles from the grid that the"
                " canvas was made with"
            )
        if not 0 <= tile.index < len(self.grid) or self.grid[tile.index] != tile:
            raise GridError(
                f"tile {tile.index} ({tile.core}) is not of this canvas's grid of "
                f"{len(self.grid)} tiles. Take tiles from the grid that the canvas was made with"
            )
        if not self._missing[tile.index]:
            raise GridError(
                f"tile {tile.index} ({tile.core}) came before. Add or skip each tile once"
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
