"""The labels of one image, read by windows of the image and at a scale."""

from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import GridError
from kernelkit.grid import Window
from kernelkit.labels.planes import Planes, bands_of_rows
from kernelkit.labels.shares import Shares
from kernelkit.mask import BitMask
from kernelkit.mask.resizing import resize
from kernelkit.slide.pixels import area_average, border_indices
from kernelkit.vocabulary import Fill

__all__ = ["ImageLabel"]

# Areas are added up as int64.
_AREA_BYTES = 8


class ImageLabel(AbstractContextManager):
    """The labels of one image. `Labels.of` makes it.

    Parameters
    ----------
    planes
        The labels on their own grid.
    height, width
        Those of the image.
    submitted_size
        Height and width of a submitted mask. None is the image's own size.

    Attributes
    ----------
    height, width
        Those of the image, in pixels.
    classes
        How many classes there are.
    is_soft
        Whether a pixel may be labelled in part.
    notes
        What went otherwise, a sentence each.
    """

    def __init__(
        self,
        planes: Planes,
        height: int,
        width: int,
        submitted_size: tuple[int, int] | None = None,
    ) -> None:
        self.height, self.width = height, width
        self.classes, self.is_soft = planes.classes, planes.is_soft
        self.notes = planes.notes
        self._planes = planes
        self._submitted_size = submitted_size or (height, width)
        # how many a pixel of a plane takes while it is read
        self._bytes = 1 if planes.shape == (height, width) else _AREA_BYTES

    def read(self, window: Window, scale: int = 1, fill: Fill = "zero") -> NDArray[np.uint8]:
        """Read a window, which may reach outside the image, `scale` times smaller.

        Parameters
        ----------
        window
            In pixels of the image.
        scale
            Each pixel is the mean of a square of `scale` x `scale` pixels, as `Slide.read` has it.
        fill
            What stands outside the image, as for `Slide.read`. With "zero" nothing is labelled.

        Returns
        -------
        (K, height / scale, width / scale) uint8: the share of each pixel that is labelled, 0 to
        255. At scale 1 a hard mask has 0 and 255 alone. If its grid is not the image's, a pixel on
        a border may have a share.

        Raises
        ------
        GridError
            The scale does not divide the window.
        LabelError
            The labels' file cannot be read.
        """
        if scale < 1 or window.height % scale or window.width % scale:
            raise GridError(
                f"scale {scale} does not divide a window of {window.height} x {window.width} "
                "pixels. Choose a window whose sides are multiples of it"
            )
        out = np.empty((self.classes, window.height // scale, window.width // scale), np.uint8)
        for band in bands_of_rows(window, self.classes * self._bytes, scale):
            top = (band.row - window.row) // scale
            part = out[:, top : top + band.height // scale]
            if scale == 1:
                part[...] = self._boundless(band, fill)
            else:
                area_average(self._boundless(band, fill), scale, part)
        return out

    def resized(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Read the whole image at another size.

        Parameters
        ----------
        size
            Height and width.

        Returns
        -------
        (K, height, width) uint8: the share of each pixel's area that is labelled, 0 to 255.
        """
        return self._shares(Shares(self._planes.shape, size, self.classes))

    def masks(self) -> list[BitMask]:
        """One mask per class, of the size that is submitted: the truth for an evaluation.

        A pixel is on if more than half of it is labelled.
        """
        return [resize(mask, self._submitted_size) for mask in self._planes.masks()]

    def close(self) -> None:
        """Close the labels' files. The next read opens them again."""
        self._planes.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _boundless(self, window: Window, fill: Fill) -> NDArray[np.uint8]:
        """Read a window that may reach outside the image, at scale 1."""
        inside = window.intersection(Window(0, 0, self.height, self.width))
        if inside == window:
            return self._inside(window)
        if fill == "zero":
            out = np.zeros((self.classes, window.height, window.width), np.uint8)
            if inside.area:
                out[:, *inside.relative_to(window).slices] = self._inside(inside)
            return out
        y = border_indices(window.row, window.height, self.height, fill)
        x = border_indices(window.col, window.width, self.width, fill)
        top, left = int(y.min()), int(x.min())
        source = Window(top, left, int(y.max()) - top + 1, int(x.max()) - left + 1)
        return self._inside(source)[:, y[:, np.newaxis] - top, x - left]

    def _inside(self, window: Window) -> NDArray[np.uint8]:
        """Read a window inside the image, at scale 1, from labels of any grid."""
        shape = self._planes.shape
        if shape == (self.height, self.width):
            return self._planes.read(window)
        return self._shares(Shares(shape, (self.height, self.width), self.classes, window))

    def _shares(self, shares: Shares) -> NDArray[np.uint8]:
        for band in bands_of_rows(shares.source, self.classes):
            shares.add(self._planes.read(band), band)
        return shares.result()
