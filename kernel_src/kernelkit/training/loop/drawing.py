"""Pictures of validation images for people: what was found beside what the labels say."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.predict.pictures import as_rgb, drawn_over
from kernelkit.training.loop.validation import Picture

__all__ = ["strip", "thumbnail"]

# The longest side of a panel, and the grey line between two.
_SIDE, _LINE, _GREY = 320, 2, 128
# How many pixels are read at once for a thumbnail.
_BAND = 1 << 24


def thumbnail(picture: Picture, window: Window) -> NDArray[np.uint8]:
    """A part of an image as a small picture, uint8 (h, w, 3). It is read some rows at a time."""
    scale = _scale(window.height, window.width)
    rows = max(1, _BAND // (scale * window.width)) * scale
    parts, dtype = [], np.dtype(np.uint8)
    for row in range(0, window.height, rows):
        band = Window(window.row + row, window.col, min(rows, window.height - row), window.width)
        pixels = picture.read(band)[0]
        dtype = pixels.dtype
        parts.append(_means(np.nan_to_num(pixels.astype(np.float32)), scale))
    small = np.concatenate(parts, 1)
    return as_rgb(np.rint(small).astype(np.uint8) if dtype == np.uint8 else small)


def strip(
    image: NDArray[np.uint8], found: Sequence[BitMask], truth: Sequence[BitMask]
) -> NDArray[np.uint8]:
    """Five panels: the image, it with what was found, that alone, it with the labels, these alone.

    Parameters
    ----------
    image
        The thumbnail of what the masks are about.
    """
    panels = [image]
    for masks in (found, truth):
        shares = [mask.thumbnail(_scale(mask.height, mask.width)) for mask in masks]
        alone = np.repeat(np.max(shares, 0)[..., None], 3, 2)
        panels.append(drawn_over(image, shares))
        panels.append(drawn_over((255 * alone).astype(np.uint8), shares))
    line = np.full((image.shape[0], _LINE, 3), _GREY, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, line)][:-1], 1)


def _scale(height: int, width: int) -> int:
    """How many times smaller a panel is than its image."""
    return max(1, -(-max(height, width) // _SIDE))


def _means(pixels: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """The means of squares. Those at the border repeat it."""
    high, wide = (-side % scale for side in pixels.shape[1:])
    pixels = np.pad(pixels, ((0, 0), (0, high), (0, wide)), "edge")
    bands, height, width = pixels.shape
    return pixels.reshape(bands, height // scale, scale, width // scale, scale).mean((2, 4))
