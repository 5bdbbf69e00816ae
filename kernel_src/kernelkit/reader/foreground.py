"""Which tiles of a grid are worth reading, judged on a thumbnail.

Most of a slide is glass. A tile without foreground is background and need not be predicted. The
report counts it as skipped. There are two rules, as winners used them:

- `saturation`: stained tissue is coloured, while glass and shadows are grey. A tile is kept if more
  than .015 of it has an HSV saturation above 40. HuBMAP 2021's 3rd place asked for more than 1000
  of 256^2 pixels.
- `grey`: scanners fill what they skipped with black, and glass is white. A tile is kept if more
  than a fraction of it lies between two grey values. HuBMAP 2021's 2nd place took 10 and 205 to
  leave empty tiles out of training. UBC-OCEAN's winners asked for a fraction of .25 of a patch.

`tiles_in_mask` takes any other mask of the foreground, such as regions that somebody drew.
"""

import numpy as np

from kernelkit.errors import GridError
from kernelkit.grid import TileGrid
from kernelkit.recipe import ForegroundRule
from kernelkit.slide import Slide

__all__ = ["foreground_mask", "foreground_tiles", "tiles_in_mask"]


def foreground_tiles(slide: Slide, grid: TileGrid, rule: ForegroundRule | None) -> list[int]:
    """Return the indices of the tiles to read, ascending. Without a rule it is all of them.

    Unless the file has overviews, its thumbnail costs as much as reading it. That pays if the
    models cost more.
    """
    if rule is None:
        return list(range(len(grid)))
    longest = max(slide.height, slide.width)
    thumbnail = slide.thumbnail(-(-longest // rule.scale))
    return tiles_in_mask(foreground_mask(thumbnail, rule), grid, rule.fraction)


def foreground_mask(pixels: np.ndarray, rule: ForegroundRule) -> np.ndarray:
    """Return where pixels (C, h, w) are foreground, (h, w) bool.

    Saturation is OpenCV's, 255 (max - min) / max over the bands. Grey is the mean of the bands, in
    the image's own units.
    """
    values = pixels.astype(np.float32)
    if rule.rule == "saturation":
        brightest = values.max(axis=0)
        difference = brightest - values.min(axis=0)
        return difference * 255 > rule.above * brightest
    grey = values.mean(axis=0)
    return (rule.above < grey) & (grey < rule.below)


def tiles_in_mask(mask: np.ndarray, grid: TileGrid, fraction: float = 0.0) -> list[int]:
    """Return the indices of the tiles whose core lies in a mask, ascending.

    Parameters
    ----------
    mask
        (h, w) bool. It shows the whole image, at any resolution.
    grid
        The tiles to choose from.
    fraction
        More than this share of a core must lie in the mask.

    Raises
    ------
    GridError
        The mask is not (h, w), or is empty.
    """
    if mask.ndim != 2 or not mask.size:
        raise GridError(f"found a mask of shape {mask.shape}, wanted (height, width)")
    # The sums over all rectangles from the upper left corner. Four of them give any rectangle's.
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    kept = []
    for tile in grid:
        top, bottom = _span(tile.core.row, tile.core.bottom, mask.shape[0], grid.height)
        left, right = _span(tile.core.col, tile.core.right, mask.shape[1], grid.width)
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        if inside > fraction * (bottom - top) * (right - left):
            kept.append(tile.index)
    return kept


def _span(start: int, stop: int, size: int, length: int) -> tuple[int, int]:
    """Carry [start, stop) from an axis of `length` pixels to one of `size`, rounded outward."""
    return start * size // length, -(-stop * size // length)
