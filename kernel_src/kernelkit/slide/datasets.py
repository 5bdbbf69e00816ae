"""Open the files of one image, whatever their layout, as one stack of bands.

GDAL shows an image in one of two ways. Usually it is one dataset with all bands. But a TIFF may
hold one page per band, as many scanners and ImageJ write it. Then it is a dataset of one band with
one **subdataset** GTIFF_DIR:n: per page. A `BandStack` hides the difference. It also joins several
files, such as the VV and VH polarisations of one radar acquisition.

Every dataset is opened once and kept open. GDAL drops its cache of decoded blocks with the handle.
So a subdataset that is opened for each read costs 2.5 times as much on tiles, 12 times on strips.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from kernelkit.errors import SlideError
from kernelkit.grid import Window

__all__ = ["BandStack"]

# rasterio says so of every image that is not a map, and here most are none
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

# GDAL's name for the n-th page of a TIFF begins with this
_PAGE = "GTIFF_DIR:"


class BandStack:
    """Open datasets of equal size, whose bands in their order are those of one image.

    Parameters
    ----------
    paths
        The files, in the order of their bands.
    overview
        Which internal overview to open, counted from 0. None opens the image itself.

    Attributes
    ----------
    datasets
        rasterio's open datasets.
    height, width, bands, dtype
        Those of the whole stack.
    block
        Height and width of what is decoded at once, in pixels.
    compressed
        Whether decoding takes more than a copy.
    """

    def __init__(self, paths: Sequence[Path], overview: int | None = None) -> None:
        self.datasets: list[DatasetReader] = []
        try:
            for path in paths:
                self.datasets += _open_image(path, overview)
                _check_same_ground(paths[0], self.datasets[0], path, self.datasets[-1])
        except BaseException:
            self.close()
            raise
        first = self.datasets[0]
        self.height, self.width = first.shape
        self.bands = sum(dataset.count for dataset in self.datasets)
        self.dtype = np.dtype(np.result_type(*(d for s in self.datasets for d in s.dtypes)))
        self.block = (
            math.lcm(*(dataset.block_shapes[0][0] for dataset in self.datasets)),
            max(dataset.block_shapes[0][1] for dataset in self.datasets),
        )
        self.compressed = any(d.driver != "GTiff" or d.compression for d in self.datasets)

    @property
    def bounds(self) -> Window:
        """The whole image as a window."""
        return Window(0, 0, self.height, self.width)

    def read_into(self, window: Window, out: np.ndarray) -> None:
        """Read a window inside the image straight into `out`, (C, h, w) of any strides.

        Raises
        ------
        SlideError
            A block cannot be decoded. The message names the file and the window.
        """
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        band = 0
        for dataset in self.datasets:
            try:
                dataset.read(window=area, out=out[band : band + dataset.count])
            except RasterioError as error:
                reason = str(error.__cause__ or error)
                raise SlideError(
                    f"{_path_of(dataset)}: {window} could not be decoded ({reason}). The file is "
                    "corrupt, or has changed since it was opened. Download or copy it again"
                ) from error
            band += dataset.count

    def read_valid(self, window: Window) -> np.ndarray:
        """Say for each pixel of a window inside the image whether any band holds data: (h, w) bool.

        The file says which pixels hold none, by a nodata value, a mask or an alpha band.
        """
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        valid = np.zeros((window.height, window.width), bool)
        for dataset in self.datasets:
            valid |= dataset.dataset_mask(window=area) > 0
        return valid

    def close(self) -> None:
        """Close every dataset."""
        for dataset in self.datasets:
            dataset.close()


def _open_image(path: Path, overview: int | None) -> list[DatasetReader]:
    """Open one file: all its bands as one dataset, or one dataset per page of one band."""
    image = _open(str(path), path, overview)
    names = [name for name in image.subdatasets if name.startswith(_PAGE)]
    if image.count > 1 or len(names) < 2:
        _check_complete(path, image)
        return [image]
    names.sort(key=lambda name: int(name.split(":")[1]))  # GDAL lists page 10 before page 2
    pages = [_open(name, path, overview) for name in names]
    image.close()
    bands = [page for page in pages if _frame(page) == _frame(pages[0])]
    for page in pages:
        if page not in bands:  # a thumbnail or a label, for example
            page.close()
    _check_complete(path, bands[-1])
    return bands


def _open(name: str, path: Path, overview: int | None) -> DatasetReader:
    """Open a dataset, or say in one sentence why not."""
    if not path.exists():
        raise SlideError(f"{path}: there is no such file. Check the folder and the image's id")
    if not path.is_file():
        raise SlideError(f"{path}: found a folder, wanted an image file. Name a file in it")
    if path.stat().st_size == 0:
        raise SlideError(f"{path}: the file is empty. Download or copy it again")
    options = {} if overview is None else {"overview_level": overview}
    try:
        dataset = rasterio.open(name, **options)
    except RasterioError as error:
        raise SlideError(
            f"{path}: found no image that GDAL can open, wanted a TIFF or the like ({error}). "
            "If it should be an image, it is truncated. Download or copy it again"
        ) from error
    if dataset.count == 0:
        dataset.close()
        raise SlideError(
            f"{path}: found a container without bands, wanted an image. Convert it to a TIFF"
        )
    return dataset


def _check_complete(path: Path, dataset: DatasetReader) -> None:
    """Refuse a TIFF whose last block lies beyond the end of the file."""
    height, width = dataset.block_shapes[-1]
    block = f"{(dataset.width - 1) // width}_{(dataset.height - 1) // height}"
    offset, size = (
        dataset.get_tag_item(f"BLOCK_{item}_{block}", "TIFF", bidx=dataset.count)
        for item in ("OFFSET", "SIZE")
    )
    if offset is None or size is None:  # another format, or an empty block that was left out
        return
    wanted, found = int(offset) + int(size), path.stat().st_size
    if found < wanted:
        dataset.close()
        raise SlideError(
            f"{path}: the file is truncated. Found {found} bytes, wanted at least {wanted}. "
            "Download or copy it again"
        )


def _frame(dataset: DatasetReader) -> tuple[object, ...]:
    """Return what pages must share to be the bands of one image."""
    return (dataset.count, dataset.shape, dataset.dtypes)


def _check_same_ground(
    first_path: Path, first: DatasetReader, path: Path, dataset: DatasetReader
) -> None:
    """Refuse to join files that do not show the same pixels of the same ground."""
    for what, found, wanted in (
        ("size", dataset.shape, first.shape),
        ("transform", tuple(dataset.transform), tuple(first.transform)),
        ("CRS", dataset.crs, first.crs),
    ):
        if found != wanted:
            raise SlideError(
                f"{path}: found {what} {found}, wanted {wanted} as in {first_path}. Only name "
                "files of one size, transform and CRS as bands of one image"
            )


def _path_of(dataset: DatasetReader) -> str:
    """Return the file's path without GDAL's prefix for a page of it."""
    name: str = dataset.name
    return name.split(":", 2)[2] if name.startswith(_PAGE) else name
