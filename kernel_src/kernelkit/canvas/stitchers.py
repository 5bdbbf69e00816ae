"""The two ways to make an image of tiles: paste their cores, or add up bands of rows.

A stitcher gets each tile with its row and column in the grid, and trusts that each comes at most
once; `kernelkit.canvas.canvas.Canvas` sees to that, and says when rows of tiles are complete.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.accumulate import SLACK, accumulate, enlarge, quantise, threshold_enlarged
from kernelkit.canvas.blend import AxisWeights
from kernelkit.canvas.probability_file import ProbabilityFile
from kernelkit.errors import MaskError
from kernelkit.grid import Tile, TileGrid
from kernelkit.jit import in_threads
from kernelkit.mask import BitMask
from kernelkit.mask.bits import tail_mask, words_per_row

__all__ = ["BandStitcher", "CropStitcher", "Stitcher"]

_UNIT = 255 * 256
"""Probability 1 as a whole number in which bytes and twentieths are whole, so that ties stay."""

_CHUNK = 1 << 17
"""Pixels that are added up at once, in float32: they stay in a core's cache."""

_TASKS = 8
"""Parts that a finished band is cut into for the threads."""

_EFFORT = 16
"""How many pixels of packed bits are passed in the time in which one is added up here."""


class Stitcher(Protocol):
    """What a canvas wants of a way to stitch."""

    def add(self, tile: Tile, row: int, column: int, probabilities: NDArray) -> None:
        """Take the (classes, height, width) probabilities of the tile at (row, column)."""

    def finish(self, tile_rows: int) -> int:
        """Finish what the first `tile_rows` rows of tiles allow; return the image rows done."""


