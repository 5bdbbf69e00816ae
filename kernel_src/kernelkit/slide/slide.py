"""One image, whatever its layout on disk: any window of it, at any whole scale, bands first.

    with Slide("kidney.tiff") as slide:
        pixels = slide.read(Window(0, 0, 2304, 2304), scale=3)  # (3, 768, 768) uint8

It is built on rasterio, so it reads all that GDAL reads, TIFF in all its forms included. Arrays are
bands first, (C, H, W), from here to the device. Turning them round costs as much as decoding.
"""

import collections
import functools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from kernelkit.errors import GridError, SlideError
from kernelkit.grid import Window
from kernelkit.slide.block_cache import BlockCacheLimit
from kernelkit.slide.description import describe, notes_of
from kernelkit.slide.layout import read_layout
from kernelkit.slide.level import held_in, read_boundless, read_shrunk, rows_at_once
from kernelkit.slide.pixels import FILLS
from kernelkit.slide.stack import BandStack
from kernelkit.vocabulary import Fill, choices

__all__ = ["Slide"]

# What GDAL's cache of decoded blocks may hold while a thumbnail is made, in bytes. Each block is
# read once.
_THUMBNAIL_CACHE = 64 << 20


class Slide(AbstractContextManager):
    """An image in one file, or in several files whose bands belong together.

    A slide opens its file in each process that reads from it. It pickles as its path, and survives
    a fork. Two threads must not use it at the same time.

    Parameters
    ----------
    source
        A path, or several paths of files of one size, transform and CRS.
    nodata
        The value that means "nothing was measured here". None takes the file's own.
    palette
        Give the colours of a palette, or its grey if all are grey. False gives the indices, which
        labels are stored as. A colour that a PNG calls transparent then holds data too.
    overviews
        Let `read` start from an internal overview of the file, if one divides the scale. That is
        much faster. But an overview holds what its author made of the pixels. Networks were
        trained on the area average, so it is off by default.

    Attributes
    ----------
    paths
        The files.
    name
        The first file's stem, which is a competition's image id.
    height, width, bands, dtype
        Those of the image.
    layout
        A few words for a log.
    block
        Height and width of what is decoded at once, in pixels.
    compressed
        Whether decoding takes more than a copy.
    in_order
        Whether a decoder can only go through the file from its top, or has one block for all.
    transform, crs
        rasterio's. They are the identity and None if the image is not a map.
    nodata
        The value of a pixel without data, None if there is no such value.
    may_lack_data
        Whether some pixels may hold no data: the file declares a value, has a mask or an alpha
        band, or holds floats. If not, `read` and `read_valid` cost nothing for it.
    notes
        What is left out or read otherwise than a viewer shows it, a sentence each.

    Raises
    ------
    SlideError
        There is no such image, or it cannot be read.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        *,
        nodata: float | None = None,
        palette: bool = True,
        overviews: bool = False,
    ) -> None:
        sources = [source] if isinstance(source, (str, Path)) else source
        self.paths = tuple(map(Path, sources))
        if not self.paths:
            raise SlideError("found no path, wanted at least one image file")
        self._options: dict[str, Any] = {
            "nodata": nodata,
            "palette": palette,
            "overviews": overviews,
        }
        self._layouts = tuple(map(read_layout, self.paths))
        self._open()
        image = self._levels[1]
        self.name = self.paths[0].stem
        self.height, self.width = image.height, image.width
        self.bands, self.dtype, self.block = image.bands, image.dtype, image.block
        self.compressed, self.may_lack_data = image.compressed, image.may_lack_data
        self.in_order = image.in_order
        self.transform, self.crs = image.transform, image.first.crs
        self.nodata = image.nodata
        self.layout = describe(image, self._layouts[0])
        self.notes = notes_of(image, self._layouts)

    def _open(self) -> None:
        self._levels = {1: self._open_level(1)}
        self._process = os.getpid()

    @property
    def bounds(self) -> Window:
        """The whole image as a window."""
        return Window(0, 0, self.height, self.width)

    def read(
        self,
        window: Window,
        scale: int = 1,
        fill: Fill = "zero",
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Read a window, which may reach outside the image, `scale` times smaller.

        Parameters
        ----------
        window
            In pixels of the image.
        scale
            Each pixel is the mean of a square of `scale` x `scale` pixels, equal to cv2.INTER_AREA.
        fill
            What stands outside the image, and takes part in that mean. It is 0, the image
            reflected, or its edge repeated.
        out
            Where to write the pixels. By default they get an array of their own.

        Returns
        -------
        (bands, height / scale, width / scale) in the image's dtype. Pixels without data are 0, and
        a mean leaves them out. `read_valid` says where they are.

        Raises
        ------
        GridError
            The scale does not divide the window, or there is no such fill.
        SlideError
            A block cannot be decoded.
        """
        _check_request(window, scale, fill)
        if out is None:
            shape = (self.bands, window.height // scale, window.width // scale)
            out = np.empty(shape, self.dtype)
        factor = self._overview_for(window, scale) if self._options["overviews"] else 1
        level = self._level(factor)
        window, scale = window.shrunk(factor), scale // factor
        if scale == 1:
            read_boundless(level, window, fill, out)
        else:
            read_shrunk(level, window, scale, fill, out)
        return out

    def read_whole(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Read the whole image at once, and where it holds data.

        Returns
        -------
        (height, width, bands) in the image's dtype, 0 where there is no data. Then where there is
        data, (height, width) bool, or None if all of it is. Bands come last here, because most
        files hold a picture so. GDAL decodes a JPEG twice as fast then.

        Raises
        ------
        SlideError
            A block cannot be decoded.
        """
        pixels = np.empty((self.height, self.width, self.bands), self.dtype)
        return pixels, self._level(1).read_into(self.bounds, np.moveaxis(pixels, 2, 0))

    def thumbnail(self, max_side: int) -> np.ndarray:
        """Return the whole image, (bands, h, w), shrunk by a whole factor to fit `max_side`.

        It is made from the coarsest overview that is fine enough, if the file has one. Otherwise
        one thread per core decodes every block.
        """
        wanted = max(1, -(-max(self.height, self.width) // max_side))
        factor = max((f for f in self._overview_factors if f <= wanted), default=1)
        level, scale = self._level(factor), -(-wanted // factor)
        height, width = (-(-side // scale) * scale for side in (level.height, level.width))
        out = np.empty((self.bands, height // scale, width // scale), self.dtype)
        if scale == 1:
            level.read_into(level.bounds, out)
            return out
        step = rows_at_once(level, width, scale)
        stacks = threading.local()  # a handle is for one thread

        def read_rows(row: int) -> None:
            if not hasattr(stacks, "level"):
                stacks.level = self._open_level(factor)
            part = Window(row, 0, min(step, height - row), width)
            read_shrunk(
                stacks.level, part, scale, "edge", out[:, row // scale : part.bottom // scale]
            )

        limit = BlockCacheLimit(_THUMBNAIL_CACHE)
        try:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                collections.deque(pool.map(read_rows, range(0, height, step)), maxlen=0)
        finally:
            limit.lift()
        return out

    def read_valid(self, window: Window, scale: int = 1) -> np.ndarray:
        """Return where the image holds data in all of a square: (h / scale, w / scale) bool.

        A pixel outside the image holds none. One inside holds none if a band of it is NaN or
        infinite, if the file's mask or alpha band leaves it out, or by its nodata value. Any band
        that holds that value is enough. But with 8 bits all bands must hold it. If the image can
        lack data, a block that cannot be decoded holds none either.
        """
        valid = np.zeros((window.height, window.width), bool)
        inside = window.intersection(self.bounds)
        if inside.area:
            valid[inside.relative_to(window).slices] = True
        if inside.area and self.may_lack_data:
            level = self._level(1)
            step = rows_at_once(level, inside.width, 1)
            for row in range(inside.row, inside.bottom, step):
                part = Window(row, inside.col, min(step, inside.bottom - row), inside.width)
                valid[part.relative_to(window).slices] = held_in(level, part)
        rows, columns = window.height // scale, window.width // scale
        return valid.reshape(rows, scale, columns, scale).all(axis=(1, 3))

    def close(self) -> None:
        """Close the file. The next read opens it again."""
        for level in self._levels.values():
            level.close()
        self._levels = {}

    def __exit__(self, *_: object) -> None:
        self.close()

    def _level(self, factor: int) -> BandStack:
        """Return the image, or its overview `factor` times smaller, open in this process."""
        if not self._levels or self._process != os.getpid():
            self._open()  # after a fork both processes would share one file position
        if factor not in self._levels:
            self._levels[factor] = self._open_level(factor)
        return self._levels[factor]

    def _open_level(self, factor: int) -> BandStack:
        options = self._options
        return BandStack(self._layouts, factor, options["nodata"], options["palette"])

    @functools.cached_property
    def _overview_factors(self) -> list[int]:
        """The factors of the overviews that all files have, ascending."""
        if len(self._layouts) > 1:
            return sorted(set.intersection(*(set(each.overviews) for each in self._layouts)))
        layout = self._layouts[0]
        if layout.driver == "GTiff":
            return list(layout.overviews)
        return self._level(1).own_overviews()

    def _overview_for(self, window: Window, scale: int) -> int:
        """Return the coarsest overview factor that divides the scale and the window's corner."""
        return max(
            (f for f in self._overview_factors if not scale % f | window.row % f | window.col % f),
            default=1,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Slide, **self._options), (self.paths,)

    def __repr__(self) -> str:
        return (
            f"<Slide {self.name}: {self.height} x {self.width} x {self.bands} {self.dtype}, "
            f"{self.layout}>"
        )


def _check_request(window: Window, scale: int, fill: str) -> None:
    if scale < 1 or window.height % scale or window.width % scale:
        raise GridError(
            f"scale {scale} does not divide a window of {window.height} x {window.width} "
            "pixels. Choose a window whose sides are multiples of it"
        )
    if fill not in FILLS:
        raise GridError(f'found fill "{fill}", wanted {choices(Fill)}')
