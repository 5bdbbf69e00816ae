"""The two ways to make an image of tiles: paste their cores, or add up bands of rows.

A stitcher trusts that each tile comes at most once. `kernelkit.canvas.canvas.Canvas` sees to that,
and says when rows of tiles are complete.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.accumulate import SLACK, accumulate, enlarge, quantise
from kernelkit.canvas.blend import Lattice
from kernelkit.canvas.decision import UNIT, Decision
from kernelkit.canvas.probability_file import ProbabilityFile
from kernelkit.errors import MaskError
from kernelkit.grid import Tile, TileGrid
from kernelkit.jit import in_threads
from kernelkit.mask import BitMask
from kernelkit.mask.bits import tail_mask, words_per_row

__all__ = ["BandStitcher", "CropStitcher", "Output", "Stitcher"]

# Pixels that are added up at once, in float32. They stay in a core's cache.
_CHUNK = 1 << 17
# Parts that a finished band is cut into for the threads.
_TASKS = 8
# How many pixels of packed bits are passed in the time in which one is added up here.
_EFFORT = 16


@dataclass(frozen=True, slots=True)
class Output:
    """What a canvas makes.

    Attributes
    ----------
    classes, height
        How many classes there are, and the image's height.
    masks
        One per class, all 0 at the start. None at all if only probabilities are wanted.
    decision
        Which pixels are on. None if there are no masks.
    probabilities
        The file for the probabilities as well, or None.
    """

    classes: int
    height: int
    masks: list[BitMask]
    decision: Decision | None
    probabilities: ProbabilityFile | None

    @property
    def groups(self) -> list[slice]:
        """The classes that are finished together."""
        if self.decision is None:
            return [slice(label, label + 1) for label in range(self.classes)]
        return self.decision.groups(self.classes)

    def forget(self) -> None:
        """Take what was written to the file, if there is one, out of memory."""
        if self.probabilities is not None:
            self.probabilities.forget()


class Stitcher(Protocol):
    """What a canvas needs of a way to stitch."""

    def add(self, tile: Tile, probabilities: NDArray) -> None:
        """Take the probabilities of one tile, (classes, *net_shape)."""

    def finish(self, tile_rows: int) -> int:
        """Finish what the first `tile_rows` rows of tiles allow. Return the image rows done."""


class CropStitcher:
    """Each tile enlarged, cut to its core, thresholded and pasted, as the HuBMAP solution does."""

    def __init__(self, grid: TileGrid, output: Output) -> None:
        self._grid = grid
        self._output = output

    def add(self, tile: Tile, probabilities: NDArray) -> None:
        """Paste the core of one tile."""
        scale, core = self._grid.scale, tile.core
        inner = tile.inner.shrunk(scale)
        # the core and its neighbours: nothing further away has a say in it
        top, left = max(inner.row - 1, 0), max(inner.col - 1, 0)
        near = probabilities[:, top : inner.bottom + 1, left : inner.right + 1]
        at = inner.row - top, inner.col - left
        unit, highest = _unit_and_highest(near, tile)
        output = self._output
        decision = output.decision
        for labels in output.groups:
            empty = decision is None or decision.leaves_empty(labels, highest, unit)
            if empty and output.probabilities is None:
                continue  # the masks are zero from the start
            values = np.ascontiguousarray(near[labels], np.float32)
            if decision is not None and not empty:
                words = np.empty((len(values), core.height, words_per_row(core.width)), np.uint64)
                decision.pack(
                    values, labels, corner=at, scale=scale, unit=unit, width=core.width, out=words
                )
                for mask, patch in zip(output.masks[labels], words, strict=True):
                    mask.paste(core.row, core.col, BitMask(patch, core.width))
            if output.probabilities is not None:
                gain = np.float32(255 / unit)
                block = np.empty((core.height, core.width), np.uint8)
                for plane, out in zip(values, output.probabilities.array[labels], strict=True):
                    enlarge(plane.clip(0, unit), *at, scale, gain, *block.shape, block)
                    out[core.slices] = block

    def add_bits(self, tile: Tile, packed: NDArray[np.uint8]) -> None:
        """Paste a core that was enlarged, thresholded and packed already."""
        core = tile.core
        row_bytes = -(-core.width // 8)
        for mask, bits in zip(self._output.masks, packed, strict=True):
            words = np.zeros((core.height, words_per_row(core.width)), np.uint64)
            words.view(np.uint8)[:, :row_bytes] = bits[: core.height, :row_bytes]
            words[:, -1] &= tail_mask(core.width)
            mask.paste(core.row, core.col, BitMask(words, core.width))

    def finish(self, tile_rows: int) -> int:
        """Return the image rows done. Nothing is left to do: rows are done with their cores."""
        self._output.forget()
        if tile_rows == self._grid.rows:
            return self._grid.height
        return self._grid[tile_rows * self._grid.columns].core.row


@dataclass(slots=True)
class _TileRow:
    """The tiles of one row of the grid, kept until all that they touch is finished.

    Attributes
    ----------
    held
        Unsigned integers (tiles, classes, rows, columns).
    present
        bool (tiles,): whether a tile was written to `held`.
    """

    held: NDArray
    present: NDArray[np.bool_]


class BandStitcher:
    """Rows of tiles, kept as integers and added up, weighted, once an image row has them all.

    Sums are made tile by tile in the grid's order. So the order in which tiles come does not change
    a bit of the result.

    In memory are the rows of tiles that reach into unfinished image rows. In the grid's order these
    are two, if tiles overlap by up to one half. A pixel takes one byte if probabilities come as
    bytes and are not enlarged first, else two.

    Finished rows of the lattice are enlarged to the image.
    """

    def __init__(self, lattice: Lattice, output: Output) -> None:
        self._rows, self._columns = lattice.rows, lattice.columns
        self._zoom, self._scale = lattice.zoom, lattice.scale
        self._output = output
        self._tile_rows: dict[int, _TileRow] = {}
        self._spare: list[NDArray] = []
        self._dtype: np.dtype | None = None
        self._done = 0  # lattice rows
        # a row that is to be enlarged needs the one after it
        self._halo = 1 if lattice.scale > 1 else 0

    def add(self, tile: Tile, probabilities: NDArray) -> None:
        """Keep what counts of one tile."""
        row, column = divmod(tile.index, len(self._columns.starts))
        held = self._open(row, probabilities.dtype).held[column]
        top, left = int(self._rows.offsets[row]), int(self._columns.offsets[column])
        height = int(self._rows.stops[row] - self._rows.starts[row])
        width = int(self._columns.stops[column] - self._columns.starts[column])
        if self._zoom > 1:
            zoom, (unit, _) = self._zoom, _unit_and_highest(probabilities, tile)
            gain = np.float32(UNIT / unit)
            for plane, out in zip(probabilities, held, strict=True):
                values = plane.astype(np.float32).clip(0, unit)
                enlarge(values, top // zoom, left // zoom, zoom, gain, height, width, out)
        elif probabilities.dtype == np.uint8:
            held[:, :height, :width] = probabilities[:, top : top + height, left : left + width]
        else:
            for values, out in zip(probabilities, held, strict=True):
                if quantise(values, top, left, height, width, np.float32(UNIT), out):
                    raise _not_probabilities(tile)
        self._tile_rows[row].present[column] = True

    def finish(self, tile_rows: int) -> int:
        """Add up, threshold and write all rows that have all their tiles."""
        complete = self._rows.complete(tile_rows)
        stop = complete if complete == self._rows.length else complete - self._halo
        if stop > self._done:
            parts = np.linspace(self._done, stop, min(_TASKS, stop - self._done) + 1).astype(int)
            pixels = (stop - self._done) * self._columns.length * self._output.classes
            in_threads(self._finish_part, list(pairwise(parts.tolist())), _EFFORT * pixels)
            self._done = stop
            self._release(stop - self._halo)
            self._output.forget()
        return min(self._done * self._scale, self._output.height)

    def _open(self, row: int, dtype: np.dtype) -> _TileRow:
        """The row of tiles to write to. Its first tile makes it."""
        self._dtype = self._dtype or dtype
        if dtype != self._dtype:
            raise MaskError(
                f"a tile came with {dtype} probabilities after others with {self._dtype}. "
                "Give all tiles of an image the same dtype"
            )
        if row not in self._tile_rows:
            tiles = len(self._columns.starts)
            shape = tiles, self._output.classes, self._rows.longest, self._columns.longest
            # enlarged bytes have values between bytes
            kept = np.uint8 if dtype == np.uint8 and self._zoom == 1 else np.uint16
            held = self._spare.pop() if self._spare else np.empty(shape, kept)
            self._tile_rows[row] = _TileRow(held, np.zeros(tiles, np.bool_))
        return self._tile_rows[row]

    def _release(self, needed: int) -> None:
        """Release the rows of tiles that end before lattice row `needed`."""
        for row in [row for row in self._tile_rows if self._rows.stops[row] <= needed]:
            self._spare.append(self._tile_rows.pop(row).held)

    def _finish_part(self, part: tuple[int, int]) -> None:
        """Finish the lattice rows [part[0], part[1]) in chunks."""
        first, stop = part
        if not any(row in self._tile_rows for row in self._rows.covering(first - 1, stop + 1)):
            return  # background: masks and file are zero from the start
        groups = self._output.groups
        at_once = groups[0].stop
        step = max(_CHUNK // (at_once * self._columns.length), 1 + 15 * self._halo)
        scratch = np.empty(at_once * (step + 2 * self._halo) * self._columns.length, np.float32)
        for top in range(first, stop, step):
            for labels in groups:
                self._finish_chunk(labels, top, min(top + step, stop), scratch)

    def _finish_chunk(
        self, labels: slice, first: int, stop: int, scratch: NDArray[np.float32]
    ) -> None:
        """Finish the lattice rows [first, stop) of a group of classes."""
        output = self._output
        top, bottom = max(first - self._halo, 0), min(stop + self._halo, self._rows.length)
        shape = labels.stop - labels.start, bottom - top, self._columns.length
        values = scratch[: math.prod(shape)].reshape(shape)
        for label, plane in enumerate(values, labels.start):
            self._sum(label, top, bottom, plane)
        if output.decision is not None:
            output.decision.write(
                values, labels, output.masks, rows=(first, stop), top=top, scale=self._scale
            )
        if output.probabilities is not None:
            own = values[:, first - top : stop - top]
            output.probabilities.array[labels, first:stop] = (own + 128) / 256

    def _sum(self, label: int, top: int, bottom: int, values: NDArray[np.float32]) -> None:
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
        # Weights add up to 1 but for the last bit. If tiles agree, their value stays exactly.
        np.rint(values, out=values)


def _unit_and_highest(probabilities: NDArray, tile: Tile) -> tuple[float, float]:
    """The value that stands for probability 1, and the highest there is. NaN is an error."""
    low, high = probabilities.min(), probabilities.max()
    if probabilities.dtype == np.uint8:
        return 255.0, high
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise _not_probabilities(tile)
    return 1.0, high


def _not_probabilities(tile: Tile) -> MaskError:
    return MaskError(
        f"tile {tile.index} ({tile.core}) has values that are no probabilities: NaN, below 0 or "
        "above 1. Apply the sigmoid or softmax first, and look for overflow in half precision"
    )
