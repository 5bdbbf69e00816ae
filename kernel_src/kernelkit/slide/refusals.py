"""Say why a dataset cannot be opened or decoded, and refuse samples that are no numbers."""

from pathlib import Path

import numpy as np
from rasterio.io import DatasetReader

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide.layout import FileLayout

__all__ = ["check_samples", "not_decoded", "not_opened"]


def check_samples(path: Path, dataset: DatasetReader) -> None:
    """Refuse a dataset without bands, or of samples that are no plain numbers."""
    if dataset.count == 0:
        raise SlideError(
            f"{path}: found a container without bands, wanted an image. Convert it to a TIFF"
        )
    for name in dataset.dtypes:
        if not _is_number(name):
            raise SlideError(
                f"{path}: found samples of the type {name}, wanted whole numbers or floats. Save "
                "the values that the network needs, such as their amplitude"
            )


def _is_number(name: object) -> bool:
    try:
        return np.dtype(str(name)).kind in "uif"
    except TypeError:
        return False


def not_opened(layout: FileLayout, reason: str) -> str:
    """Return the sentences of a file that GDAL cannot open, for the reason that it gives."""
    if _is_missing_codec(layout, reason):
        return f"{layout.path}: {_missing_codec(layout)}"
    return (
        f"{layout.path}: found no image that GDAL can open, wanted a TIFF or the like ({reason}). "
        "It is truncated or damaged. Download or copy it again"
    )


def not_decoded(layout: FileLayout, window: Window, reason: str) -> str:
    """Return the sentences of a window that GDAL cannot decode, for the reason that it gives."""
    if _is_missing_codec(layout, reason):
        return f"{layout.path}: {window} could not be decoded, {_missing_codec(layout)}"
    return (
        f"{layout.path}: {window} could not be decoded ({reason}). The file is corrupt, or has "
        "changed since it was opened. Download or copy it again"
    )


def _is_missing_codec(layout: FileLayout, reason: str) -> bool:
    """Whether a decoder is missing here, as GDAL and libtiff say it."""
    told = ("missing codec", "not configured", "not implemented", "not supported", "unknown comp")
    return bool(layout.compression) and any(word in reason.lower() for word in told)


def _missing_codec(layout: FileLayout) -> str:
    return (
        f"found {layout.compression}, for which GDAL has no decoder here. Convert the file to "
        "LZW or DEFLATE. At home, tifffile with imagecodecs may read it"
    )
