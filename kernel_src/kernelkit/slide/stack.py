"""The files of one image, whatever their layout, as one stack of bands.

GDAL shows an image in one of two ways. Usually it is one dataset with all bands. But a TIFF may
hold one page per band, as many scanners and ImageJ write it. Then each page is a dataset of one
band. A `BandStack` hides the difference. It also joins several files, such as the VV and VH
polarisations of one radar acquisition.
"""

import math
from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.io import DatasetReader

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide.ground import is_same_place
from kernelkit.slide.layout import FileLayout
from kernelkit.slide.nodata import both_hold
from kernelkit.slide.part import FROM_THE_TOP, Part, parts_of

__all__ = ["BandStack"]


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
        self._parts: list[Part] = []
        firsts: list[Part] = []
        try:
            for layout in layouts:
                new = parts_of(layout, factor, nodata, palette)
                self._parts += new
                firsts.append(new[0])
                if len(firsts) > 1:
                    _check_same_ground(firsts[0], new[0])
        except BaseException:
            self.close()
            raise
        self.height, self.width = self.first.shape
        self.bands = sum(part.bands for part in self._parts)
        self.dtype = np.dtype(np.result_type(*(part.dtype for part in firsts)))
        blocks = [part.dataset.block_shapes[0] for part in firsts]
        self.block = (math.lcm(*(block[0] for block in blocks)), max(block[1] for block in blocks))
        self.compressed = any(
            part.dataset.driver not in ("GTiff", "VRT") or part.dataset.compression
            for part in firsts
        )
        self.may_lack_data = self.dtype.kind == "f" or any(
            part.may_lack_data for part in self._parts
        )

    @property
    def first(self) -> DatasetReader:
        """rasterio's dataset of the first file or page, open."""
        return self._parts[0].dataset

    @property
    def transform(self) -> Affine:
        """Where the first file's pixels lie on the map."""
        return self._parts[0].transform

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
        return self.first.driver in FROM_THE_TOP or (whole and self.compressed)

    @property
    def parts(self) -> int:
        """How many datasets the image consists of."""
        return len(self._parts)

    @property
    def interleaved(self) -> bool:
        """Whether the bands lie pixel by pixel."""
        return self.bands > 1 and self._parts[0].is_interleaved

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
            held = hits if band == 0 or not every else both_hold(held, hits)
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


def _check_same_ground(first: Part, other: Part) -> None:
    """Refuse to join files that do not show the same pixels of the same ground."""
    one, two = first.dataset, other.dataset
    is_same = is_same_place(first.transform, other.transform, *one.shape)
    for what, found, wanted, same in (
        ("size", two.shape, one.shape, two.shape == one.shape),
        ("transform", tuple(other.transform), tuple(first.transform), is_same),
        ("CRS", two.crs, one.crs, two.crs == one.crs),
    ):
        if not same:
            raise SlideError(
                f"{other.layout.path}: found {what} {found}, wanted {wanted} as in "
                f"{first.layout.path}. Only name files of one size, transform and CRS as bands of "
                "one image"
            )
