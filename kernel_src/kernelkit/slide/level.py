"""Windows of one level of an image: beyond its border, shrunk, and where they hold data.

A level is the image itself, or an overview of it.
"""

import numpy as np

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide.pixels import area_average, average_of_some, border_indices
from kernelkit.slide.stack import BandStack
from kernelkit.vocabulary import Fill

__all__ = ["held_in", "read_boundless", "read_shrunk", "rows_at_once"]

# How many bytes a read at a scale decodes at a time. It bounds the memory of a thumbnail.
_CHUNK_BYTES = 32 << 20


def read_boundless(
    level: BandStack, window: Window, fill: Fill, out: np.ndarray
) -> np.ndarray | None:
    """Read a window that may reach outside the level into `out`, (C, h, w).

    Returns
    -------
    Where there is data, (h, w) bool. None if all of it is. What the fill "zero" adds counts as
    data, because it takes part in a mean.
    """
    inside = window.intersection(level.bounds)
    if inside == window:
        return level.read_into(window, out)
    if fill == "zero":
        out[...] = 0
        source = inside
    else:
        y = border_indices(window.row, window.height, level.height, fill)
        x = border_indices(window.col, window.width, level.width, fill)
        top, left = int(y.min()), int(x.min())
        source = Window(top, left, int(y.max()) - top + 1, int(x.max()) - left + 1)
    held = None
    if source == inside and inside.area:
        rows, columns = inside.relative_to(window).slices
        part = level.read_into(inside, out[:, rows, columns])
        if part is not None:
            held = np.ones(out.shape[1:], bool)
            held[rows, columns] = part
        if fill != "zero":
            _spread(out, rows, columns, y - window.row, x - window.col)
            if held is not None:
                _spread(held[np.newaxis], rows, columns, y - window.row, x - window.col)
    elif fill != "zero":  # what is mirrored lies in part beyond the window
        pixels = np.empty((len(out), source.height, source.width), out.dtype)
        part = level.read_into(source, pixels)
        mirrored = y[:, np.newaxis] - top, x - left
        out[...] = pixels[:, *mirrored]
        held = None if part is None else part[mirrored]
    return held


def _spread(out: np.ndarray, rows: slice, columns: slice, y: np.ndarray, x: np.ndarray) -> None:
    """Fill `out` outside `rows` and `columns` from its inside: from rows y and columns x."""
    for side in (slice(0, columns.start), slice(columns.stop, out.shape[2])):
        out[:, rows, side] = out[:, rows, x[side]]
    for side in (slice(0, rows.start), slice(rows.stop, out.shape[1])):
        out[:, side] = out[:, y[side]]


def held_in(level: BandStack, window: Window) -> np.ndarray | bool:
    """Return where a window inside the level holds data: (h, w) bool, or one answer for all."""
    pixels = np.empty((level.bands, window.height, window.width), level.dtype)
    try:
        held = level.read_into(window, pixels)
    except SlideError:
        height, width = level.block
        if window.height <= height and window.width <= width:
            return False
        found = np.zeros((window.height, window.width), bool)
        for row in range(window.row // height * height, window.bottom, height):
            for col in range(window.col // width * width, window.right, width):
                part = Window(row, col, height, width).intersection(window)
                found[part.relative_to(window).slices] = held_in(level, part)
        return found
    return True if held is None else held


def read_shrunk(level: BandStack, window: Window, scale: int, fill: Fill, out: np.ndarray) -> None:
    """Read a window and average it into `out`, some rows at a time, to bound the memory."""
    step = rows_at_once(level, window.width, scale)
    for row in range(window.row, window.bottom, step):
        part = Window(row, window.col, min(step, window.bottom - row), window.width)
        pixels = np.empty((out.shape[0], part.height, part.width), out.dtype)
        held = read_boundless(level, part, fill, pixels)
        top = (row - window.row) // scale
        shrunk = out[:, top : top + part.height // scale]
        area_average(pixels, scale, shrunk)
        if held is not None:
            average_of_some(pixels, held, scale, shrunk)


def rows_at_once(level: BandStack, width: int, scale: int) -> int:
    """Return how many rows to decode at a time: a multiple of the scale, of bounded size."""
    row_bytes = width * level.bands * level.dtype.itemsize
    return -(-max(level.block[0], _CHUNK_BYTES // row_bytes) // scale) * scale
