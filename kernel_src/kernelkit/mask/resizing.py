"""A mask at another size, from packed bits to packed bits."""

import numpy as np

from kernelkit.jit import compiled, trailing_zeros
from kernelkit.mask import checks
from kernelkit.mask.bitmask import BitMask

__all__ = ["resize"]


def resize(mask: BitMask, size: tuple[int, int]) -> BitMask:
    """A mask of another size. A pixel is on if more than half of its area was.

    Areas are whole numbers, so the result is exact. Memory does not grow with the mask's height.

    Parameters
    ----------
    mask
        The mask.
    size
        The height and width wanted.

    >>> resize(BitMask.from_array([[1, 1, 0, 0], [1, 0, 0, 1]]), (1, 2)).to_array()
    array([[1, 0]], dtype=uint8)
    """
    size = checks.size(size)
    if size == mask.shape:
        return mask
    out = BitMask.zeros(*size)
    _resize(mask.words, mask.width, out.words, out.width)
    return out


@compiled
def _resize(words, width, out, out_width):  # type: ignore[no-untyped-def]
    """Fill `out`, all 0, with the pixels of which more than half is on in `words`.

    Both pictures lie on a grid of `height * out_height` rows and `width * out_width` columns. A
    pixel of `words` is `out_height` x `out_width` of its squares.
    """
    height, out_height = words.shape[0], out.shape[0]
    half = height * width
    column = np.empty(width, np.int64)
    for out_row in range(out_height):
        top, bottom = out_row * height, (out_row + 1) * height
        column[:] = 0
        for row in range(top // out_height, (bottom + out_height - 1) // out_height):
            rows_on = min(bottom, (row + 1) * out_height) - max(top, row * out_height)
            for k in range(words.shape[1]):
                word = words[row, k]
                while word:
                    column[k * 64 + trailing_zeros(word)] += rows_on
                    word &= word - np.uint64(1)
        for out_column in range(out_width):
            left, right = out_column * width, (out_column + 1) * width
            area = 0
            for c in range(left // out_width, (right + out_width - 1) // out_width):
                area += column[c] * (min(right, (c + 1) * out_width) - max(left, c * out_width))
            if 2 * area > half:
                out[out_row, out_column >> 6] |= np.uint64(1) << np.uint64(out_column & 63)
