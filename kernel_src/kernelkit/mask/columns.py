"""The columns of packed masks: 64 x 64 pixels at a time, turned by moving bits.

A row's words lie next to each other, but a column's pixels lie kilobytes apart. So both functions
here take a stripe of `STRIPE` words, which is one cache line, from top to bottom. They turn only
blocks in which pixels differ.
"""

import numpy as np

from kernelkit.jit import compiled, count_ones, prefetch, trailing_zeros

__all__ = ["STRIPE", "column_runs", "transpose"]

# Words of a row that are taken at once.
STRIPE = 8
# How far to read ahead, since no processor foresees such steps.
_ROWS_AHEAD = 24

_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@compiled
def column_runs(words, width, first_word):  # type: ignore[no-untyped-def]
    """The runs of one stripe of a mask that is read down its columns.

    The stripe begins with column 64 * `first_word`. Positions (int64, ascending) count the whole
    mask's pixels. The last pixel of a column comes before the first of the next one. A run that
    lasts to the stripe's end has no stop.
    """
    height = words.shape[0]
    lanes = min(STRIPE, words.shape[1] - first_word)
    before_top = _pixels_before(words, width, first_word, lanes)
    above = before_top.copy()
    changed = np.empty(STRIPE, np.uint64)
    # what changes in blocks of 64 x 64 pixels, turned: one word per column, one bit per row
    blocks = np.empty((STRIPE, (height + 63) // 64, 64), np.uint64)
    tops = np.empty((STRIPE, (height + 63) // 64), np.int64)
    lengths = np.zeros(STRIPE, np.int64)
    count = 0
    for top in range(0, height, 64):
        bottom = min(top + 64, height)
        changed[:] = np.uint64(0)
        for r in range(top, bottom):
            prefetch(words, min(r + _ROWS_AHEAD, height - 1), first_word + lanes - 1)
            for lane in range(lanes):
                word = words[r, first_word + lane]
                changed[lane] |= word ^ above[lane]
                above[lane] = word
        for lane in range(lanes):
            if changed[lane]:
                block = blocks[lane, lengths[lane]]
                before = words[top - 1, first_word + lane] if top else before_top[lane]
                for r in range(top, bottom):
                    word = words[r, first_word + lane]
                    block[r - top] = word ^ before
                    count += count_ones(word ^ before)
                    before = word
                block[bottom - top :] = np.uint64(0)
                _turn(block)
                tops[lane, lengths[lane]] = top
                lengths[lane] += 1
    runs = np.empty(count, np.int64)
    n = 0
    for lane in range(lanes):
        for column in range(64):
            start = ((first_word + lane) * 64 + column) * height
            for i in range(lengths[lane]):
                changes = blocks[lane, i, column]
                while changes:
                    runs[n] = start + tops[lane, i] + trailing_zeros(changes)
                    changes &= changes - np.uint64(1)
                    n += 1
    return runs


@compiled
def _pixels_before(words, width, first_word, lanes):  # type: ignore[no-untyped-def]
    """The last pixel of the column before, as one bit per column of a stripe."""
    last_row = words[-1]
    pixels = np.zeros(STRIPE, np.uint64)
    for lane in range(lanes):
        k = first_word + lane
        pixels[lane] = last_row[k] << np.uint64(1)
        if k:
            pixels[lane] |= last_row[k - 1] >> np.uint64(63)
        if k == len(last_row) - 1:
            pixels[lane] &= _ONES >> np.uint64((64 - width % 64) % 64)
    return pixels


@compiled
def transpose(words, first_word, out):  # type: ignore[no-untyped-def]
    """Make rows of `out` from the columns of `words`.

    Parameters
    ----------
    words
        uint64 (height, any).
    first_word
        Where the columns begin.
    out
        uint64 (64 * n, ceil(height / 64)), for the columns of n words.
    """
    height = words.shape[0]
    any_set = np.empty(STRIPE, np.uint64)
    all_set = np.empty(STRIPE, np.uint64)
    block = np.empty(64, np.uint64)
    for group in range(0, out.shape[0] // 64, STRIPE):
        lanes = min(STRIPE, out.shape[0] // 64 - group)
        left = first_word + group
        for top in range(0, height, 64):
            bottom = min(top + 64, height)
            any_set[:] = np.uint64(0)
            all_set[:] = _ONES if bottom == top + 64 else np.uint64(0)
            for r in range(top, bottom):
                prefetch(words, min(r + _ROWS_AHEAD, height - 1), left + lanes - 1)
                for lane in range(lanes):
                    word = words[r, left + lane]
                    any_set[lane] |= word
                    all_set[lane] &= word
            for lane in range(lanes):
                first = (group + lane) * 64
                if any_set[lane] == 0 or all_set[lane] == _ONES:  # 64 x 64 pixels of one value
                    for i in range(first, first + 64):
                        out[i, top // 64] = any_set[lane]
                    continue
                for r in range(top, bottom):
                    block[r - top] = words[r, left + lane]
                block[bottom - top :] = np.uint64(0)
                _turn(block)
                for i in range(64):
                    out[first + i, top // 64] = block[i]


@compiled
def _turn(block):  # type: ignore[no-untyped-def]
    """Transpose 64 words of 64 bits in place.

    Ever smaller squares are swapped (Hacker's Delight 7-3).
    """
    step = 32
    low = np.uint64(0x0000_0000_FFFF_FFFF)
    while step:
        shift = np.uint64(step)
        for square in range(0, 64, 2 * step):
            for r in range(square, square + step):
                swap = ((block[r] >> shift) ^ block[r + step]) & low
                block[r] ^= swap << shift
                block[r + step] ^= swap
        step >>= 1
        low ^= low << np.uint64(step)
