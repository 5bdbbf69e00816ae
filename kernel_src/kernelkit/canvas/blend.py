"""How much each of several overlapping tiles counts at a pixel: windows that add up to 1.

A blend is the product of two windows, one along the rows and one along the columns. So its weights
are kept as one vector per tile and axis. They are divided by their sum over all tiles that cover a
pixel. That holds at the image's border too, so nothing fades out there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import GridError
from kernelkit.grid import TileGrid
from kernelkit.vocabulary import Blend, Upsample, choices

__all__ = ["AxisWeights", "Lattice", "axis_weights", "lattice_of", "window"]


def window(blend: Blend, size: int) -> NDArray[np.float64]:
    """Weights of a tile's `size` pixels along one axis, positive and symmetric, 1 at the most.

    They are sampled at the pixels' centres, t = (i + 1/2) / size, so that none is 0.

    - "crop" and "mean" have 1.
    - "linear" has 1 - |2 t - 1|, the edge of a pyramid.
    - "hann" has sin^2(pi t).
    - "gaussian" has exp(-(t - 1/2)^2 / (2 sigma^2)) with sigma = 1/8, as MONAI and deepflash2 do.

    Raises
    ------
    GridError
        There is no such blend.
    """
    t = (np.arange(size) + 0.5) / size
    match blend:
        case "crop" | "mean":
            return np.ones(size)
        case "linear":
            return 1 - np.abs(2 * t - 1)
        case "hann":
            return np.sin(np.pi * t) ** 2
        case "gaussian":
            return np.exp(-((t - 0.5) ** 2) / (2 * 0.125**2))
    raise GridError(f"there is no blend {blend!r}. Choose {choices(Blend)}")


@dataclass(frozen=True, slots=True)
class AxisWeights:
    """The tiles along one axis of an image: what counts of each, and how much.

    At every pixel of the image the weights of all tiles add up to 1.

    Attributes
    ----------
    length
        The image's pixels along the axis.
    starts, stops
        Tile i counts in the image's pixels [starts[i], stops[i]).
    offsets
        The tile's own pixel at which that begins.
    weights
        float32 (tiles, longest). Tile i has the first `stops[i] - starts[i]` of its row.
    """

    length: int
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    offsets: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def longest(self) -> int:
        """The most pixels of any tile that count."""
        return self.weights.shape[1]

    def complete(self, tiles: int) -> int:
        """How many pixels only the first `tiles` tiles cover."""
        return int(self.starts[tiles]) if tiles < len(self.starts) else self.length

    def covering(self, start: int, stop: int) -> range:
        """The tiles that count somewhere in [start, stop)."""
        first = int(np.searchsorted(self.stops, start, side="right"))
        return range(first, int(np.searchsorted(self.starts, stop, side="left")))


def axis_weights(
    blend: Blend, length: int, size: int, reads: Sequence[int], cores: Sequence[tuple[int, int]]
) -> AxisWeights:
    """Weigh the tiles of one axis.

    Parameters
    ----------
    blend
        With "crop" only cores count, else all that lies inside the image.
    length
        The image's pixels along the axis.
    size
        The tiles' pixels.
    reads
        The first pixel of each tile's read window.
    cores
        The (start, stop) of each tile's core.
    """
    first = np.asarray(reads, np.int64)
    if blend == "crop":
        starts, stops = np.asarray(cores, np.int64).T
    else:
        starts, stops = np.maximum(first, 0), np.minimum(first + size, length)
    offsets = starts - first
    shape = window(blend, size)
    total = np.zeros(length)
    spans = list(zip(starts, stops, offsets, strict=True))
    for start, stop, offset in spans:
        total[start:stop] += shape[offset : offset + stop - start]
    weights = np.zeros((len(first), int((stops - starts).max())), np.float32)
    for row, (start, stop, offset) in zip(weights, spans, strict=True):
        row[: stop - start] = shape[offset : offset + stop - start] / total[start:stop]
    return AxisWeights(length, starts.copy(), stops.copy(), offsets, weights)


@dataclass(frozen=True, slots=True)
class Lattice:
    """The pixels at which tiles are blended.

    Attributes
    ----------
    rows, columns
        The tiles' weights along the two axes.
    zoom
        The lattice is this many times as fine as the network's pixels.
    scale
        The image's pixels are this many times as fine as the lattice.
    """

    rows: AxisWeights
    columns: AxisWeights
    zoom: int
    scale: int


def lattice_of(grid: TileGrid, blend: Blend, upsample: Upsample) -> Lattice:
    """The lattice at which the tiles of a grid are blended, with their weights."""
    zoom, scale = (grid.scale, 1) if upsample == "tile" else (1, grid.scale)
    down = [(t.read.row, t.core.row, t.core.bottom) for t in grid[:: grid.columns]]
    across = [(t.read.col, t.core.col, t.core.right) for t in grid[: grid.columns]]

    def weights(length: int, side: int, spans: list[tuple[int, int, int]]) -> AxisWeights:
        # Reads and the starts of cores are multiples of the scale. Only the image's end is not.
        return axis_weights(
            blend,
            -(-length // scale),
            side // scale,
            [read // scale for read, _, _ in spans],
            [(start // scale, -(-stop // scale)) for _, start, stop in spans],
        )

    rows = weights(grid.height, grid.tile_shape[0], down)
    return Lattice(rows, weights(grid.width, grid.tile_shape[1], across), zoom, scale)
