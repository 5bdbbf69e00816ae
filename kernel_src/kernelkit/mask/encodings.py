"""The run-length encodings of arrays, for those who need no `BitMask`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelkit.mask import rle
from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.texts import LARGEST
from kernelkit.vocabulary import Order

__all__ = ["rle_check", "rle_decode", "rle_encode"]


def rle_encode(
    mask: ArrayLike | BitMask, order: Order = "column", base: int = 1, empty: str = ""
) -> str:
    """The run-length encoding of a mask or of an array, as by `BitMask.to_rle`.

    Parameters
    ----------
    mask
        A `BitMask`, or an array (height, width). Pixels of an array that are not 0 are on.
    order
        The order of the pixels: down the columns, or along the rows.
    base
        The number of the first pixel: 0 or 1.
    empty
        What stands for a mask without pixels.

    >>> rle_encode(np.eye(3))
    '1 1 5 1 9 1'
    """
    mask = mask if isinstance(mask, BitMask) else BitMask.from_array(mask)
    return mask.to_rle(order, base, empty)


def rle_decode(
    text: str, shape: tuple[int, int], order: Order = "column", base: int = 1, empty: str = ""
) -> NDArray[np.uint8]:
    """The uint8 array (height, width) of 0 and 1 of an encoding, as by `BitMask.from_rle`.

    Parameters
    ----------
    text
        The encoding.
    shape
        Height and width.
    order
        The order of the pixels: down the columns, or along the rows.
    base
        The number of the first pixel: 0 or 1.
    empty
        What stands for a mask without pixels.

    >>> rle_decode("1 3", (2, 2))
    array([[1, 1],
           [1, 0]], dtype=uint8)
    """
    return BitMask.from_rle(text, shape, order, base, empty).to_array()


def rle_check(text: str, base: int = 1, empty: str = "") -> None:
    """Refuse a run-length encoding that no image has, whatever its size.

    Parameters
    ----------
    text
        The encoding.
    base
        The number of the first pixel: 0 or 1.
    empty
        What stands for a mask without pixels.

    Raises
    ------
    MaskError
        The text is anything but ascending, separate runs of positive length.

    >>> rle_check("1 2 5 1")
    """
    rle.check_convention("column", base, empty)
    if not rle.is_empty(text, empty):
        rle.parse_runs(text, LARGEST, base)
