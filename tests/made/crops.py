"""Images in memory that are cut as those of a folder of cuts, and tables of their windows."""

from dataclasses import dataclass

import numpy as np

from kernelkit.grid import Window
from kernelkit.slide.pixels import border_indices


@dataclass(frozen=True)
class ArrayImage:
    """An image and its labels as arrays."""

    id: str
    pixels: np.ndarray
    labels: np.ndarray
    held: np.ndarray | None = None
    fill: str = "zero"

    @property
    def bands(self):
        return len(self.pixels)

    @property
    def classes(self):
        return len(self.labels)

    @property
    def dtype(self):
        return self.pixels.dtype

    @property
    def bounds(self):
        return Window(0, 0, *self.pixels.shape[1:])

    def read_pixels(self, window):
        return self._read(self.pixels, window)

    def read_labels(self, window):
        return self._read(self.labels, window)

    def read_held(self, window):
        return None if self.held is None else self._read(self.held[np.newaxis], window)[0]

    def _read(self, array, window):
        _, height, width = array.shape
        if self.fill == "zero":
            out = np.zeros((len(array), window.height, window.width), array.dtype)
            inside = window.intersection(self.bounds)
            if inside.area:
                place = inside.relative_to(window).slices
                out[(slice(None), *place)] = array[(slice(None), *inside.slices)]
            return out
        rows = border_indices(window.row, window.height, height, self.fill)
        columns = border_indices(window.col, window.width, width, self.fill)
        return array[:, rows[:, np.newaxis], columns]
