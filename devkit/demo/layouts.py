"""Write one image in every layout of TIFF that competitions have been seen to ship.

The same pixels come interleaved, planar, as one page per band, or five-dimensional. They come tiled
or in strips, and compressed in several ways. A reader that is right on one layout may be wrong on
the next, or ten times slower. So the demo's data and the tests are written in all of them.

Every layout but `jpeg` is lossless. tifffile writes them, which nothing that this project ships
uses. So the files are an independent opinion on what its readers read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

__all__ = ["LAYOUTS", "LOSSLESS", "write"]

_TILE = {"tile": (256, 256)}
_LZW = {"compression": "lzw"}

# What tifffile is told, beside `arrangement`, which says how the bands lie in the file:
# "pixel": interleaved, R G B R G B.
# "band": one page that holds whole bands, one by one.
# "pages": one page per band. GDAL shows such a file as subdatasets GTIFF_DIR:n:.
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "tiled": {"arrangement": "pixel", **_TILE, **_LZW},
    "deflate": {"arrangement": "pixel", **_TILE, "compression": "deflate"},
    "predictor": {"arrangement": "pixel", **_TILE, **_LZW, "predictor": True},
    "zstd": {"arrangement": "pixel", **_TILE, "compression": "zstd"},
    "jpeg": {"arrangement": "pixel", **_TILE, "compression": "jpeg"},
    "none": {"arrangement": "pixel", **_TILE},
    "bigtiff": {"arrangement": "pixel", **_TILE, **_LZW, "bigtiff": True},
    "bigendian": {"arrangement": "pixel", **_TILE, **_LZW, "byteorder": ">"},
    "tiled512": {"arrangement": "pixel", "tile": (512, 512), **_LZW},
    "strips": {"arrangement": "pixel", "rowsperstrip": 8, **_LZW},
    "strips1": {"arrangement": "pixel", "rowsperstrip": 1, **_LZW},
    "strips-none": {"arrangement": "pixel", "rowsperstrip": 8},
    "planar": {"arrangement": "band", **_TILE, **_LZW},
    "planar-strips": {"arrangement": "band", "rowsperstrip": 8, **_LZW},
    "subdatasets": {"arrangement": "pages", **_TILE, **_LZW},
    "subdatasets-strips": {"arrangement": "pages", "rowsperstrip": 8, **_LZW},
    "5d": {"arrangement": "pages", "five_d": True, **_TILE, **_LZW},
    "5d-planar": {"arrangement": "band", "five_d": True, **_TILE, **_LZW},
    "ome": {"arrangement": "pages", "ome": True, **_TILE, **_LZW},
    "ome-planar": {"arrangement": "band", "ome": True, **_TILE, **_LZW},
    "pyramid": {"arrangement": "pixel", "levels": (2, 4, 8), **_TILE, **_LZW},
}

# The layouts that give back the very pixels that were written.
LOSSLESS = tuple(name for name in LAYOUTS if name != "jpeg")


def write(path: str | Path, array: np.ndarray, layout: str = "tiled") -> Path:
    """Write an image as a TIFF file, and return its path.

    Three bands of uint8 or uint16 are written as RGB, and all else as grey with extra samples.

    Parameters
    ----------
    path
        Where to write it.
    array
        (C, H, W) of any dtype that TIFF holds. `jpeg` takes uint8 of 1 or 3 bands only.
    layout
        One of `LAYOUTS`.

    Raises
    ------
    ValueError
        If there is no such layout, or if the array has another shape.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"no layout is called {layout!r}. Choose one of {', '.join(LAYOUTS)}")
    if array.ndim != 3:
        raise ValueError(f"an array of shape {array.shape} was given. It must be (C, H, W)")
    options = dict(LAYOUTS[layout])
    arrangement = options.pop("arrangement")
    levels = options.pop("levels", ())
    container = {key: options.pop(key) for key in ("ome", "bigtiff", "byteorder") if key in options}
    pixels = np.ascontiguousarray(array.transpose(1, 2, 0)) if arrangement == "pixel" else array
    if arrangement == "pixel" and array.shape[0] == 1:
        pixels = pixels[:, :, 0]
    if options.pop("five_d", False):
        pixels = pixels[np.newaxis, np.newaxis]
    options |= _photometric(array, arrangement)
    if container.get("ome"):
        options["metadata"] = {"axes": "CYX"}
    if levels:
        options["metadata"] = None  # a description of one shape would not fit the smaller pages
    path = Path(path)
    with tifffile.TiffWriter(path, **container) as file:
        file.write(pixels, **options)
        for factor in levels:
            file.write(_shrunk(pixels, factor), **options, subfiletype=1)
    return path


def _photometric(array: np.ndarray, arrangement: str) -> dict[str, Any]:
    """Say whether the bands are colours, and whether they lie pixel by pixel or band by band."""
    bands = array.shape[0]
    colour = bands == 3 and array.dtype.kind == "u" and arrangement != "pages"
    options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
    if arrangement != "pages" and bands > 1:
        options["planarconfig"] = "contig" if arrangement == "pixel" else "separate"
    return options


def _shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Average (H, W[, C]) over whole squares of `factor`, as a scanner's pyramid does."""
    height, width = (side // factor * factor for side in pixels.shape[:2])
    squares = pixels[:height, :width].reshape(
        height // factor, factor, width // factor, factor, *pixels.shape[2:]
    )
    mean = squares.mean(axis=(1, 3))
    if pixels.dtype.kind in "ui":
        mean = np.rint(mean)
    return mean.astype(pixels.dtype)
