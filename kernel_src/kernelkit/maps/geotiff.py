"""A mask as a GeoTIFF that lies on the map where its image does."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetWriter
from rasterio.windows import Window as RasterWindow

from kernelkit.errors import OutputError, as_sentence
from kernelkit.files import replace_atomically
from kernelkit.maps.polygonise import PIXELS
from kernelkit.mask import BitMask

__all__ = ["new_tiff", "write_geotiff"]

_BLOCK = 512


@contextmanager
def new_tiff(path: str | Path, **profile: Any) -> Iterator[DatasetWriter]:
    """Open a new TIFF. rasterio does not warn that it lies on no map, as most images do not.

    Parameters
    ----------
    profile
        As of `rasterio.open`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(path, "w", driver="GTiff", **profile)
    with file:
        yield file


def write_geotiff(
    path: str | Path,
    mask: BitMask,
    transform: Affine = PIXELS,
    crs: Any = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a mask as a tiled and compressed GeoTIFF of 0 and 1, one row of blocks at a time.

    Parameters
    ----------
    path
        What lies there stays until the new file is complete. Missing folders are made.
    mask
        The mask.
    transform, crs
        Those of the image, as `Slide` has them. An image on no map has a mask on no map.
    tags
        Stored as the file's metadata.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    profile = {
        "dtype": "uint8",
        "count": 1,
        "height": mask.height,
        "width": mask.width,
        "transform": transform,
        "crs": crs,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    try:
        with (
            replace_atomically(path) as unfinished,
            new_tiff(unfinished, **profile) as file,
        ):
            file.update_tags(**(tags or {}))
            for top in range(0, mask.height, _BLOCK):
                rows = mask.rows(top, min(top + _BLOCK, mask.height))
                place = RasterWindow(0, top, rows.width, rows.height)
                file.write(rows.to_array(), 1, window=place)
    except (OSError, RasterioError) as error:
        raise OutputError(
            f"{path}: the mask cannot be written ({as_sentence(error)}). Choose a folder that is"
            " writable and has room"
        ) from error
