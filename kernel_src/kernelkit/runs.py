"""Runs of packed masks: where a mask, read as one line of pixels, changes its value.

A mask's `edges` are the positions (int64, ascending, an even number of them) at which the line
turns on, off, on, ...: runs are `edges[0::2]` to `edges[1::2]`. The line is the rows one after the
other ("row") or the columns ("column"). Columns are read through a transposed stripe of a few
hundred of them that stays in the processor's cache, so nothing of the mask's size is made.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernelkit.bits import LANES, Words, transpose, words_per_row
from kernelkit.jit import compiled, count_ones, in_threads, trailing_zeros

__all__ = ["Edges", "Order", "edges_of", "fill_edges"]

type Edges = NDArray[np.int64]
type Order = Literal["column", "row"]

_ROWS_AT_ONCE = 512


def edges_of(words: Words, width: int, order: Order) -> Edges:
    """Where the mask changes, read in `order`."""
    height = words.shape[0]
    if order == "row":
        pieces = in_threads(
            lambda top: _row_band_edges(words, width, top), range(0, height, _ROWS_AT_ONCE)
        )
    else:
        pieces = in_threads(
            lambda first: _stripe_edges(words, width, first), range(0, words.shape[1], LANES)
        )
    if words[-1, -1] >> np.uint64((width - 1) % 64):  # the last run ends with the mask
        pieces.append(np.array([height * width], np.int64))
    return np.concatenate(pieces)


def fill_edges(edges: Edges, width: int, order: Order, out: Words) -> None:
    """Set the pixels of `out`, all 0 before, that lie in the runs of `edges`."""
    height = out.shape[0]
    if order == "row":
        in_threads(
            lambda top: _fill_row_band(edges, width, top, out), range(0, height, _ROWS_AT_ONCE)
        )
    else:
        in_threads(lambda first: _fill_stripe(edges, first, out), range(0, out.shape[1], LANES))


def _row_band_edges(words: Words, width: int, top: int) -> Edges:
    band = words[top : top + _ROWS_AT_ONCE]
    before = words[top - 1, -1] >> np.uint64((width - 1) % 64) if top else np.uint64(0)
    edges = np.empty(_count_edges(band, width, before), np.int64)
    _find_edges(band, width, before, top * width, edges)
    return edges


def _stripe_edges(words: Words, width: int, first: int) -> Edges:
    height = words.shape[0]
    columns = min(LANES * 64, width - first * 64)
    stripe = np.empty((words_per_row(columns) * 64, words_per_row(height)), np.uint64)
    transpose(words, first, stripe)
    before = words[-1, first - 1] >> np.uint64(63) if first else np.uint64(0)
    stripe = stripe[:columns]
    edges = np.empty(_count_edges(stripe, height, before), np.int64)
    _find_edges(stripe, height, before, first * 64 * height, edges)
    return edges


def _fill_row_band(edges: Edges, width: int, top: int, out: Words) -> None:
    band = out[top : top + _ROWS_AT_ONCE]
    _fill(_runs_between(edges, top * width, (top + len(band)) * width), top * width, width, band)


def _fill_stripe(edges: Edges, first: int, out: Words) -> None:
    height = out.shape[0]
    words = min(LANES, out.shape[1] - first)
    stripe = np.zeros((words * 64, words_per_row(height)), np.uint64)
    start = first * 64 * height
    runs = _runs_between(edges, start, start + stripe.shape[0] * height)
    _fill(runs, start, height, stripe)
    turned = np.empty((stripe.shape[1] * 64, words), np.uint64)
    transpose(stripe, 0, turned)
    out[:, first : first + words] = turned[:height]


def _runs_between(edges: Edges, start: int, stop: int) -> Edges:
    """The runs of which a part lies in [start, stop)."""
    low = int(np.searchsorted(edges[1::2], start, "right"))
    high = int(np.searchsorted(edges[0::2], stop, "left"))
    return edges[2 * low : 2 * high]


@compiled
def _count_edges(rows, width, before):  # type: ignore[no-untyped-def]
    """Changes along the rows of packed bits; `before` is the pixel (0 or 1) ahead of the first."""
    total = 0
    last = rows.shape[1] - 1
    tail = tail_bits(width)
    carry = before
    for r in range(rows.shape[0]):
        for k in range(last):
            word = rows[r, k]
            total += count_ones(word ^ (word << np.uint64(1) | carry))
            carry = word >> np.uint64(63)
        word = rows[r, last]
        total += count_ones((word ^ (word << np.uint64(1) | carry)) & tail)
        carry = (word >> np.uint64((width - 1) % 64)) & np.uint64(1)
    return total


@compiled
def tail_bits(width):  # type: ignore[no-untyped-def]
    """`kernelkit.bits.tail_mask`, for compiled callers."""
    return np.uint64(0xFFFF_FFFF_FFFF_FFFF) >> np.uint64((64 - width % 64) % 64)


@compiled
def _find_edges(rows, width, before, position, out):  # type: ignore[no-untyped-def]
    """Write the positions of the changes that `_count_edges` counts; the first pixel's is given."""
    n = 0
    last = rows.shape[1] - 1
    tail = tail_bits(width)
    carry = before
    for r in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            word = rows[r, k]
            changes = word ^ (word << np.uint64(1) | carry)
            if k == last:
                changes &= tail
            while changes:
                out[n] = position + k * 64 + trailing_zeros(changes)
                changes &= changes - np.uint64(1)
                n += 1
            carry = word >> np.uint64(63)
        carry = (rows[r, last] >> np.uint64((width - 1) % 64)) & np.uint64(1)
        position += width


@compiled
def _fill(edges, position, width, out):  # type: ignore[no-untyped-def]
    """Set the runs' pixels in packed rows whose first pixel has the given position."""
    ones = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
    row = 0
    row_start = position
    for i in range(0, len(edges), 2):
        start = max(edges[i], position)
        stop = min(edges[i + 1], position + out.shape[0] * width)
        while start < stop:
            skipped = (start - row_start) // width
            row += skipped
            row_start += skipped * width
            a = start - row_start
            b = min(stop - row_start, width)  # this row's part of the run
            first = a >> 6
            last = (b - 1) >> 6
            head = ones << np.uint64(a & 63)
            foot = ones >> np.uint64(63 - ((b - 1) & 63))
            if first == last:
                out[row, first] |= head & foot
            else:
                out[row, first] |= head
                for k in range(first + 1, last):
                    out[row, k] = ones
                out[row, last] |= foot
            start = row_start + b
