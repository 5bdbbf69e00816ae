"""From stored probabilities to levels: above how many of the thresholds each pixel is.

The comparison is that of a run, in the whole units of `kernelkit.canvas`. So at the submitted size,
a level is above a threshold if the submitted pixel is on, and only then.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.decision import UNIT
from kernelkit.canvas.stored import Planes, in_units
from kernelkit.evaluation.search.sweep import FULL
from kernelkit.jit import compiled
from kernelkit.mask import BitMask
from kernelkit.mask.resizing import resize

__all__ = ["levels_of", "shares_of"]

# How many pixels of all classes are held as numbers at once.
_AT_ONCE = 1 << 22


def levels_of(
    planes: Planes, thresholds: Sequence[float], labels: Sequence[int], shrink: int = 1
) -> NDArray[np.uint8]:
    """The level of each pixel, for some classes.

    Parameters
    ----------
    planes
        (classes, height, width), uint8 or float32, as a store or `MergedPlanes` gives them.
    thresholds
        Ascending, at most 255.
    labels
        The classes that are wanted.
    shrink
        Each pixel is the mean of a square of so many pixels on a side.

    Returns
    -------
    NDArray
        uint8 (labels, ceil(height / shrink), ceil(width / shrink)).
    """
    classes, height, width = planes.shape
    table = np.searchsorted(
        np.array([np.float32(each * UNIT) for each in thresholds]),
        np.arange(UNIT + 1, dtype=np.float32),
    ).astype(np.uint8)
    levels = np.empty((len(labels), -(-height // shrink), -(-width // shrink)), np.uint8)
    rows = max(1, _AT_ONCE // (classes * width * shrink)) * shrink
    for top in range(0, height, rows):
        units = in_units(planes[:, top : min(top + rows, height)])
        for label, out in zip(labels, levels, strict=True):
            _look_up(units[label], table, shrink, out[top // shrink :])
    return levels


def shares_of(mask: BitMask, size: tuple[int, int], scale: int) -> NDArray[np.uint8]:
    """The share of each pixel of a map that is on in a mask, of 255.

    Parameters
    ----------
    size
        Height and width of the map.
    scale
        How many pixels of the mask one of the map is, on a side. With 1, a mask of another size is
        resized first.
    """
    if scale == 1:
        return resize(mask, size).to_array() * np.uint8(FULL)
    shares = np.empty(size, np.uint8)
    rows = max(1, _AT_ONCE // mask.width)
    for top in range(0, size[0], rows):
        band = mask.rows(top * scale, min((top + rows) * scale, mask.height))
        shares[top : top + rows] = np.rint(band.thumbnail(scale) * FULL)
    return shares


@compiled
def _look_up(units, table, shrink, out):  # type: ignore[no-untyped-def]
    """Write the levels of some rows. At the border, squares are of the pixels that there are."""
    height, width = units.shape
    for y in range((height + shrink - 1) // shrink):
        for x in range(out.shape[1]):
            if shrink == 1:
                out[y, x] = table[np.int64(units[y, x])]
                continue
            bottom, right = min((y + 1) * shrink, height), min((x + 1) * shrink, width)
            total = np.float32(0)
            for r in range(y * shrink, bottom):
                for c in range(x * shrink, right):
                    total += units[r, c]
            count = (bottom - y * shrink) * (right - x * shrink)
            out[y, x] = table[np.int64(total / count + np.float32(0.5))]
