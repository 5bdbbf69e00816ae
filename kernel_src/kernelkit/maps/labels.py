"""Labels that are drawn as polygons: the file's polygons as a mask on the grid of an image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import rasterio.features
import rasterio.transform
import rasterio.warp
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from kernelkit.errors import CompetitionError, as_sentence, listed
from kernelkit.grid import Window, placed
from kernelkit.maps.geojson import SUFFIXES, read_geojson
from kernelkit.maps.polygonise import PIXELS
from kernelkit.maps.vector_file import METRES_OF_AN_EDGE
from kernelkit.mask import BitMask

__all__ = ["DrawnLabels"]

# so many classes are named in a message
_SHOWN = 10
# A straight line in degrees is a curve on the map. Corners so far apart follow it to centimetres.
_DEGREES_OF_AN_EDGE = 0.01
# A shape may have so many of them from end to end. The earth has half as many around it.
_MOST_STEPS = 100_000


class DrawnLabels:
    """The polygons of a file, on the grid of one image.

    Parameters
    ----------
    path
        A Shapefile, a GeoPackage or a GeoJSON. GeoJSON may be a bare list of features, as QuPath
        and HuBMAP write it.
    transform, crs
        Those of the image, as `Slide` has them. If the file has another CRS, its polygons are
        moved into the image's. If one of the two has none, coordinates are taken as they are.
    names
        Classes of the polygons to take, of a GeoJSON: `properties.classification.name`, or
        `properties.name`. None takes all polygons.
    required
        Whether a file without polygons of these classes is an error.

    Attributes
    ----------
    notes
        What went otherwise, one sentence each.
    classes
        The classes that a GeoJSON has, of which some were to be taken. Else empty.

    Raises
    ------
    CompetitionError
        There is no such file, it cannot be read, or it holds no such polygons.
    """

    def __init__(
        self,
        path: str | Path,
        transform: Affine = PIXELS,
        crs: CRS | None = None,
        names: Sequence[str] | None = None,
        *,
        required: bool = True,
    ) -> None:
        self.path = Path(path)
        self._required = required
        self.notes: list[str] = []
        self.classes: tuple[str, ...] = ()
        self._transform = transform
        shapes, own_crs = self._read(names)
        if self._is_geojson and crs is None:
            own_crs = None  # polygons in pixels are written without a word
        if crs is not None and own_crs is not None and own_crs != crs:
            shapes = self._reprojected(shapes, own_crs, crs)
            self.notes.append(
                f"{self.path.name}: its polygons were moved from {_name(own_crs)} to {_name(crs)}"
            )
        elif (crs is None) != (own_crs is None):
            without = self.path.name if own_crs is None else "the image"
            self.notes.append(f"{self.path.name}: taken as they are, because {without} has no CRS")
        self._tree = shapely.STRtree(shapes)

    def __len__(self) -> int:
        return len(self._tree.geometries)

    def in_pixels(self) -> NDArray[np.object_]:
        """The polygons in pixels of the image: x is a column, and (0, 0) the image's corner."""
        a, b, c, d, e, f = (~self._transform)[:6]

        def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = points[:, 0], points[:, 1]
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

        polygons: NDArray[np.object_] = shapely.transform(self._tree.geometries, moved)
        return polygons

    def touch(self, window: Window) -> bool:
        """Whether the bounds of any polygon meet a window of the image."""
        return len(self._tree.query(self._box(window))) > 0

    def mask(self, window: Window, *, all_touched: bool = True, scale: int = 1) -> BitMask:
        """The polygons inside a window of the image.

        Parameters
        ----------
        all_touched
            Whether a pixel counts if a polygon touches it. If not, its centre must be inside.
        scale
            The mask is so many times smaller, rounded up. It shows the whole window.
        """
        shape = -(-window.height // scale), -(-window.width // scale)
        moved = placed(window, self._transform, shape)
        near = self._tree.query(self._box(window))
        shapes = self._tree.geometries.take(np.sort(near))
        if not len(shapes):
            return BitMask.zeros(*shape)
        pixels = rasterio.features.rasterize(
            shapes, shape, transform=moved, all_touched=all_touched, dtype="uint8"
        )
        return BitMask.from_array(pixels)

    def _box(self, window: Window) -> shapely.Polygon:
        moved = placed(window, self._transform)
        return shapely.box(*rasterio.transform.array_bounds(window.height, window.width, moved))

    @property
    def _is_geojson(self) -> bool:
        return self.path.suffix.lower() in SUFFIXES

    def _read(self, names: Sequence[str] | None) -> tuple[NDArray[np.object_], CRS | None]:
        """The file's polygons of these classes, and its CRS."""
        if self._is_geojson:
            return self._from_geojson(names)
        if names is not None:
            raise CompetitionError(
                f"{self.path}: classes are chosen by name in a GeoJSON alone. Leave out the names"
            )
        try:
            first, *others = pyogrio.list_layers(self.path)[:, 0].tolist()
            if others:
                self.notes.append(
                    f"{self.path.name}: only the layer {first} is read, and not"
                    f" {listed(others, _SHOWN)}"
                )
            meta, _, wkb, _ = pyogrio.raw.read(self.path, layer=first, columns=[])
            shapes = shapely.from_wkb(wkb)
            crs = None if meta["crs"] is None else CRS.from_user_input(meta["crs"])
        except Exception as error:  # what reads them fails in many ways if a part is damaged
            raise CompetitionError(
                f"{self.path}: the labels cannot be read ({as_sentence(error)}). Wanted a"
                " Shapefile, a GeoPackage or a GeoJSON"
            ) from error
        return self._polygons(shapes), crs

    def _polygons(self, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        kinds = shapely.get_type_id(shapes)
        areas = np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON))
        areas &= ~shapely.is_empty(shapes)
        self._say_others(int((~areas).sum()), int(areas.sum()))
        return shapes[areas]

    def _from_geojson(self, names: Sequence[str] | None) -> tuple[NDArray[np.object_], CRS | None]:
        try:
            drawn = read_geojson(self.path)
        except (CRSError, OSError, ValueError, shapely.GEOSException) as error:
            reason = str(error) if type(error) is ValueError else as_sentence(error)
            raise CompetitionError(
                f"{self.path}: the labels cannot be read ({reason}). Wanted polygons as GeoJSON"
            ) from error
        self._say_others(drawn.others, len(drawn.polygons))
        shapes = np.empty(len(drawn.polygons), object)
        shapes[:] = drawn.polygons
        if names is None:
            return shapes, drawn.crs
        self.classes = tuple(sorted(set(filter(None, drawn.names))))
        chosen = np.isin(drawn.names, list(names)) if drawn.names else np.empty(0, bool)
        if self._required and not chosen.any():
            known = ", ".join(self.classes[:_SHOWN]) or "no class"
            raise CompetitionError(
                f"{self.path}: found {known}, wanted polygons of {' or '.join(names)}. Correct the"
                " names"
            )
        return shapes[chosen], drawn.crs

    def _reprojected(
        self, shapes: NDArray[np.object_], source: CRS, target: CRS
    ) -> NDArray[np.object_]:
        """The shapes in the CRS of the image."""

        def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack(rasterio.warp.transform(source, target, *points.T), axis=-1)

        try:
            found: NDArray[np.object_] = shapely.transform(_with_corners(shapes, source), moved)
            reason = "they have no place there" if np.isinf(shapely.bounds(found)).any() else ""
        except (RasterioError, CPLE_BaseError) as error:
            reason = as_sentence(error)
        if reason:
            raise CompetitionError(
                f"{self.path}: its polygons cannot be moved from {_name(source)} to"
                f" {_name(target)} ({reason}). Correct the file's CRS, or the order of its"
                " coordinates"
            )
        return found

    def _say_others(self, others: int, polygons: int) -> None:
        """Say that some shapes are no polygons. It is an error if all are such."""
        if others and not polygons:
            raise CompetitionError(
                f"{self.path}: it holds {others} shapes, and none is a polygon. Wanted polygons"
            )
        if others:
            self.notes.append(f"{self.path.name}: {others} shapes that are no polygons")


def _with_corners(shapes: NDArray[np.object_], crs: CRS) -> NDArray[np.object_]:
    """The same shapes with corners on long edges, which another CRS bends.

    A shape of far too many steps stays as it is: its coordinates are none of the CRS.
    """
    step = _DEGREES_OF_AN_EDGE
    if not crs.is_geographic:
        step = METRES_OF_AN_EDGE / (crs.linear_units_factor[1] if crs.is_projected else 1)
    left, low, right, high = shapely.bounds(shapes).T
    is_plausible = (right - left) + (high - low) < _MOST_STEPS * step
    found = shapes.copy()
    found[is_plausible] = shapely.segmentize(shapes[is_plausible], step)
    return found


def _name(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_string()[:60]
