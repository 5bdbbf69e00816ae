"""Polygons of an image at the training scale: where their centres are, and places inside them."""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from kernelkit.maps import DrawnLabels
from kernelkit.training.cuts.image import CutImage

__all__ = ["Regions"]

# So many places are tried per place inside a polygon that is wanted.
_TRIES = 64


class Regions:
    """The polygons of one image.

    Parameters
    ----------
    drawn
        The polygons, on the grid of the image's file.
    image
        The image at the training scale.
    before
        What was added above and left of the file's pixels.
    """

    def __init__(self, drawn: DrawnLabels, image: CutImage, before: int = 0) -> None:
        step = np.array(image.source_step[::-1])
        self._polygons = shapely.transform(
            drawn.in_pixels(), lambda points: (points + before) / step
        )

    @property
    def centroids(self) -> NDArray[np.float64]:
        """Of each polygon: the row and the column of a pixel, (n, 2)."""
        return _as_pixels(shapely.get_coordinates(shapely.centroid(self._polygons)))

    def places(self, count: int, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        """Iterate over random places inside each polygon, (count, 2) as `centroids` has them."""
        for polygon in self._polygons:
            left, top, right, bottom = polygon.bounds
            tried = random.uniform((left, top), (right, bottom), (_TRIES * count, 2))
            inside = tried[shapely.contains_xy(polygon, tried)][:count]
            if not len(inside):  # it is as thin as a line
                inside = shapely.get_coordinates(polygon.representative_point())
            yield _as_pixels(inside)


def _as_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """From x and y, counted from the image's corner, to the row and the column of a pixel."""
    return points[:, ::-1] - 0.5
