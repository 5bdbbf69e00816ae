"""Polygons written to a file that a map viewer opens: Shapefile, GeoPackage or GeoJSON."""

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely
from pyogrio.errors import DataSourceError
from shapely import Polygon

from kernelkit.errors import OutputError, as_sentence

__all__ = ["METRES_OF_AN_EDGE", "write_polygons"]

_DRIVERS = {".shp": "ESRI Shapefile", ".gpkg": "GPKG", ".geojson": "GeoJSON"}
# Polygons in memory at once. GeoJSON cannot be appended to, so all of them are.
_AT_ONCE = 20_000
# A straight line on the map is a curve in degrees. So far apart, corners follow it to centimetres.
METRES_OF_AN_EDGE = 1000


def write_polygons(
    path: str | Path, polygons: Iterable[Polygon], crs: Any = None, *, field: str = "id"
) -> int:
    """Write polygons with a number each, and return how many there are.

    What lies at `path` stays until the new file is complete. A Shapefile is several files, which
    are replaced one after the other.

    Parameters
    ----------
    path
        Its suffix says the format: `.shp`, `.gpkg` or `.geojson`. Missing folders are made.
    polygons
        In the coordinates of `crs`.
    crs
        rasterio's CRS. None writes none: a viewer of slides takes the coordinates as pixels. With a
        CRS, GeoJSON is in longitude and latitude to seven digits (RFC 7946). That is a centimetre.
        The other formats keep the coordinates and say the CRS.
    field
        The name of the column with the number, counted from 1.

    Raises
    ------
    OutputError
        The suffix is none of these, or the file cannot be written.
    """
    path = Path(path)
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise OutputError(
            f"{path}: found the suffix {path.suffix!r}, wanted {', '.join(_DRIVERS)}. Name the"
            " file so"
        )
    size = None if driver == "GeoJSON" else _AT_ONCE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            count = _write(Path(folder) / path.name, _chunks(polygons, size), driver, crs, field)
            for written in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == ".shp"):
                shutil.move(written, path.parent / written.name)
    except (OSError, DataSourceError) as error:
        raise OutputError(
            f"{path}: the polygons cannot be written ({as_sentence(error)}). Choose a folder that"
            " is writable and has room"
        ) from error
    return count


def _chunks(polygons: Iterable[Polygon], size: int | None) -> Iterator[Sequence[Polygon]]:
    """The polygons in chunks of a size. There is at least one chunk, which may be empty."""
    chunks = iter([tuple(polygons)]) if size is None else batched(polygons, size)
    yield next(chunks, ())
    yield from chunks


def _write(
    path: Path, chunks: Iterable[Sequence[Polygon]], driver: str, crs: Any, field: str
) -> int:
    count = 0
    in_degrees = driver == "GeoJSON" and crs is not None
    for chunk in chunks:
        geometry = np.array(chunk, object)
        if in_degrees and crs.is_projected:
            unit = crs.linear_units_factor[1]
            geometry = shapely.segmentize(geometry, METRES_OF_AN_EDGE / unit)
        numbers = np.arange(count + 1, count + 1 + len(chunk), dtype=np.int64)
        with warnings.catch_warnings():  # an image without a CRS has polygons without one
            warnings.filterwarnings("ignore", "'crs' was not provided")
            pyogrio.raw.write(
                path,
                geometry=shapely.to_wkb(geometry),
                field_data=[numbers],
                fields=[field],
                geometry_type="Polygon",
                crs=None if crs is None else crs.to_wkt(),
                driver=driver,
                append=count > 0,
                layer_options={"RFC7946": "YES"} if in_degrees else None,
            )
        count += len(chunk)
    return count
