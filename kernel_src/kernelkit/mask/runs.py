"""Runs of packed masks: where a mask, read as one line of pixels, turns on and off.

The line is the rows one after the other ("row"), or the columns ("column"). `Runs` are positions in
it, int64 and ascending: start, stop, start, stop, ... The line is read in pieces on all cores:
bands of rows, or stripes of columns. No array of the mask's size is made.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kernelkit.jit import compiled, count_ones, in_threads, trailing_zeros
from kernelkit.mask.bits import Words
from kernelkit.mask.columns import STRIPE, column_runs
from kernelkit.vocabulary import Order

__all__ = ["Runs", "are_sparse", "fill_runs", "map_pieces", "runs_of"]

# start, stop, start, stop, ...
type Runs = NDArray[np.int64]

_ROWS_AT_ONCE = 512
_WORDS_AT_ONCE = 16
# Rows of a stripe that are passed over together if no run touches them.
_BLOCK = 64
# Bytes that the system gives out at once.
_PAGE = 4096


def map_pieces[Result](
    words: Words, width: int, order: Order, function: Callable[[Runs, bool], Result]
) -> list[Result]:
    """Call a function with the runs of each piece of the line, in the line's order.

    Parameters
    ----------
    words, width
        The mask.
    order
        What the line is.
    function
        Takes the piece's `runs`, and `is_on`, whether the pixel before the piece is on. If it is,
        `runs` begins with the stop of an earlier piece's run. A run that goes on has no stop yet.

    Returns
    -------
    list
        The function's results.
    """
    height = words.shape[0]
    by_row = order == "row"
    read = _read_band if by_row else _read_stripe
    return in_threads(
        lambda start: function(*read(words, width, start)),
        range(0, height, _ROWS_AT_ONCE) if by_row else range(0, words.shape[1], STRIPE),
        pixels=height * width,
    )


def runs_of(words: Words, width: int, order: Order) -> Runs:
    """The runs of a mask that is read in `order`."""
    pieces = map_pieces(words, width, order, lambda runs, _: runs)
    if sum(map(len, pieces)) % 2:
        pieces.append(np.array([words.shape[0] * width], np.int64))
    return np.concatenate(pieces)


def are_sparse(runs: Runs, shape: tuple[int, int], order: Order) -> bool:
    """Whether a mask with these runs leaves part of its memory untouched."""
    height, width = shape
    if order == "row":
        pages = len(runs) // 2 + int((runs[1::2] - runs[::2]).sum()) // (8 * _PAGE)
    else:
        pages = _BLOCK * sum(
            int(_touched(runs, width, word, height).sum())
            for word in range(0, -(-width // 64), _WORDS_AT_ONCE)
        )
    return pages * 8 * _PAGE < height * width


def fill_runs(runs: Runs, width: int, order: Order, out: Words, *, is_zero: bool = False) -> None:
    """Make `out` the mask with these runs.

    Parameters
    ----------
    runs, width, order
        The mask.
    out
        The words to write to. What they held before does not matter.
    is_zero
        Whether they are 0. Then memory that no run touches is not touched here.
    """
    height = out.shape[0]
    by_row = order == "row"
    fill = _fill_band if by_row else _fill_stripe
    in_threads(
        lambda start: fill(runs, width, start, out, is_zero),
        range(0, height, _ROWS_AT_ONCE) if by_row else range(0, out.shape[1], _WORDS_AT_ONCE),
        pixels=height * width,
    )


def _read_band(words: Words, width: int, row: int) -> tuple[Runs, bool]:
    is_on = bool(row and words[row - 1, -1] >> np.uint64((width - 1) % 64))
    band = words[row : row + _ROWS_AT_ONCE]
    runs = np.empty(_count_changes(band, width, is_on), np.int64)
    _find_changes(band, width, is_on, row * width, runs)
    return runs, is_on


def _read_stripe(words: Words, width: int, word: int) -> tuple[Runs, bool]:
    is_on = bool(word and words[-1, word - 1] >> np.uint64(63))
    return column_runs(words, width, word), is_on


def _fill_band(runs: Runs, width: int, row: int, out: Words, is_zero: bool) -> None:
    band = out[row : row + _ROWS_AT_ONCE]
    if not is_zero:
        band[:] = 0
    start, stop = row * width, (row + len(band)) * width
    _fill(_runs_between(runs, start, stop), start, width, band)


def _fill_stripe(runs: Runs, width: int, word: int, out: Words, is_zero: bool) -> None:
    height = out.shape[0]
    last = min(word + _WORDS_AT_ONCE, out.shape[1])
    start, stop = word * 64 * height, min(last * 64, width) * height
    if not is_zero:
        out[:, word:last] = 0
    touched = _touched(runs, width, word, height)
    _fill_columns(_runs_between(runs, start, stop), start, word, last, touched, out)


def _touched(runs: Runs, width: int, word: int, height: int) -> NDArray[np.bool_]:
    """Which blocks of rows the runs touch in the columns of one stripe."""
    start = word * 64 * height
    stop = min((word + _WORDS_AT_ONCE) * 64, width) * height
    touched = np.zeros(-(-height // _BLOCK), np.bool_)
    _mark_blocks(_runs_between(runs, start, stop), start, height, touched)
    return touched


def _runs_between(runs: Runs, start: int, stop: int) -> Runs:
    """The runs with a part in [start, stop), cut to it."""
    low = int(np.searchsorted(runs[1::2], start, "right"))
    high = int(np.searchsorted(runs[0::2], stop, "left"))
    return np.clip(runs[2 * low : 2 * high], start, stop)


@compiled
def _tail(width):  # type: ignore[no-untyped-def]
    """The bits of a row's last word that are pixels."""
    return np.uint64(0xFFFF_FFFF_FFFF_FFFF) >> np.uint64((64 - width % 64) % 64)


