"""Slides become arrays at the training scale, block by block, with the reader of the inference.

The tiles of the reader are the blocks of the file. So its pixels are those that networks see later.
A slide of two gigapixels takes the memory of some tiles.
"""

import numpy as np

from kernelkit.grid import TileGrid, Window
from kernelkit.labels import ImageLabel
from kernelkit.mask import BitMask
from kernelkit.reader import ReaderPool, TileReader
from kernelkit.reader.missing import empty_pixels, empty_pixels_note, undecodable_pixels
from kernelkit.slide import Slide
from kernelkit.training.cuts.blocks import BLOCK, BlockArray
from kernelkit.training.cuts.packs import PackWriter
from kernelkit.training.cuts.sight import Sight

__all__ = ["write_labels", "write_slide"]

# Blocks that come at once.
_TOGETHER = 8


def write_slide(
    slide: Slide, sight: Sight, readers: ReaderPool, writer: PackWriter
) -> tuple[dict[str, BlockArray], list[str]]:
    """Write a slide at the training scale.

    Returns
    -------
    Its arrays `pixels` and, if some pixels hold no data, `missing`. Then what was left out, a
    sentence each.

    Raises
    ------
    SlideError
        Nothing of it can be decoded.
    ReaderError
        A reader process died.
    OutputError
        The disk is full.
    """
    grid = TileGrid(slide.height, slide.width, core=BLOCK * sight.scale, scale=sight.scale)
    shape = _shape(slide, sight.scale)
    pixels = writer.begin((slide.bands, *shape), slide.dtype, _block(shape))
    reader = TileReader(slide, grid, readers, fill=sight.fill)
    for batch in reader.batches(_TOGETHER):
        rows, columns = pixels.block
        writer.write(pixels, batch.tiles[0].index, batch.pixels[..., :rows, :columns])
    arrays = {"pixels": pixels}
    unread, notes = undecodable_pixels(slide, reader.stats.bad_windows)
    missing = unread
    if sight.nodata != "keep":
        empty = empty_pixels(slide)
        notes += empty_pixels_note(empty)
        missing = empty if unread is None else unread if empty is None else unread | empty
    if missing is not None:
        arrays["missing"] = _write_missing(missing, sight.scale, shape, writer)
    return arrays, notes


def write_labels(label: ImageLabel, slide: Slide, sight: Sight, writer: PackWriter) -> BlockArray:
    """Write the labels of a slide at the training scale: the share of each pixel, 0 to 255."""
    scale = sight.scale
    height, width = shape = _shape(slide, scale)
    array = writer.begin((label.classes, *shape), np.dtype(np.uint8), _block(shape))
    for row in range(0, height, BLOCK):
        window = Window(row * scale, 0, min(BLOCK, height - row) * scale, width * scale)
        _write_rows(array, row, label.read(window, scale, sight.fill), writer)
    return array


def _write_missing(
    missing: BitMask, scale: int, shape: tuple[int, int], writer: PackWriter
) -> BlockArray:
    """Write which pixels of the training scale see a pixel without data."""
    height, width = shape
    array = writer.begin((1, *shape), np.dtype(np.uint8), _block(shape))
    for row in range(0, height, BLOCK):
        rows = min(BLOCK, height - row)
        found = missing.rows(row * scale, min(missing.height, (row + rows) * scale)).to_array()
        squares = np.zeros((rows * scale, width * scale), np.uint8)
        squares[: found.shape[0], : found.shape[1]] = found
        shrunk = squares.reshape(rows, scale, width, scale).max(axis=(1, 3))
        _write_rows(array, row, shrunk[np.newaxis], writer)
    return array


def _write_rows(array: BlockArray, row: int, values: np.ndarray, writer: PackWriter) -> None:
    """Write one row of blocks from values (C, rows, width)."""
    bands, rows, width = values.shape
    high, wide = array.block
    padded = np.zeros((bands, high, array.columns * wide), values.dtype)
    padded[:, :rows, :width] = values
    blocks = padded.reshape(bands, high, array.columns, wide).transpose(2, 0, 1, 3)
    writer.write(array, row // high * array.columns, blocks)


def _shape(slide: Slide, scale: int) -> tuple[int, int]:
    """Height and width at the training scale. The last pixel may reach outside of the image."""
    return -(-slide.height // scale), -(-slide.width // scale)


def _block(shape: tuple[int, int]) -> tuple[int, int]:
    """The size of blocks. An image that is smaller than one is one block."""
    return min(BLOCK, shape[0]), min(BLOCK, shape[1])