class CropStitcher:
    """Enlarges each tile's probabilities, cuts them to its core, thresholds and pastes (HuBMAP)."""

    def __init__(
        self,
        grid: TileGrid,
        masks: list[BitMask],
        thresholds: tuple[float, ...],
        store: ProbabilityFile | None,
    ) -> None:
        self._grid = grid
        self._masks = masks
        self._thresholds = thresholds
        self._store = store

    def add(self, tile: Tile, row: int, column: int, probabilities: NDArray) -> None:
        """Paste the core of one tile."""
        scale, core = self._grid.scale, tile.core
        inner = tile.inner.shrunk(scale)
        # the core and its neighbours: nothing further away has a say in it
        top, left = max(inner.row - 1, 0), max(inner.col - 1, 0)
        near = probabilities[:, top : inner.bottom + 1, left : inner.right + 1]
        at = inner.row - top, inner.col - left
        unit, highest = _unit_and_highest(near, tile)
        for label, mask in enumerate(self._masks):
            threshold = np.float32(self._thresholds[label] * unit)
            if highest <= threshold and self._store is None:
                continue  # the mask is zero from the start
            values = np.ascontiguousarray(near[label], np.float32)
            words = np.empty((core.height, words_per_row(core.width)), np.uint64)
            threshold_enlarged(values, *at, scale, threshold, core.width, words)
            mask.paste(core.row, core.col, BitMask(words, core.width))
            if self._store is not None:
                block = np.empty((core.height, core.width), np.uint8)
                gain = np.float32(255 / unit)
                enlarge(values.clip(0, unit), *at, scale, gain, *block.shape, block)
                self._store.array[label][core.slices] = block

    def add_bits(self, tile: Tile, packed: NDArray[np.uint8]) -> None:
        """Paste a core that was enlarged, thresholded and packed already."""
        core = tile.core
        row_bytes = -(-core.width // 8)
        for mask, bits in zip(self._masks, packed, strict=True):
            words = np.zeros((core.height, words_per_row(core.width)), np.uint64)
            words.view(np.uint8)[:, :row_bytes] = bits[: core.height, :row_bytes]
            words[:, -1] &= tail_mask(core.width)
            mask.paste(core.row, core.col, BitMask(words, core.width))

    def finish(self, tile_rows: int) -> int:
        """Nothing is left to do: rows are done as their cores are."""
        if self._store is not None:
            self._store.forget()
        if tile_rows == self._grid.rows:
            return self._grid.height
        return self._grid[tile_rows * self._grid.columns].core.row


@dataclass(slots=True)
class _TileRow:
    """The tiles of one row of the grid, kept until all that they touch is finished.

    `held` is (tiles, classes, rows, columns), of which tiles that are `present` have been written.
    """

    held: NDArray
    present: NDArray[np.bool_]


class BandStitcher:
    """Keeps rows of tiles as integers and adds them up, weighted, once an image row has them all.

    Sums are made tile by tile in the grid's order, whatever the order in which tiles came, so the
    result is the same to the bit. Memory: the rows of tiles that reach into unfinished image rows,
    two in order of the grid with an overlap up to one half, a byte a pixel where probabilities
    come as bytes and are not enlarged first, two bytes else.

    Blending happens on a lattice `zoom` times as fine as the network's; finished rows of it are
    enlarged by `scale` to the image.
    """

    def __init__(
        self,
        rows: AxisWeights,
        columns: AxisWeights,
        zoom: int,
        scale: int,
        masks: list[BitMask],
        thresholds: tuple[float, ...],
        store: ProbabilityFile | None,
    ) -> None:
        self._rows, self._columns = rows, columns
        self._zoom, self._scale = zoom, scale
        self._masks = masks
        self._thresholds = thresholds
        self._store = store
        self._tile_rows: dict[int, _TileRow] = {}
        self._spare: list[NDArray] = []
        self._dtype: np.dtype | None = None
        self._done = 0  # lattice rows
        # a row that is to be enlarged needs the one after it
        self._halo = 1 if scale > 1 else 0

    def add(self, tile: Tile, row: int, column: int, probabilities: NDArray) -> None:
        """Keep what counts of one tile."""
        held = self._open(row, probabilities.dtype).held[column]
        top, left = int(self._rows.offsets[row]), int(self._columns.offsets[column])
        height = int(self._rows.stops[row] - self._rows.starts[row])
        width = int(self._columns.stops[column] - self._columns.starts[column])
        if self._zoom > 1:
            zoom, (unit, _) = self._zoom, _unit_and_highest(probabilities, tile)
            gain = np.float32(_UNIT / unit)
            for plane, out in zip(probabilities, held, strict=True):
                values = plane.astype(np.float32).clip(0, unit)
                enlarge(values, top // zoom, left // zoom, zoom, gain, height, width, out)
        elif probabilities.dtype == np.uint8:
            held[:, :height, :width] = probabilities[:, top : top + height, left : left + width]
        else:
            for values, out in zip(probabilities, held, strict=True):
                if quantise(values, top, left, height, width, np.float32(_UNIT), out):
                    raise _not_probabilities(tile)
        self._tile_rows[row].present[column] = True

    def finish(self, tile_rows: int) -> int:
        """Add up, threshold and store all rows that have all their tiles."""
        complete = self._rows.complete(tile_rows)
        stop = complete if complete == self._rows.length else complete - self._halo
        if stop > self._done:
            parts = np.linspace(self._done, stop, min(_TASKS, stop - self._done) + 1).astype(int)
            pixels = (stop - self._done) * self._columns.length * len(self._masks)
            in_threads(self._finish_part, list(pairwise(parts.tolist())), _EFFORT * pixels)
            self._done = stop
            self._release(stop - self._halo)
            if self._store is not None:
                self._store.forget()
        return min(self._done * self._scale, self._masks[0].height)

    def _open(self, row: int, dtype: np.dtype) -> _TileRow:
        """The row of tiles to write to, made where this is its first tile."""
        self._dtype = self._dtype or dtype
        if dtype != self._dtype:
            raise MaskError(
                f"a tile came with {dtype} probabilities after others with {self._dtype}; "
                "give all tiles of an image the same dtype."
            )
        if row not in self._tile_rows:
            tiles = len(self._columns.starts)
            shape = tiles, len(self._masks), self._rows.longest, self._columns.longest
            # enlarged bytes lie between bytes
            kept = np.uint8 if dtype == np.uint8 and self._zoom == 1 else np.uint16
            held = self._spare.pop() if self._spare else np.empty(shape, kept)
            self._tile_rows[row] = _TileRow(held, np.zeros(tiles, np.bool_))
        return self._tile_rows[row]

    def _release(self, needed: int) -> None:
        """Give up the rows of tiles that end before lattice row `needed`."""
        for row in [row for row in self._tile_rows if self._rows.stops[row] <= needed]:
            self._spare.append(self._tile_rows.pop(row).held)

    def _finish_part(self, part: tuple[int, int]) -> None:
        """Finish the lattice rows [part[0], part[1]), a chunk at a time."""
        first, stop = part
        if not any(row in self._tile_rows for row in self._rows.covering(first - 1, stop + 1)):
            return  # background: mask and store are zero from the start
        step = max(_CHUNK // self._columns.length, 1 + 15 * self._halo)
        scratch = np.empty((step + 2 * self._halo, self._columns.length), np.float32)
        for top in range(first, stop, step):
            for label in range(len(self._masks)):
                self._finish_chunk(label, top, min(top + step, stop), scratch)

    def _finish_chunk(
        self, label: int, first: int, stop: int, scratch: NDArray[np.float32]
    ) -> None:
        top, bottom = max(first - self._halo, 0), min(stop + self._halo, self._rows.length)
        values = self._sum(label, top, bottom, scratch[: bottom - top])
        mask = self._masks[label]
        threshold = np.float32(self._thresholds[label] * _UNIT)
        words = mask.words[first * self._scale : stop * self._scale]
        threshold_enlarged(values, first - top, 0, self._scale, threshold, mask.width, words)
        if self._store is not None:
            own = values[first - top : stop - top]
            self._store.array[label, first:stop] = (own + 128) / 256

    def _sum(
        self, label: int, top: int, bottom: int, values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Write lattice rows [top, bottom) of one class to `values`, in whole units."""
        values.fill(0)
        columns = self._columns
        for row in self._rows.covering(top, bottom):
            tiles = self._tile_rows.get(row)
            if tiles is None:
                continue
            start = int(self._rows.starts[row])
            first, stop = max(top, start), min(bottom, int(self._rows.stops[row]))
            weights = self._rows.weights[row, first - start : stop - start]
            if tiles.held.dtype == np.uint8:
                weights = weights * np.float32(256)
            accumulate(
                tiles.held, label, tiles.present, first - start, weights,
                columns.starts, columns.stops, columns.weights, values[first - top : stop - top],
            )  # fmt: skip
        # weights add up to 1 but for the last bit; where tiles agree, their value stays exactly
        return np.rint(values, out=values)


def _unit_and_highest(probabilities: NDArray, tile: Tile) -> tuple[float, float]:
    """The value that stands for probability 1, and the highest there is; NaN is an error."""
    low, high = probabilities.min(), probabilities.max()
    if probabilities.dtype == np.uint8:
        return 255.0, high
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise _not_probabilities(tile)
    return 1.0, high


def _not_probabilities(tile: Tile) -> MaskError:
    return MaskError(
        f"tile {tile.index} ({tile.core}) has values that are no probabilities: NaN, below 0 or "
        "above 1; apply the sigmoid or softmax first, and look for overflow in half precision."
    )