@compiled
def _count_changes(rows, width, is_on):  # type: ignore[no-untyped-def]
    """The number of changes along rows, read as one line. `is_on` is the pixel before it."""
    total = 0
    last = rows.shape[1] - 1
    before = np.uint64(is_on)
    for r in range(rows.shape[0]):
        for k in range(last):
            word = rows[r, k]
            total += count_ones(word ^ (word << np.uint64(1) | before))
            before = word >> np.uint64(63)
        word = rows[r, last]
        total += count_ones((word ^ (word << np.uint64(1) | before)) & _tail(width))
        before = word >> np.uint64((width - 1) % 64)
    return total


@compiled
def _find_changes(rows, width, is_on, position, out):  # type: ignore[no-untyped-def]
    """Write where the changes lie that `_count_changes` counts. The line begins at `position`."""
    n = 0
    last = rows.shape[1] - 1
    before = np.uint64(is_on)
    for r in range(rows.shape[0]):
        for k in range(last + 1):
            word = rows[r, k]
            changes = word ^ (word << np.uint64(1) | before)
            if k == last:
                changes &= _tail(width)
            while changes:
                out[n] = position + k * 64 + trailing_zeros(changes)
                changes &= changes - np.uint64(1)
                n += 1
            before = word >> np.uint64(63)
        before = rows[r, last] >> np.uint64((width - 1) % 64)
        position += width


@compiled
def _fill(runs, position, width, out):  # type: ignore[no-untyped-def]
    """Set runs in packed rows, read as one line whose first pixel is `position`."""
    ones = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
    row = 0
    row_start = position
    for i in range(0, len(runs), 2):
        start = runs[i]
        while start < runs[i + 1]:  # a part of the run in each row
            rows_down = (start - row_start) // width
            row += rows_down
            row_start += rows_down * width
            stop = min(runs[i + 1], row_start + width)
            first = (start - row_start) >> 6
            last = (stop - 1 - row_start) >> 6
            head = ones << np.uint64((start - row_start) & 63)
            foot = ones >> np.uint64(63 - (stop - 1 - row_start) & 63)
            if first == last:
                out[row, first] |= head & foot
            else:
                out[row, first] |= head
                out[row, first + 1 : last] = ones
                out[row, last] |= foot
            start = stop


@compiled
def _mark_blocks(runs, position, height, touched):  # type: ignore[no-untyped-def]
    """Mark the blocks of rows with a start or a stop of a run, and all between them.

    The runs go down columns, and `position` is that of the first pixel of the first column.
    """
    for i in range(0, len(runs), 2):
        first = (runs[i] - position) % height
        rows = runs[i + 1] - runs[i]
        if first + rows > height:  # it reaches the next column
            touched[first // _BLOCK :] = True
            first, rows = 0, first + rows - height
        if rows > height:
            touched[:] = True
            return
        touched[first // _BLOCK : min(first + rows, height - 1) // _BLOCK + 1] = True


@compiled
def _fill_columns(runs, position, word, last_word, touched, out):  # type: ignore[no-untyped-def]
    """Fill the columns of words `word` to `last_word`, all 0, with runs that go down the columns.

    `position` is that of the words' first pixel. First a bit is toggled at each start and stop
    within a column. Each row then holds its difference from the row above, and is toggled by it.
    All toggles lie in `touched` blocks, so the others stay 0.
    """
    height = out.shape[0]
    column = word * 64
    top = position
    for i in range(0, len(runs), 2):
        start = runs[i]
        while start < runs[i + 1]:  # a part of the run in each column
            if start - top >= height:
                columns_on = (start - top) // height
                column += columns_on
                top += columns_on * height
            stop = min(runs[i + 1], top + height)
            bit = np.uint64(1) << np.uint64(column & 63)
            out[start - top, column >> 6] ^= bit
            if stop - top < height:
                out[stop - top, column >> 6] ^= bit
            start = stop
    for block in range(len(touched)):
        if touched[block]:
            for r in range(max(block * _BLOCK, 1), min((block + 1) * _BLOCK, height)):
                for k in range(word, last_word):
                    out[r, k] ^= out[r - 1, k]
