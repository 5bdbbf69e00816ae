"""Labels that are drawn as polygons: the file's polygons as a mask on the grid of an image."""

from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio.features
import rasterio.transform
import rasterio.warp
import rasterio.windows
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.windows import Window as RasterWindow

from kernelkit.errors import CompetitionError, as_sentence
from kernelkit.grid import Window
from kernelkit.maps.polygonise import PIXELS
from kernelkit.mask import BitMask

__all__ = ["DrawnLabels"]


class DrawnLabels:
    """The polygons of a file, on the grid of one image.

    Parameters
    ----------
    path
        A Shapefile, a GeoPackage or a GeoJSON.
    transform, crs
        Those of the image, as `Slide` has them. If the file has another CRS, its polygons are
        moved into the image's. If one of the two has none, coordinates are taken as they are.

    Attributes
    ----------
    notes
        What went otherwise, one sentence each.

    Raises
    ------
    CompetitionError
        There is no such file, it cannot be read, or it holds no polygons.
    """

    def __init__(
        self, path: str | Path, transform: Affine = PIXELS, crs: CRS | None = None
    ) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._transform = transform
        shapes, own_crs = self._read()
        if crs is not None and own_crs is not None and own_crs != crs:
            shapes = _reprojected(shapes, own_crs, crs)
            self.notes.append(
                f"{self.path.name}: its polygons were moved from {_name(own_crs)} to {_name(crs)}"
            )
        elif (crs is None) != (own_crs is None):
            without = self.path.name if own_crs is None else "the image"
            self.notes.append(f"{self.path.name}: taken as they are, because {without} has no CRS")
        self._tree = shapely.STRtree(shapes)

    def __len__(self) -> int:
        return len(self._tree.geometries)

    def mask(self, window: Window, *, all_touched: bool = True) -> BitMask:
        """The polygons inside a window of the image.

        Parameters
        ----------
        all_touched
            Whether a pixel counts if a polygon touches it. If not, its centre must be inside.
        """
        place = RasterWindow(window.col, window.row, window.width, window.height)
        moved = rasterio.windows.transform(place, self._transform)
        bounds = rasterio.transform.array_bounds(window.height, window.width, moved)
        near = self._tree.query(shapely.box(*bounds))
        shapes = self._tree.geometries.take(np.sort(near))
        if not len(shapes):
            return BitMask.zeros(window.height, window.width)
        pixels = rasterio.features.rasterize(
            shapes,
            (window.height, window.width),
            transform=moved,
            all_touched=all_touched,
            dtype="uint8",
        )
        return BitMask.from_array(pixels)

    def _read(self) -> tuple[NDArray[np.object_], CRS | None]:
        """The file's polygons, and its CRS."""
        try:
            meta, _, wkb, _ = pyogrio.raw.read(self.path, columns=[])
            shapes = shapely.from_wkb(wkb)
            crs = None if meta["crs"] is None else CRS.from_user_input(meta["crs"])
        except (
            *(DataSourceError, DataLayerError, CRSError, OSError),
            *(shapely.GEOSException, TypeError, ValueError),
        ) as error:
            raise CompetitionError(
                f"{self.path}: the labels cannot be read ({as_sentence(error)}). Wanted a"
                " Shapefile, a GeoPackage or a GeoJSON"
            ) from error
        kinds = shapely.get_type_id(shapes)
        areas = np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON))
        if not areas.any() and len(shapes):
            raise CompetitionError(
                f"{self.path}: it holds {len(shapes)} shapes, and none is a polygon. Wanted"
                " polygons"
            )
        if not areas.all():
            self.notes.append(f"{self.path.name}: {(~areas).sum()} shapes that are no polygons")
        return shapes[areas], crs


def _reprojected(shapes: NDArray[np.object_], source: CRS, target: CRS) -> NDArray[np.object_]:
    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(rasterio.warp.transform(source, target, *points.T), axis=-1)

    return shapely.transform(shapes, moved)


def _name(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_string()[:60]
