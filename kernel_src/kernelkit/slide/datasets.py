"""Open the files of one image, whatever their layout, as one stack of bands.

GDAL shows an image in one of two ways. Usually it is one dataset with all bands. But a TIFF may
hold one page per band, as many scanners and ImageJ write it. Then each page is a dataset of one
band. A `BandStack` hides the difference. It also joins several files, such as the VV and VH
polarisations of one radar acquisition.

Every dataset is opened once and kept open. GDAL drops its cache of decoded blocks with the handle.
So a subdataset that is opened for each read costs 2.5 times as much on tiles, 12 times on strips.

Here it is also decided which pixels hold no data, see `BandStack.read_into`.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide.budget import check_declared
from kernelkit.slide.containers import GDAL_ERRORS, open_dataset, reason_of
from kernelkit.slide.layout import FileLayout

__all__ = ["BandStack"]

# rasterio says so of every image that is not a map, and here most are none
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

# Drivers whose decoder starts at the file's top and keeps what it needs for the next row.
_FROM_THE_TOP = frozenset(("PNG", "JPEG", "WEBP", "GIF"))
# Files of one ground may differ by so many pixels at most. Doubles that were written as text and
# read again differ in their last bits.
_SAME_GROUND = 1e-6
# Two values of a float dtype are the same nodata value within this share.
_SAME_VALUE = 1e-6


class BandStack:
    """Open datasets of equal size, whose bands in their order are those of one image.

    Parameters
    ----------
    layouts
        What the files hold, in the order of their bands.
    factor
        Which overview to open, by its factor. 1 opens the image itself.
    nodata
        The value of a pixel without data. None takes each file's own.
    palette
        Whether indices into a palette become its colours.

    Attributes
    ----------
    first
        rasterio's dataset of the first file or page.
    height, width, bands, dtype
        Those of the whole stack.
    block
        Height and width of what is decoded at once, in pixels.
    compressed
        Whether decoding takes more than a copy.
    may_lack_data
        Whether some pixels may hold no data.
    """

    def __init__(
        self,
        layouts: Sequence[FileLayout],
        factor: int = 1,
        nodata: float | None = None,
        palette: bool = True,
    ) -> None:
        self._parts: list[_Part] = []
        firsts: list[_Part] = []
        try:
            for layout in layouts:
                new = _parts_of(layout, factor, nodata, palette)
                self._parts += new
                firsts.append(new[0])
                _check_same_ground(firsts[0], new[0])
        except BaseException:
            self.close()
            raise
        self.first = firsts[0].dataset
        self.height, self.width = self.first.shape
        self.bands = sum(part.bands for part in self._parts)
        self.dtype = np.dtype(np.result_type(*(part.dtype for part in firsts)))
        blocks = [part.dataset.block_shapes[0] for part in firsts]
        self.block = (math.lcm(*(block[0] for block in blocks)), max(block[1] for block in blocks))
        self.compressed = any(
            part.dataset.driver != "GTiff" or part.dataset.compression for part in firsts
        )
        self.may_lack_data = self.dtype.kind == "f" or any(
            part.may_lack_data for part in self._parts
        )

    @property
    def bounds(self) -> Window:
        """The whole image as a window."""
        return Window(0, 0, self.height, self.width)

    @property
    def in_order(self) -> bool:
        """Whether a decoder can only go through a file from its top, or has one block for all."""
        page = self._parts[0].layout.page
        block = self.block if page is None else page.block  # GDAL shows a high strip as rows
        whole = block[0] >= self.height and block[1] >= self.width
        return self.first.driver in _FROM_THE_TOP or (whole and self.compressed)

    @property
    def parts(self) -> int:
        """How many datasets the image consists of."""
        return len(self._parts)

    @property
    def interleaved(self) -> bool:
        """Whether the bands lie pixel by pixel."""
        return self.bands > 1 and self.first.profile.get("interleave") == "pixel"

    @property
    def colours(self) -> str:
        """What is unusual about the first file's bands, in a few words."""
        return self._parts[0].colours

    @property
    def nodata(self) -> float | None:
        """The first file's value of a pixel without data."""
        return self._parts[0].nodata[0]

    def read_into(self, window: Window, out: np.ndarray) -> np.ndarray | None:
        """Read a window inside the image straight into `out`, (C, h, w) of any strides.

        A pixel holds no data if a band of it is NaN or infinite, or if the file's mask or alpha
        band leaves it out, or by its nodata value. Any band that holds that value is enough. But
        with 8 bits every value is a colour, so there all bands must hold it. Pixels without data
        are read as 0, like those outside of the image.

        Returns
        -------
        Where there is data, (h, w) bool. None if all of it is.

        Raises
        ------
        SlideError
            A block cannot be decoded. The message names the file and the window.
        """
        missing = np.zeros(out.shape[1:], bool) if self.may_lack_data else None
        every = self.dtype == np.uint8
        held: np.ndarray | None = None  # where all bands so far hold their nodata value
        band = 0
        for part in self._parts:
            pixels = out[band : band + part.bands]
            hits = part.read_into(window, pixels, missing, every)
            held = hits if band == 0 or not every else _both(held, hits)
            if missing is not None and held is not None and not every:
                missing |= held
            band += part.bands
        if missing is None:
            return None
        if every and held is not None:
            missing |= held
        if self.dtype.kind == "f":
            for pixels in out:
                missing |= ~np.isfinite(pixels)
        if not missing.any():
            return None
        out[:, missing] = 0
        return ~missing

    @property
    def notes(self) -> list[str]:
        """What is read otherwise than a viewer shows it, a sentence each."""
        return self._parts[0].notes

    def own_overviews(self) -> list[int]:
        """Return the factors of the overviews that a format makes itself, as JPEG 2000 does.

        A picture of another shape, such as a camera's preview, is none.
        """
        part = self._parts[0]
        found = []
        for level, factor in enumerate(self.first.overviews(1)):
            with part.opened_at(level) as smaller:
                if smaller.shape == (-(-self.height // factor), -(-self.width // factor)):
                    found.append(factor)
        return found

    def close(self) -> None:
        """Close every dataset."""
        for part in self._parts:
            part.close()


class _Part:
    """One dataset of a stack: a file, or one page of it. It is opened when it is first needed."""

    def __init__(
        self,
        layout: FileLayout,
        page: int | None,
        overview: int | None,
        nodata: float | None,
        palette: bool,
    ) -> None:
        self.layout, self._page, self._overview = layout, page, overview
        self._nodata, self._palette = nodata, palette

    @cached_property
    def dataset(self) -> DatasetReader:
        """rasterio's dataset, open."""
        path = self.layout.path
        try:
            dataset = open_dataset(path, self.layout.driver, self._page, self._overview)
        except GDAL_ERRORS as error:
            raise SlideError(_not_opened(self.layout, reason_of(error))) from error
        try:
            _check_samples(path, dataset)
            check_declared(path, dataset)
        except BaseException:
            dataset.close()
            raise
        return dataset

    @cached_property
    def dtype(self) -> np.dtype:
        """What holds all bands."""
        return np.dtype(np.result_type(*map(np.dtype, self.dataset.dtypes)))

    @cached_property
    def interpretation(self) -> tuple[ColorInterp, ...]:
        """What each band of the dataset stands for."""
        try:
            found = self.dataset.colorinterp
        except GDAL_ERRORS:  # that of a damaged page after this one: asked again, GDAL answers
            found = self.dataset.colorinterp
        page = self.layout.page
        if page is not None and page.photometric == 0:  # GDAL makes up a palette that turns it
            return (ColorInterp.gray, *found[1:])
        return tuple(found)

    @cached_property
    def colours_of(self) -> np.ndarray | None:
        """The colour of each index, (4, n) uint8. None if the samples are no indices."""
        if not self._palette or self.interpretation[0] != ColorInterp.palette:
            return None
        table = self.dataset.colormap(1)
        size = 1 << (8 * self.dtype.itemsize)
        lut = np.zeros((4, size), np.uint8)
        for index, colour in table.items():
            lut[:, index] = colour
        return lut

    @cached_property
    def indexes(self) -> list[int]:
        """Which bands are read. GDAL adds an alpha band of its own to CMYK."""
        count = self.dataset.count
        page = self.layout.page
        shown = page is not None and page.photometric == 5 and page.samples == 4
        if shown and count == 4 and self.interpretation[3] == ColorInterp.alpha:
            return [1, 2, 3]
        return list(range(1, count + 1))

    @cached_property
    def bands(self) -> int:
        """How many bands the part gives."""
        if self.colours_of is None:
            return len(self.indexes)
        red, green, blue, _ = self.colours_of
        return 1 if (red == green).all() and (green == blue).all() else 3

    @cached_property
    def nodata(self) -> tuple[float | None, ...]:
        """The value without data of each band that is read."""
        if self._nodata is not None:
            return (self._nodata,) * len(self.indexes)
        values = self.dataset.nodatavals
        return tuple(values[index - 1] for index in self.indexes)

    @cached_property
    def masked(self) -> bool:
        """Whether the file has a mask or an alpha band."""
        flags = self.dataset.mask_flag_enums[0]
        return MaskFlags.per_dataset in flags and len(self.indexes) == self.dataset.count

    @property
    def may_lack_data(self) -> bool:
        """Whether the file can say of a pixel that it holds no data."""
        transparent = self.colours_of is not None and not self.colours_of[3].all()
        return self.masked or transparent or any(value is not None for value in self.nodata)

    @property
    def colours(self) -> str:
        """What is unusual about the bands, in a few words."""
        words = [self.layout.colour] if self.layout.colour else []
        if ColorInterp.palette in self.interpretation and "palette" not in words:
            words.append("palette")
        if ColorInterp.alpha in self.interpretation and len(self.indexes) == self.dataset.count:
            words.append("with alpha")
        if self.dataset.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE") == "CMYK":
            words = ["CMYK"]
        if self.layout.orientation != 1:
            words.append(f"orientation {self.layout.orientation}")
        return ", ".join(words)

    @property
    def notes(self) -> list[str]:
        """What is read otherwise than a viewer shows it, a sentence each."""
        if self.colours_of is not None:
            kind = "grey" if self.bands == 1 else "colours"
            return [f"the samples are indices into a palette: its {kind} are read"]
        if "CMYK" in self.colours:
            return ["the image is CMYK: GDAL's conversion to RGB is read"] * (self.bands == 3)
        if "alpha" in self.colours:
            return [f"band {self.bands} is alpha: pixels where it is 0 hold no data"]
        return []

    def opened_at(self, level: int) -> DatasetReader:
        """Return one of a format's own overviews, open."""
        return open_dataset(self.layout.path, self.layout.driver, self._page, level)

    def read_into(
        self, window: Window, out: np.ndarray, missing: np.ndarray | None, every: bool
    ) -> np.ndarray | None:
        """Read a window. Mark in `missing` what the file's mask leaves out.

        Returns
        -------
        Where all bands hold their nodata value, or any of them. None if they have none.
        """
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        try:
            if self.colours_of is not None:
                return self._read_palette(area, out, missing)
            if len(self.indexes) == self.dataset.count:
                self.dataset.read(window=area, out=out)
            else:
                self.dataset.read(self.indexes, window=area, out=out)
            if missing is not None and self.masked:
                missing |= self.dataset.read_masks(1, window=area) == 0
        except GDAL_ERRORS as error:
            raise SlideError(_not_decoded(self.layout, window, reason_of(error))) from error
        if missing is None or (every and None in self.nodata):
            return None
        hits = None
        for pixels, value in zip(out, self.nodata, strict=True):
            if value is not None:
                hits = _merged(hits, _holds(pixels, value), every)
        return hits

    def _read_palette(
        self, area: RasterioWindow, out: np.ndarray, missing: np.ndarray | None
    ) -> np.ndarray | None:
        assert self.colours_of is not None
        indices = self.dataset.read(1, window=area)
        out[...] = self.colours_of[: len(out), indices]
        if missing is None:
            return None
        missing |= self.colours_of[3, indices] == 0
        value = self.nodata[0]
        return None if value is None else _holds(indices, value)

    def close(self) -> None:
        """Close the dataset, if it is open."""
        if "dataset" in vars(self):
            self.dataset.close()


def _parts_of(layout: FileLayout, factor: int, nodata: float | None, palette: bool) -> list[_Part]:
    """Return the datasets of one file: one with all bands, or one per page of one band."""
    if factor == 1:
        return [_Part(layout, page, None, nodata, palette) for page in layout.pages]
    if layout.driver == "GTiff":
        return [_Part(layout, layout.overviews[factor], None, nodata, palette)]
    whole = _Part(layout, None, None, None, palette)
    level = whole.dataset.overviews(1).index(factor)
    whole.close()
    return [_Part(layout, None, level, nodata, palette)]


def _merged(one: np.ndarray | None, other: np.ndarray, every: bool) -> np.ndarray:
    if one is None:
        return other
    return one & other if every else one | other


def _both(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return None if one is None or other is None else one & other


def _holds(pixels: np.ndarray, value: float) -> np.ndarray:
    """Return where pixels (h, w) hold a nodata value. NaN is found among those not finite."""
    if not math.isfinite(value):
        return np.zeros(pixels.shape, bool)
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            wanted = pixels.dtype.type(value)
        if not np.isfinite(wanted):
            return np.zeros(pixels.shape, bool)
        near = np.abs(pixels - wanted) <= abs(wanted) * pixels.dtype.type(_SAME_VALUE)
        return np.asarray(near)
    limits = np.iinfo(pixels.dtype)
    if value != int(value) or not limits.min <= value <= limits.max:
        return np.zeros(pixels.shape, bool)
    return np.asarray(pixels == pixels.dtype.type(int(value)))


def _check_samples(path: Path, dataset: DatasetReader) -> None:
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


def _not_opened(layout: FileLayout, reason: str) -> str:
    if _is_missing_codec(layout, reason):
        return f"{layout.path}: {_missing_codec(layout)}"
    return (
        f"{layout.path}: found no image that GDAL can open, wanted a TIFF or the like ({reason}). "
        "It is truncated or damaged. Download or copy it again"
    )


def _not_decoded(layout: FileLayout, window: Window, reason: str) -> str:
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


def _check_same_ground(first: _Part, other: _Part) -> None:
    """Refuse to join files that do not show the same pixels of the same ground."""
    one, two = first.dataset, other.dataset
    for what, found, wanted, same in (
        ("size", two.shape, one.shape, two.shape == one.shape),
        ("transform", tuple(two.transform), tuple(one.transform), _is_same_place(one, two)),
        ("CRS", two.crs, one.crs, two.crs == one.crs),
    ):
        if not same:
            raise SlideError(
                f"{other.layout.path}: found {what} {found}, wanted {wanted} as in "
                f"{first.layout.path}. Only name files of one size, transform and CRS as bands of "
                "one image"
            )


def _is_same_place(one: DatasetReader, two: DatasetReader) -> bool:
    """Whether the corners of two images of one size lie within a millionth of a pixel."""
    if one.transform == two.transform:
        return True
    if one.transform.is_degenerate:
        return False
    back = ~one.transform
    return all(
        abs(moved - stood) <= _SAME_GROUND
        for corner in ((0, 0), (one.width, 0), (0, one.height), (one.width, one.height))
        for moved, stood in zip(back @ (two.transform @ corner), corner, strict=True)
    )
