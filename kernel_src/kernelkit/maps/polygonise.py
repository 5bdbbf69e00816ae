"""Polygons of a mask, made from bands of its rows, so that memory does not grow with the mask.

rasterio polygonises one band at a time. Polygons that touch the seam below wait for the next band
and are joined across it. Corners are whole pixels until the end, so nothing is rounded at a seam.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import Polygon

from kernelkit.mask import BitMask

__all__ = ["PIXELS", "polygons"]

# The transform of an image that is no map: its coordinates are columns and rows.
PIXELS = Affine.identity()
# Pixels that are unpacked and polygonised at once.
_PIXELS_AT_ONCE = 1 << 25


def polygons(mask: BitMask, transform: Affine = PIXELS) -> Iterator[Polygon]:
    """Iterate over the polygons of a mask, in the order in which its rows complete them.

    Each is a component of pixels that share sides. Those that share only a corner are two. Holes
    stay holes. All polygons are valid, and `rasterise` gives the mask back.

    Parameters
    ----------
    mask
        The mask.
    transform
        From columns and rows to the coordinates of the map. The default are pixels.
    """
    for finished in _in_pixels(mask, max(1, _PIXELS_AT_ONCE // mask.width)):
        moved = shapely.transform(finished, lambda points: _moved(points, transform))
        yield from moved


def _in_pixels(mask: BitMask, step: int) -> Iterator[NDArray[np.object_]]:
    """Arrays of finished polygons, in columns and rows."""
    waiting: NDArray[np.object_] = np.empty(0, object)
    for top in range(0, mask.height, step):
        bottom = min(top + step, mask.height)
        found = _of_band(mask, top, bottom)
        if len(waiting):
            at_seam = shapely.bounds(found)[:, 1] == top if len(found) else np.empty(0, bool)
            joined = _joined([*waiting, *found[at_seam]])
            found = np.concatenate([joined, found[~at_seam]])
        is_open = shapely.bounds(found)[:, 3] == bottom if len(found) else np.empty(0, bool)
        waiting = found[is_open]
        yield found[~is_open]
    yield waiting


def _of_band(mask: BitMask, top: int, bottom: int) -> NDArray[np.object_]:
    """The polygons of the rows from `top` to `bottom` alone."""
    rows = mask.rows(top, bottom)
    if not rows.words.any():
        return np.empty(0, object)
    pixels = rows.to_array()
    shapes = rasterio.features.shapes(
        pixels, pixels, connectivity=4, transform=Affine.translation(0, top)
    )
    return _as_array([_valid(shape) for shape, _ in shapes])


def _valid(shape: dict) -> Polygon:
    """A polygon from its rings. A hole may be written as a ring that touches itself at a corner."""
    outer, *holes = shape["coordinates"]
    polygon = Polygon(outer, holes)
    return polygon if shapely.is_valid(polygon) else shapely.make_valid(polygon)


def _joined(parts: Sequence[Polygon]) -> NDArray[np.object_]:
    """The parts, of which those that share a side are one. The corners at seams are left out."""
    union = shapely.simplify(shapely.union_all(parts), 0)
    return shapely.get_parts(np.array([union], object))


def _as_array(geometries: Sequence[Polygon]) -> NDArray[np.object_]:
    array = np.empty(len(geometries), object)
    array[:] = geometries
    return array


def _moved(points: NDArray[np.float64], transform: Affine) -> NDArray[np.float64]:
    a, b, c, d, e, f = transform[:6]
    columns, rows = points.T
    return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=-1)
