"""What masks refuse: sizes, numbers, places, words and pixels that no mask can have.

The functions return the value as a mask needs it, or raise a `MaskError` that says what is wanted.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelkit.errors import MaskError, kind_of
from kernelkit.mask.bits import Words, tail_mask, words_per_row
from kernelkit.vocabulary import Connectivity, Keep, choices

__all__ = [
    "choices_of",
    "number",
    "pixels_of",
    "refuse_connectivity",
    "refuse_keep",
    "refuse_nan",
    "refuse_outside",
    "size",
    "size_of_words",
    "too_large",
    "whole",
]

# What an int64 counts, and far more than any memory holds.
_MOST_PIXELS = 1 << 60


def size(given: Any) -> tuple[int, int]:
    """The height and width of a mask as whole numbers of at least 1."""
    try:
        if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
            raise TypeError
        height, width = (_index(side) for side in given)
    except (TypeError, ValueError):
        raise MaskError(
            f"a mask of size {given!r:.60} was requested. It needs two whole numbers, height and"
            " width"
        ) from None
    if height < 1 or width < 1:
        raise MaskError(
            f"a mask of {height} x {width} pixels was requested. It needs at least one pixel"
        )
    if height * width > _MOST_PIXELS:
        raise too_large(height, width)
    return height, width


def too_large(height: int, width: int) -> MaskError:
    """The error for a mask that no memory holds."""
    return MaskError(
        f"a mask of {height} x {width} pixels takes {height * width / 8e9:.3g} GB, and so much"
        " memory is not free. Check the size"
    )


def size_of_words(words: Words, width: int) -> tuple[int, int]:
    """The height and width of the mask that packed words are, see `BitMask`."""
    if not isinstance(words, np.ndarray) or words.dtype != np.uint64 or words.ndim != 2:
        kind = getattr(words, "dtype", type(words).__name__)
        raise MaskError(
            f"a mask was given {kind} words of shape {np.shape(words)}."
            " It needs an array of uint64 words (height, ceil(width / 64))"
        )
    height = len(words)
    if type(width) is not int or not 0 < width * height <= _MOST_PIXELS:
        height, width = size((height, width))
    if words.shape[1] != words_per_row(width):
        raise MaskError(
            f"a mask of width {width} was given {words.shape[1]} words per row."
            f" It needs {words_per_row(width)}"
        )
    if (words[:, -1] & ~tail_mask(width)).any():
        raise MaskError(
            f"a mask of width {width} was given words with bits past the last column."
            " Set those to 0"
        )
    return height, width


def _index(number: Any) -> int:
    """The whole number that a value is. Truth values are none."""
    if isinstance(number, bool | np.bool_):
        raise TypeError
    return operator.index(number)


def whole(what: str, given: Any, least: int | None = None) -> int:
    """A value as a whole number that is not below `least`. Errors call it `what`."""
    try:
        found = _index(given)
    except TypeError:
        raise MaskError(f"{what} was {given!r:.60}. It needs a whole number") from None
    if least is not None and found < least:
        raise MaskError(f"{what} was {found}. It needs at least {least}")
    return found


def number(what: str, given: Any, least: float = -math.inf) -> float:
    """A value as a finite number that is not below `least`. Errors call it `what`."""
    try:
        finite = np.ndim(given) == 0 and math.isfinite(given)
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise MaskError(f"{what} was {given!r:.60}. It needs a finite number")
    if given < least:
        raise MaskError(f"{what} was {given}. It needs at least {least:g}")
    return float(given)


def refuse_outside(shape: tuple[int, int], row: int, col: int, height: int, width: int) -> None:
    """Refuse a window that does not lie inside a mask of this shape."""
    for part in (row, col, height, width):
        whole("a place in a mask", part)
    inside = 0 <= row <= row + height <= shape[0] and 0 <= col <= col + width <= shape[1]
    if not inside or height < 1 or width < 1:
        raise MaskError(
            f"a window of {height} x {width} pixels at ({row}, {col}) does not lie inside"
            f" the mask of {shape[0]} x {shape[1]}. Cut it to the mask first"
        )


def pixels_of(array: ArrayLike) -> NDArray:
    """An array (height, width) of bool, integers or floats."""
    if isinstance(array, np.ma.MaskedArray):
        raise MaskError(
            "a mask was to be made from a masked array. Say first what its masked pixels are, for"
            " example with array.filled(0)"
        )
    try:
        pixels = np.asarray(array)
    except (TypeError, ValueError, RuntimeError):  # a tensor on a device, rows of unequal length
        raise MaskError(
            f"a mask was to be made from {kind_of(array)} that is no array."
            " It needs an array (height, width) in the host's memory"
        ) from None
    if pixels.ndim != 2:
        raise MaskError(
            f"a mask was to be made from an array of shape {pixels.shape}."
            " It needs two dimensions, (height, width)"
        )
    if pixels.dtype.kind not in "buif":
        raise MaskError(
            f"a mask was to be made from an array of {pixels.dtype}."
            " It needs bool, integers or floats"
        )
    return pixels


def refuse_nan(pixels: NDArray) -> NoReturn:
    """Refuse an array with NaN, and name the first place."""
    row, col = np.argwhere(np.isnan(pixels))[0].tolist()
    raise MaskError(
        f"a mask was to be made from an array with NaN, the first at ({row}, {col}). Say"
        " first what such pixels are, for example with np.nan_to_num"
    )


def choices_of(keep: ArrayLike, components: int) -> NDArray[np.bool_]:
    """One bool per component."""
    chosen = np.asarray(keep)
    if chosen.shape != (components,) or chosen.dtype != np.bool_:
        raise MaskError(
            f"{chosen.size} choices were given for {components} components, as"
            f" {chosen.dtype}. Give one bool per component, in the order of `components` at the"
            " same connectivity"
        )
    return chosen


def refuse_connectivity(connectivity: int) -> None:
    """Refuse a connectivity that does not exist."""
    if connectivity not in get_args(Connectivity):
        raise MaskError(f"connectivity {connectivity} was requested. It is {choices(Connectivity)}")


def refuse_keep(keep: str) -> None:
    """Refuse a comparison that does not exist."""
    if keep not in get_args(Keep):
        raise MaskError(
            f"components of an area {keep!r} the minimum were requested. `keep` is {choices(Keep)}"
        )
