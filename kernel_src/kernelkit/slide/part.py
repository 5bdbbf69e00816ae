"""One dataset of an image: a file, or one page of it.

Every dataset is opened once and kept open. GDAL drops its cache of decoded blocks with the handle.
So a subdataset that is opened for each read costs 2.5 times as much on tiles, 12 times on strips.
"""

import warnings
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide.budget import check_declared
from kernelkit.slide.complaints import complaints
from kernelkit.slide.containers import GDAL_ERRORS, in_plain_words, open_dataset, reason_of
from kernelkit.slide.layout import FileLayout
from kernelkit.slide.nodata import holds, holds_nodata
from kernelkit.slide.refusals import check_samples, not_decoded, not_opened

__all__ = ["FROM_THE_TOP", "Part", "parts_of"]

# Colours that GDAL converts to RGB, by TIFF's photometric interpretation: CMYK, YCbCr, CIELab,
# ICCLab and ITULab. Each has so many samples.
_CONVERTED = {5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
# Drivers whose decoder starts at the file's top and keeps what it needs for the next row.
FROM_THE_TOP = frozenset(("PNG", "JPEG", "WEBP", "GIF"))

# Drivers of formats that say where on the map an image lies. Others may give what is in memory.
_PLACED = frozenset(("GTiff", "JP2OpenJPEG"))

# rasterio says so of every image that is not a map, and here most are none
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class Part:
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
        # what a decoder that starts at the top does not reach: from which row on, and why
        self._lost: tuple[int, str] | None = None

    @cached_property
    def dataset(self) -> DatasetReader:
        """rasterio's dataset, open."""
        path = self.layout.path
        try:
            dataset = open_dataset(path, self.layout.driver, self._page, self._overview)
        except GDAL_ERRORS as error:
            raise SlideError(not_opened(self.layout, reason_of(error))) from error
        try:
            check_samples(path, dataset)
            check_declared(path, dataset)
        except BaseException:
            dataset.close()
            raise
        return dataset

    @cached_property
    def dtype(self) -> np.dtype:
        """What holds all bands."""
        return np.dtype(np.result_type(*map(np.dtype, self.dataset.dtypes)))

    @property
    def transform(self) -> Affine:
        """Where the pixels lie on the map. The identity if the format cannot say."""
        return self.dataset.transform if self.layout.driver in _PLACED else Affine.identity()

    @cached_property
    def interpretation(self) -> tuple[ColorInterp, ...]:
        """What each band of the dataset stands for."""
        try:
            found = self.dataset.colorinterp
        except GDAL_ERRORS:  # that of a damaged page after this one: asked again, GDAL answers
            found = self.dataset.colorinterp
        page = self.layout.page
        if page is not None and page.photometric in (0, 1):  # GDAL makes up a palette for one bit
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
        """Which bands are read. GDAL adds an alpha band of its own if it converts colours."""
        count = self.dataset.count
        return [1, 2, 3] if self._is_converted else list(range(1, count + 1))

    @property
    def _is_converted(self) -> bool:
        """Whether GDAL converts a TIFF's colours to RGB: those of CMYK, YCbCr or Lab."""
        page = self.layout.page
        if page is None or _CONVERTED.get(page.photometric) != page.samples:
            return False
        return self.dataset.count == 4 and self.interpretation[3] == ColorInterp.alpha

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
        if not self._palette and self.layout.driver == "PNG":
            return (None,) * len(self.indexes)  # a transparent colour is a label like others
        values = self.dataset.nodatavals
        return tuple(values[index - 1] for index in self.indexes)

    @cached_property
    def masked(self) -> bool:
        """Whether the file has a mask or an alpha band."""
        flags = self.dataset.mask_flag_enums[0]
        return MaskFlags.per_dataset in flags and len(self.indexes) == self.dataset.count

    @property
    def _is_jpeg_2000(self) -> bool:
        """Whether GDAL would go through the whole file to say how it is compressed.

        In a damaged file that has no end. So it is not asked.
        """
        return self.layout.driver == "JP2OpenJPEG"

    @property
    def is_interleaved(self) -> bool:
        """Whether the bands of the dataset lie pixel by pixel."""
        return self._is_jpeg_2000 or self.dataset.interleaving == Interleaving.pixel

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
        if not self._is_jpeg_2000 and (
            self.dataset.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE") == "CMYK"
        ):
            words = ["CMYK"]
        if self.layout.orientation != 1:
            words.append(f"orientation {self.layout.orientation}")
        return ", ".join(words)

    @property
    def notes(self) -> list[str]:
        """What is read otherwise than a viewer shows it, a sentence each."""
        return [*self._notes_on_colours(), *self._notes_on_values()]

    def _notes_on_colours(self) -> Iterator[str]:
        colours = self.colours
        if self.colours_of is not None:
            kind = "grey" if self.bands == 1 else "colours"
            yield f"the samples are indices into a palette: its {kind} are read"
        elif self._is_converted or (colours.startswith(("CMYK", "YCbCr")) and self.bands == 3):
            yield f"the image is {colours.split(',')[0]}: GDAL's conversion to RGB is read"
        elif "alpha" in colours and self.masked:
            yield f"band {self.bands} is alpha: pixels where it is 0 hold no data"
        elif "alpha" in colours:
            yield "a band is alpha: it is read like the others, and says nothing of missing data"
        elif "palette" in colours and self._palette:
            yield "the samples are indices into a palette that is not there: they are read"

    def _notes_on_values(self) -> Iterator[str]:
        bits = self.dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "")
        if bits.isdigit() and int(bits) < 8 and self.colours_of is None and self._palette:
            yield (
                f"samples have {bits} bit(s): they are read as stored, 0 to {2 ** int(bits) - 1}, "
                "and not stretched to 255 as viewers do"
            )
        if set(self.dataset.scales) != {1.0} or set(self.dataset.offsets) != {0.0}:
            yield "the file declares a scale or an offset: values are read as stored, without it"

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

        Raises
        ------
        SlideError
            A block cannot be decoded, or its decoder made pixels up.
        """
        if self._lost is not None and window.bottom > self._lost[0]:
            raise SlideError(not_decoded(self.layout, window, self._lost[1]))
        try:
            with complaints() as heard:
                hits = self._read(window, out, missing, every)
        except GDAL_ERRORS as error:
            raise self._failed(window, reason_of(error)) from error
        if heard:
            raise self._failed(window, in_plain_words(heard[0]))
        return hits

    def _failed(self, window: Window, reason: str) -> SlideError:
        """Return the error of a window that cannot be decoded, and forget what was decoded.

        GDAL keeps the pixels that a decoder made up, and goes on after an error. So the next read
        opens the dataset again. A decoder that starts at the top is not sent there again for rows
        beyond the damage.
        """
        if self.layout.driver in FROM_THE_TOP and window.height <= self.dataset.block_shapes[0][0]:
            self._lost = window.row, reason
        self.close()
        return SlideError(not_decoded(self.layout, window, reason))

    def _read(
        self, window: Window, out: np.ndarray, missing: np.ndarray | None, every: bool
    ) -> np.ndarray | None:
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        if self.colours_of is not None:
            return self._read_palette(area, out, missing)
        if len(self.indexes) == self.dataset.count:
            self.dataset.read(window=area, out=out)
        else:
            self.dataset.read(self.indexes, window=area, out=out)
        if missing is not None and self.masked:
            missing |= self.dataset.read_masks(1, window=area) == 0
        if missing is None or (every and None in self.nodata):
            return None
        return holds_nodata(out, self.nodata, every)

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
        return None if value is None else holds(indices, value)

    def close(self) -> None:
        """Close the dataset, if it is open. The next read opens it again."""
        if "dataset" in vars(self):
            self.dataset.close()
            del self.dataset


def parts_of(layout: FileLayout, factor: int, nodata: float | None, palette: bool) -> list[Part]:
    """Return the datasets of one file: one with all bands, or one per page of one band."""
    if factor == 1:
        return [Part(layout, page, None, nodata, palette) for page in layout.pages]
    if layout.driver == "GTiff":
        return [Part(layout, layout.overviews[factor], None, nodata, palette)]
    whole = Part(layout, None, None, None, palette)
    level = whole.dataset.overviews(1).index(factor)
    whole.close()
    return [Part(layout, None, level, nodata, palette)]
