"""One image at the training scale, with its labels: any window of it, fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from kernelkit.grid import Window, placed
from kernelkit.slide.pixels import border_indices
from kernelkit.training.cuts.blocks import BlockArray
from kernelkit.vocabulary import Fill

__all__ = ["CutImage"]


@dataclass(frozen=True)
class CutImage:
    """An image as networks see it, at the training scale. It is cheap to pickle.

    Attributes
    ----------
    id, group
        Its id, and what it belongs to.
    fill
        What stands outside of it, in pixels and labels alike.
    facts
        What is known of the file: its size, its place on the map, and notes.
    """

    id: str
    group: str
    fill: Fill
    facts: Mapping[str, Any]
    _pixels: BlockArray
    _labels: BlockArray
    _missing: BlockArray | None = None

    @property
    def bands(self) -> int:
        """The image's bands."""
        return self._pixels.shape[0]

    @property
    def classes(self) -> int:
        """The classes of its labels."""
        return self._labels.shape[0]

    @property
    def height(self) -> int:
        """Rows at the training scale."""
        return self._pixels.shape[1]

    @property
    def width(self) -> int:
        """Columns at the training scale."""
        return self._pixels.shape[2]

    @property
    def bounds(self) -> Window:
        """The whole image as a window."""
        return Window(0, 0, self.height, self.width)

    @property
    def dtype(self) -> np.dtype:
        """That of the pixels, which is the source's."""
        return np.dtype(self._pixels.dtype)

    @property
    def lacks_data(self) -> bool:
        """Whether some pixels hold no data."""
        return self._missing is not None

    @property
    def source_shape(self) -> tuple[int, int]:
        """Height and width of the file's own pixels."""
        height, width = self.facts["source"]
        return height, width

    @property
    def source_step(self) -> tuple[float, float]:
        """How many rows and columns of the file, with its pads, make one of the training scale."""
        down, across = self.facts["step"]
        return down, across

    @property
    def source_transform(self) -> Affine:
        """From columns and rows of the file to the map. Without a map, the identity."""
        return Affine(*self.facts["transform"])

    @property
    def transform(self) -> Affine:
        """From columns and rows of the training scale to the map, or to the file's pixels."""
        down, across = self.source_step
        seen = Window(0, 0, round(self.height * down), round(self.width * across))
        return placed(seen, self.source_transform, (self.height, self.width))

    @property
    def crs(self) -> CRS | None:
        """The map's, or None."""
        crs = self.facts["crs"]
        return None if crs is None else CRS.from_wkt(crs)

    def read(
        self, window: Window
    ) -> tuple[np.ndarray, NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Read a window, which may reach outside of the image.

        Parameters
        ----------
        window
            In pixels of the training scale.

        Returns
        -------
        The pixels (C, height, width) in the image's dtype. The labels (K, height, width) uint8, the
        share of each pixel that is of a class. Where there is data, (height, width) bool, or None
        if the whole image holds data.
        """
        return self.read_pixels(window), self.read_labels(window), self.read_held(window)

    def read_pixels(self, window: Window) -> np.ndarray:
        """The pixels of a window, (C, height, width)."""
        return _filled(self._pixels, window, self.fill)

    def read_labels(self, window: Window) -> NDArray[np.uint8]:
        """The labels of a window, (K, height, width)."""
        return _filled(self._labels, window, self.fill)

    def read_held(self, window: Window) -> NDArray[np.bool_] | None:
        """Where a window holds data. Zeros outside of an image that lacks data are none."""
        if self._missing is None:
            return None
        missing = _filled(self._missing, window, self.fill, outside=1)
        return missing[0] == 0


def _filled(array: BlockArray, window: Window, fill: Fill, outside: int = 0) -> np.ndarray:
    """Read a window of an array, with what stands outside of it."""
    bands, height, width = array.shape
    bounds = Window(0, 0, height, width)
    inside = window.intersection(bounds)
    if inside == window:
        return array.read(window)
    if fill == "zero":
        out = np.full((bands, window.height, window.width), outside, array.dtype)
        if inside.area:
            out[(slice(None), *inside.relative_to(window).slices)] = array.read(inside)
        return out
    rows = border_indices(window.row, window.height, height, fill)
    columns = border_indices(window.col, window.width, width, fill)
    top, left = int(rows.min()), int(columns.min())
    near = Window(top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left)
    return array.read(near)[:, (rows - top)[:, np.newaxis], columns - left]
