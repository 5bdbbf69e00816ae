"""Packed bits: rows of uint64 words, pixel `c` of a row is bit `c % 64` of word `c // 64`.

Bits past the last column are always 0. Everything here works on arrays of words
(rows, ceil(columns / 64)); `kernelkit.mask.BitMask` is the class around them.
"""

import numpy as np
from numpy.typing import NDArray

from kernelkit.jit import compiled, prefetch

__all__ = [
    "LANES",
    "Words",
    "count",
    "coverage",
    "cut",
    "pack",
    "place",
    "tail_mask",
    "transpose",
    "unpack",
    "words_per_row",
]

type Words = NDArray[np.uint64]

LANES = 8
"""Words of a row that `transpose` takes at once: a cache line."""

_ROWS_AT_ONCE = 64
_ROWS_AHEAD = 24
_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def words_per_row(width: int) -> int:
    """Words that a row of `width` pixels takes."""
    return -(-width // 64)


def tail_mask(width: int) -> np.uint64:
    """The bits of a row's last word that are pixels."""
    return _ONES >> np.uint64(-width % 64)


def pack(pixels: NDArray, threshold: float | None, out: Words) -> None:
    """Set the bits of `out` where `pixels` (2-D, any strides) is not 0, or above `threshold`."""
    height, width = pixels.shape
    row_bytes = -(-width // 8)
    out_bytes = out.view(np.uint8)
    out_bytes[:, row_bytes:] = 0
    for top in range(0, height, _ROWS_AT_ONCE):
        block = pixels[top : top + _ROWS_AT_ONCE]
        if threshold is not None:
            block = block > threshold
        elif block.dtype.kind not in "bui":
            block = block != 0
        bits = np.packbits(block, axis=1, bitorder="little")
        out_bytes[top : top + _ROWS_AT_ONCE, :row_bytes] = bits


def unpack(words: Words, width: int) -> NDArray[np.uint8]:
    """The pixels (rows, width) of packed words: uint8, 0 or 1."""
    return np.unpackbits(
        np.ascontiguousarray(words).view(np.uint8), axis=1, count=width, bitorder="little"
    )


def place(patch: Words, patch_width: int, column: int, out: Words) -> None:
    """Overwrite `patch_width` pixels of each row of `out`, from `column` on, with `patch`."""
    first, shift = divmod(column, 64)
    last = (column + patch_width - 1) // 64
    span = last - first + 1
    moved = np.zeros((patch.shape[0], span), np.uint64)
    taken = min(span, patch.shape[1])
    np.left_shift(patch[:, :taken], np.uint64(shift), out=moved[:, :taken])
    if shift:
        moved[:, 1:] |= patch[:, : span - 1] >> np.uint64(64 - shift)
    target = out[:, first : last + 1]
    covered = np.full(span, _ONES)
    covered[0] &= _ONES << np.uint64(shift)
    covered[-1] &= tail_mask(column + patch_width)
    target[:, 0] &= ~covered[0]
    target[:, -1] &= ~covered[-1]
    target[:, 1:-1] = 0
    target |= moved


def cut(words: Words, column: int, width: int) -> Words:
    """The `width` pixels of each row from `column` on, as packed rows of their own."""
    first, shift = divmod(column, 64)
    count = words_per_row(width)
    source = words[:, first : (column + width - 1) // 64 + 1]
    out = source[:, :count] >> np.uint64(shift)
    if shift:
        above = source[:, 1 : count + 1]
        out[:, : above.shape[1]] |= above << np.uint64(64 - shift)
    out[:, -1] &= tail_mask(width)
    return out


@compiled
def transpose(words, first_word, out):  # type: ignore[no-untyped-def]
    """Make rows of `out` from the columns of `words`, those of `first_word` and on.

    `words` is (height, any), `out` (64 * n, ceil(height / 64)): as many words' columns as fit.
    """
    height = words.shape[0]
    any_set = np.empty(LANES, np.uint64)
    all_set = np.empty(LANES, np.uint64)
    block = np.empty(64, np.uint64)
    for group in range(0, out.shape[0] // 64, LANES):
        lanes = min(LANES, out.shape[0] // 64 - group)
        left = first_word + group
        for top in range(0, height, 64):
            bottom = min(top + 64, height)
            any_set[:] = np.uint64(0)
            all_set[:] = _ONES if bottom == top + 64 else np.uint64(0)
            for r in range(top, bottom):
                prefetch(words, min(r + _ROWS_AHEAD, height - 1), left + lanes - 1)
                for lane in range(lanes):
                    any_set[lane] |= words[r, left + lane]
                    all_set[lane] &= words[r, left + lane]
            for lane in range(lanes):
                if any_set[lane] == 0 or all_set[lane] == _ONES:  # 64 x 64 pixels of one value
                    block[:] = any_set[lane]
                else:
                    block[:] = np.uint64(0)
                    for r in range(top, bottom):
                        block[r - top] = words[r, left + lane]
                    _turn(block)
                for i in range(64):
                    out[(group + lane) * 64 + i, top // 64] = block[i]


@compiled
def _turn(block):  # type: ignore[no-untyped-def]
    """Transpose 64 words of 64 bits in place, swapping ever smaller squares (Hacker's Delight 7-3)."""
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


def count(words: Words) -> int:
    """The number of set bits."""
    blocks = range(0, len(words), _ROWS_AT_ONCE)
    return sum(int(np.bitwise_count(words[r : r + _ROWS_AT_ONCE]).sum()) for r in blocks)


def coverage(words: Words, width: int, scale: int) -> NDArray[np.float32]:
    """The share of set pixels in each scale x scale block, border blocks over what they have."""
    height = len(words)
    out = np.empty((-(-height // scale), -(-width // scale)), np.float32)
    columns = np.arange(0, width, scale)
    widths = np.minimum(columns + scale, width) - columns
    for i, top in enumerate(range(0, height, scale)):
        pixels = unpack(words[top : top + scale], width)
        sums = np.add.reduceat(pixels.sum(axis=0, dtype=np.int64), columns)
        out[i] = sums / (widths * len(pixels))
    return out
