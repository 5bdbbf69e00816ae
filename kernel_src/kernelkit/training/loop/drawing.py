"""Pictures of a training for people: what was found beside what is there, and sheets of crops."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.training.loop.validation import Picture

__all__ = ["as_rgb", "contact_sheet", "strip", "thumbnail"]

# Of each class in turn.
_COLOURS = ((120, 255, 90), (255, 180, 40), (80, 200, 255), (255, 90, 200), (250, 250, 80))
# The longest side of one panel of a strip, and the side of a crop on a sheet.
_SIDE, _CROP = 320, 128
# How many pixels are read at once for a thumbnail.
_BAND = 1 << 24
# The share of the pixels at each end that may become black or white.
_ENDS = (1, 99)


def scale_of(height: int, width: int) -> int:
    """How many times smaller a panel is than its image."""
    return max(1, -(-max(height, width) // _SIDE))


def thumbnail(picture: Picture, window: Window) -> NDArray:
    """The means of squares of an image, (C, h, w), float32. It is read some rows at a time."""
    scale = scale_of(window.height, window.width)
    rows = max(1, _BAND // (scale * window.width)) * scale
    parts = []
    for row in range(0, window.height, rows):
        band = Window(window.row + row, window.col, min(rows, window.height - row), window.width)
        pixels = np.nan_to_num(picture.read(band)[0].astype(np.float32))
        high, wide = (-side % scale for side in pixels.shape[1:])
        pixels = np.pad(pixels, ((0, 0), (0, high), (0, wide)), "edge")
        count, height, width = pixels.shape
        squares = pixels.reshape(count, height // scale, scale, width // scale, scale)
        parts.append(squares.mean((2, 4)))
    return np.concatenate(parts, 1)


def as_rgb(pixels: NDArray, like: np.dtype | None = None) -> NDArray[np.uint8]:
    """Bands (C, h, w) as a picture (h, w, 3). Bands that are no bytes are stretched.

    Parameters
    ----------
    like
        The dtype of the image, if `pixels` are means of it.
    """
    bands = {1: (0, 0, 0), 2: (0, 1, 0)}.get(len(pixels), (0, 1, 2))
    chosen = pixels[list(bands)].astype(np.float32)
    if (like or pixels.dtype) != np.uint8:
        low, high = np.percentile(chosen, _ENDS, axis=(1, 2), keepdims=True)
        chosen = 255 * (chosen - low) / np.maximum(high - low, 1e-6)
    picture: NDArray[np.uint8] = np.rint(np.clip(chosen, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(picture, 0, 2))


def strip(
    image: NDArray[np.uint8], found: Sequence[BitMask], truth: Sequence[BitMask]
) -> NDArray[np.uint8]:
    """Five panels: the image, it with what was found, that alone, it with the labels, these alone.

    Parameters
    ----------
    image
        (h, w, 3), of the masks' size or smaller.
    """
    panels = [image]
    for masks in (found, truth):
        over, alone = image.copy(), np.zeros_like(image)
        for mask, colour in zip(masks, cycle(_COLOURS), strict=False):
            share = mask.thumbnail(scale_of(mask.height, mask.width))
            tint = np.array(colour, np.float32)
            alone = np.maximum(alone, (share[..., None] * tint).astype(np.uint8))
            strength = 0.35 * share[..., None]
            over = (over * (1 - strength) + tint * strength).astype(np.uint8)
            edges, _ = cv2.findContours(
                (share >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            over = np.asarray(cv2.drawContours(over, edges, -1, colour, 1), np.uint8)
        panels += [over, alone]
    line = np.full((image.shape[0], 2, 3), 128, np.uint8)
    parts = [part for panel in panels for part in (panel, line)][:-1]
    return np.concatenate(parts, 1)


def contact_sheet(pixels: Tensor, targets: Any) -> NDArray[np.uint8]:
    """Crops as the network sees them, with their labels outlined, in rows of as many.

    Parameters
    ----------
    pixels
        float32 (N, C, h, w).
    targets
        Labels (N, K, h, w) from 0 to 1. Of a classifier they are not drawn.
    """
    count = min(len(pixels), 16)
    columns = int(np.ceil(np.sqrt(count)))
    labels = targets.float().cpu().numpy() if getattr(targets, "ndim", 0) == 4 else None
    cells = []
    for number in range(count):
        cell = as_rgb(pixels[number].float().cpu().numpy())
        cell = np.asarray(cv2.resize(cell, (_CROP, _CROP), interpolation=cv2.INTER_AREA), np.uint8)
        if labels is not None:
            for plane, colour in zip(labels[number], cycle(_COLOURS), strict=False):
                size = (_CROP, _CROP)
                small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA) >= 0.5
                edges, _ = cv2.findContours(
                    small.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
                )
                cell = np.asarray(cv2.drawContours(cell, edges, -1, colour, 1), np.uint8)
        cells.append(cell)
    cells += [np.zeros_like(cells[0])] * (-count % columns)
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows, 0)
