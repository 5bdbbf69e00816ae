"""Masks as files that other programs open: PNG, TIFF or GeoTIFF, one file per image and class.

    OUTPUT/png/IMAGE.png             of one class
    OUTPUT/png/IMAGE_CLASS.png       of several

A PNG has one bit per pixel, and a TIFF one byte that is 0 or 255. A GeoTIFF has 0 and 1, and lies
on the map where its image does.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from affine import Affine
from PIL import Image
from rasterio.errors import RasterioError
from rasterio.windows import Window

from kernelkit.errors import OutputError, as_sentence
from kernelkit.files import replace_atomically
from kernelkit.maps.geotiff import new_tiff, write_geotiff
from kernelkit.slide import Slide

if TYPE_CHECKING:
    from kernelkit.mask import BitMask
    from kernelkit.predict import Prediction

__all__ = ["Form", "write_mask_files"]

Form = Literal["png", "tiff", "geotiff"]

_SUFFIXES: dict[Form, str] = {"png": ".png", "tiff": ".tif", "geotiff": ".tif"}
# Rows that are unpacked at once. It is the height of a TIFF's blocks too.
_ROWS = 512


def write_mask_files(
    done: "Prediction", folder: Path, form: Form, advance: Callable[[], object]
) -> list[Path]:
    """Write the submitted masks of all images that have some.

    Parameters
    ----------
    folder
        Where the files go. What lies there stays until a new file is complete.
    advance
        Called after each image.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    files = []
    classes = done.recipe.competition.classes
    for image, masks in done.masks.items():
        for path, mask in zip(_paths(folder, image, classes, form), masks, strict=True):
            _write(path, mask, form, done.images[image], done.recipe.competition.nodata)
            files.append(path)
        advance()
    return files


def _paths(folder: Path, image: str, classes: Sequence[str], form: Form) -> Iterator[Path]:
    """The file of each mask of an image. Its name is the image's, and the class of several."""
    for name in classes if len(classes) > 1 else ("",):
        end = f"_{name.replace('/', '_')}" if name else ""
        yield folder / f"{image}{end}{_SUFFIXES[form]}"


def _write(
    path: Path, mask: "BitMask", form: Form, source: Sequence[Path], nodata: float | None
) -> None:
    """Write one mask. Missing folders are made."""
    if form == "geotiff":
        with Slide(source, nodata=nodata) as slide:
            # a mask of another size than its image covers the same ground
            step = Affine.scale(slide.width / mask.width, slide.height / mask.height)
            transform, crs = slide.transform * step, slide.crs
        write_geotiff(path, mask, transform, crs)
        return
    write = _write_png if form == "png" else _write_tiff
    try:
        with replace_atomically(path) as unfinished:
            write(unfinished, mask)
    except (OSError, RasterioError) as error:
        raise OutputError(
            f"{path}: the mask cannot be written ({as_sentence(error)}). Make room, or choose "
            "another output folder"
        ) from error


def _write_png(path: Path, mask: "BitMask") -> None:
    """Write a PNG of one bit per pixel. The whole image takes an eighth of its pixels' bytes."""
    rows = b"".join(np.packbits(rows, axis=1).tobytes() for _, rows in _rows_of(mask))
    Image.frombytes("1", (mask.width, mask.height), rows).save(path, "PNG")


def _write_tiff(path: Path, mask: "BitMask") -> None:
    """Write a tiled and compressed TIFF of 0 and 255, some rows at a time."""
    with new_tiff(
        path,
        dtype="uint8",
        count=1,
        height=mask.height,
        width=mask.width,
        tiled=True,
        blockxsize=_ROWS,
        blockysize=_ROWS,
        compress="deflate",
        bigtiff="if_safer",
    ) as file:
        for top, rows in _rows_of(mask):
            file.write(rows * 255, 1, window=Window(0, top, mask.width, len(rows)))


def _rows_of(mask: "BitMask") -> Iterator[tuple[int, np.ndarray]]:
    """The mask as arrays (h, w) of 0 and 1, some rows at a time, and where each begins."""
    for top in range(0, mask.height, _ROWS):
        yield top, mask.rows(top, min(top + _ROWS, mask.height)).to_array()
