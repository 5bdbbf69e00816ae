"""The labels of one image on the grid that they come in: one plane of pixels per class."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.mask import BitMask

__all__ = ["EncodedPlanes", "Planes", "bands_of_rows"]

# How many bytes of pixels are made at a time.
_BAND_BYTES = 32 << 20
# A pixel is part of a mask if more than half of it is labelled.
_HALF = 127


class Planes(ABC):
    """What each form of labels gives for one image.

    Attributes
    ----------
    shape
        Height and width of the grid, in pixels. It may differ from the image's.
    classes
        How many planes there are.
    is_soft
        Whether a pixel may be labelled in part.
    notes
        What went otherwise, a sentence each.
    """

    is_soft = False

    def __init__(self, shape: tuple[int, int], classes: int) -> None:
        self.shape = shape
        self.classes = classes
        self.notes: list[str] = []

    @abstractmethod
    def read(self, window: Window) -> NDArray[np.uint8]:
        """The share of each pixel that is labelled, (K, h, w), 0 to 255. The window is inside."""

    def masks(self) -> list[BitMask]:
        """One mask per class, of the pixels that are labelled for more than half."""
        found = [BitMask.zeros(*self.shape) for _ in range(self.classes)]
        for rows in bands_of_rows(Window(0, 0, *self.shape), self.classes):
            for mask, plane in zip(found, self.read(rows), strict=True):
                if plane.any():
                    mask.paste(rows.row, 0, plane, _HALF)
        return found

    def close(self) -> None:  # noqa: B027  # most forms hold no file
        """Close the files."""


class EncodedPlanes(Planes):
    """Masks in packed bits, as run-length encodings become."""

    def __init__(self, masks: Sequence[BitMask]) -> None:
        super().__init__(masks[0].shape, len(masks))
        self._masks = list(masks)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `Planes`."""
        out = np.zeros((self.classes, window.height, window.width), np.uint8)
        for plane, mask in zip(out, self._masks, strict=True):
            part = mask.crop(*window)
            if part.words.any():
                np.multiply(part.to_array(), np.uint8(255), out=plane)
        return out

    def masks(self) -> list[BitMask]:
        """See `Planes`."""
        return self._masks


def bands_of_rows(window: Window, planes: int, step: int = 1) -> Iterator[Window]:
    """Part a window into bands of rows that take little memory.

    Parameters
    ----------
    planes
        How many bytes a pixel takes.
    step
        The height of each band but the last is a multiple of it.
    """
    rows = max(1, _BAND_BYTES // (max(1, window.width) * planes * step)) * step
    for row in range(window.row, window.bottom, rows):
        yield Window(row, window.col, min(rows, window.bottom - row), window.width)
