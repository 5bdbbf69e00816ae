"""Packed bits: rows of uint64 words, pixel `c` of a row is bit `c % 64` of word `c // 64`.

Bits past the last column are always 0. Everything here works on arrays of words
(rows, ceil(columns / 64)). `kernelkit.mask.bitmask.BitMask` is the class around them.
"""

import math

import numpy as np
from numpy.typing import NDArray

from kernelkit.jit import compiled, count_ones, in_threads
from kernelkit.mask.columns import transpose

__all__ = [
    "Words",
    "count",
    "count_common",
    "coverage",
    "cut",
    "pack",
    "place",
    "tail_mask",
    "turned",
    "unpack",
    "words_per_row",
]

type Words = NDArray[np.uint64]

# Rows of pixels that stay in the cache.
_ROWS_AT_ONCE = 64
# Rows that a thread takes at once.
_BAND = 1024

_LARGEST_HALF, _INFINITE_HALF = 65504.0, 0x7C00
_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def words_per_row(width: int) -> int:
    """The number of words that a row of `width` pixels takes."""
    return -(-width // 64)


def tail_mask(width: int) -> np.uint64:
    """The bits of a row's last word that are pixels."""
    return _ONES >> np.uint64(-width % 64)


def pack(pixels: NDArray, threshold: float | None, out: Words) -> bool:
    """Pack an array of pixels. Return whether all of them are numbers, so none is NaN.

    Parameters
    ----------
    pixels
        Bool, integers or floats, 2-dimensional, of any strides.
    threshold
        Pixels above it are on. If None, those that are not 0.
    out
        The words to write to.
    """
    height, width = pixels.shape
    if abs(pixels.strides[0]) < abs(pixels.strides[1]):  # columns first: turned as bits
        columns = np.empty((width, words_per_row(height)), np.uint64)
        numbers = pack(pixels.T, threshold, columns)
        out[:] = turned(columns, height)
        return numbers
    bands = in_threads(
        lambda top: _pack_band(pixels[top : top + _BAND], threshold, out[top : top + _BAND]),
        range(0, height, _BAND),
        pixels=pixels.size,
    )
    return all(bands)


def _pack_band(pixels: NDArray, threshold: float | None, out: Words) -> bool:
    numbers = True
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        _pack_rows(pixels[rows], threshold, out[rows])
        numbers = numbers and not _has_nan(pixels[rows])
    return numbers


def _has_nan(pixels: NDArray) -> bool:
    if pixels.dtype.kind != "f":
        return False
    if pixels.dtype == np.float16:  # numpy compares half floats one at a time
        return bool(((pixels.view(np.uint16) & np.uint16(0x7FFF)) > _INFINITE_HALF).any())
    return bool(np.isnan(pixels.min()))  # the minimum of NaN and anything is NaN


def _pack_rows(pixels: NDArray, threshold: float | None, out: Words) -> None:
    if threshold is not None:
        pixels = _above(pixels, threshold)
    elif pixels.dtype.kind not in "bui":
        pixels = pixels != 0
    packed = np.packbits(pixels, axis=1, bitorder="little")
    out_bytes = out.view(np.uint8)
    out_bytes[:, : packed.shape[1]] = packed
    out_bytes[:, packed.shape[1] :] = 0


def _above(pixels: NDArray, threshold: float) -> NDArray[np.bool_]:
    """Compare in the pixels' own type. That is several times faster than in another."""
    if pixels.dtype == np.bool_:
        pixels = pixels.view(np.uint8)
    if pixels.dtype.kind in "ui":
        return pixels > math.floor(threshold)
    if pixels.dtype == np.float16 and 0 <= threshold < _LARGEST_HALF:
        # Numpy compares half floats one at a time. Their bits are whole numbers in the same order
        # up to infinity. NaN and the negative ones come after it.
        lowest = int(np.float16(abs(threshold)).view(np.uint16)) + 1  # abs makes -0 to 0
        return pixels.view(np.uint16) - np.uint16(lowest) <= np.uint16(_INFINITE_HALF - lowest)
    highest = float(np.finfo(pixels.dtype).max)  # only infinity is above it
    with np.errstate(over="ignore"):
        return pixels > pixels.dtype.type(min(threshold, highest))


def turned(words: Words, width: int) -> Words:
    """The columns of packed rows, as packed rows of their own."""
    columns = np.empty((words.shape[1] * 64, words_per_row(len(words))), np.uint64)
    transpose(words, 0, columns)
    return columns[:width]


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
    """Return `width` pixels of each row from `column` on, as packed rows of their own."""
    first, shift = divmod(column, 64)
    count = words_per_row(width)
    source = words[:, first : (column + width - 1) // 64 + 1]
    out = source[:, :count] >> np.uint64(shift)
    if shift:
        above = source[:, 1 : count + 1]
        out[:, : above.shape[1]] |= above << np.uint64(64 - shift)
    out[:, -1] &= tail_mask(width)
    return out


def count(words: Words) -> int:
    """The number of set bits."""
    return int(_count(words))


def count_common(words: Words, others: Words) -> int:
    """The number of bits that are set in both."""
    return int(_count_common(words, others))


@compiled
def _count(words):  # type: ignore[no-untyped-def]
    total = 0
    for r in range(words.shape[0]):
        for k in range(words.shape[1]):
            total += count_ones(words[r, k])
    return total


@compiled
def _count_common(words, others):  # type: ignore[no-untyped-def]
    total = 0
    for r in range(words.shape[0]):
        for k in range(words.shape[1]):
            total += count_ones(words[r, k] & others[r, k])
    return total


def coverage(words: Words, width: int, scale: int) -> NDArray[np.float32]:
    """The share of set pixels in each scale x scale block. Border blocks may be smaller."""
    height = len(words)
    counts = np.zeros((-(-height // scale), -(-width // scale)), np.int64)
    _count_blocks(words, width, scale, counts)
    rows = np.minimum(scale, height - np.arange(0, height, scale))
    columns = np.minimum(scale, width - np.arange(0, width, scale))
    return (counts / np.multiply.outer(rows, columns)).astype(np.float32)


@compiled
def _count_blocks(words, width, scale, counts):  # type: ignore[no-untyped-def]
    """Add up the set bits of each scale x scale block."""
    for r in range(words.shape[0]):
        line = counts[r // scale]
        for block in range(counts.shape[1]):
            start = block * scale
            last = min(start + scale, width) - 1
            for k in range(start >> 6, (last >> 6) + 1):
                word = words[r, k]
                if k == start >> 6:
                    word &= _ONES << np.uint64(start & 63)
                if k == last >> 6:
                    word &= _ONES >> np.uint64(63 - (last & 63))
                line[block] += count_ones(word)
