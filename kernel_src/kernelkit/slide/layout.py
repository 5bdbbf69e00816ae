"""Which parts of a file are its image: the pages that are bands, the overviews, what is left out.

A TIFF may hold thumbnails, labels, masks and smaller copies beside the image, in any order. The
image is the largest page. If it has one sample per pixel, the pages like it are its further bands.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernelkit.errors import SlideError
from kernelkit.slide.budget import check_page
from kernelkit.slide.containers import driver_of, exif_orientation
from kernelkit.slide.frames import notes_on_frames
from kernelkit.slide.npy import notes_on_npy
from kernelkit.slide.tiff import COMPRESSIONS, TiffPage, read_pages

__all__ = ["FileLayout", "read_layout"]

# Each page that is a band is a file handle of its own, of which a process has 1024 by default.
_MOST_BANDS = 512
# TIFF's photometric interpretations that a network does not expect.
_COLOURS: Mapping[int, str] = {
    0: "white is 0",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "mosaic of a camera",
    32844: "LogL",
    32845: "LogLuv",
}
# How many depths and times there are, in OME's words and in ImageJ's.
_DEPTHS, _TIMES = r'\b(?:SizeZ="|slices=)(\d{1,9})\b', r'\b(?:SizeT="|frames=)(\d{1,9})\b'
# Compressions whose decoder gives RGB for YCbCr: JPEG, old JPEG and WebP.
_TO_RGB = (6, 7, 34927, 50001)


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """What a file holds.

    Attributes
    ----------
    path, driver
        The file, and GDAL's driver for it.
    pages
        Where the directories of a TIFF's bands lie. None is the file's own image.
    overviews
        The directory of each overview of a TIFF, by its factor.
    page
        The directory of the image, None if the file is no TIFF.
    compression
        Its name, empty if the file is no TIFF.
    colour
        What is unusual about the samples, in a few words.
    orientation
        How a viewer should turn the image, 1 if it should not.
    notes
        What is left out or read otherwise than a viewer shows it, a sentence each.
    """

    path: Path
    driver: str
    pages: tuple[int | None, ...] = (None,)
    overviews: Mapping[int, int] = dataclasses.field(default_factory=dict)
    page: TiffPage | None = None
    compression: str = ""
    colour: str = ""
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read_layout(path: Path) -> FileLayout:
    """Say what a file holds. No pixel is decoded.

    Raises
    ------
    SlideError
        It is no image, is damaged, or declares more than it can hold.
    """
    driver = driver_of(path)
    if driver == "GTiff":
        return _tiff_layout(path)
    if driver == "NPY":
        return FileLayout(path, driver, notes=notes_on_npy(path))
    orientation = exif_orientation(path, driver)
    notes = (*notes_on_frames(path, driver), *_turned(orientation))
    return FileLayout(path, driver, orientation=orientation, notes=notes)


def _tiff_layout(path: Path) -> FileLayout:
    pages, notes = read_pages(path)
    whole = [page for page in pages if not page.reduced and not page.mask] or pages
    image = max(whole, key=lambda page: page.height * page.width)
    bands = [image]
    if image.samples == 1:
        bands = [page for page in whole if page.frame == image.frame]
    if len(bands) > _MOST_BANDS:
        raise SlideError(
            f"{path}: found {len(bands)} pages of {image.height} x {image.width} pixels, wanted at "
            f"most {_MOST_BANDS} as bands of one image. Save each image in a file of its own"
        )
    for page in bands:
        notes += check_page(path, page)
    overviews = _overviews(image, pages) if len(bands) == 1 else {}
    notes += _left_out(image, whole, bands)
    notes += _no_overviews(image, pages, overviews, bands)
    notes += _planes_of_imagej(image, bands)
    notes += _depths_and_times(pages[0].description, len(bands))
    notes += _turned(image.orientation)
    if image.photometric == 0:
        notes.append("white is stored as 0 (MINISWHITE): the values are read as they are stored")
    in_rgb = image.photometric == 6 and image.compression in _TO_RGB
    return FileLayout(
        path,
        "GTiff",
        tuple(None if page is pages[0] else page.offset for page in bands),
        overviews,
        image,
        COMPRESSIONS.get(image.compression, f"compression {image.compression}"),
        "" if in_rgb else _COLOURS.get(image.photometric, ""),
        image.orientation,
        tuple(dict.fromkeys(notes)),
    )


def _overviews(image: TiffPage, pages: Sequence[TiffPage]) -> dict[int, int]:
    """Return the smaller copies of an image: those whose shape is its own divided by a factor."""
    found: dict[int, int] = {}
    for page in pages:
        factor = round(image.width / page.width)
        if (
            page.reduced
            and not page.mask
            and page is not image
            and factor > 1
            and page.frame[2:] == image.frame[2:]
            and _is_divided(image.height, page.height, factor)
            and _is_divided(image.width, page.width, factor)
        ):
            found.setdefault(factor, page.offset)
    return dict(sorted(found.items()))


def _is_divided(length: int, shrunk: int, factor: int) -> bool:
    """Whether one side is the other divided, rounded down or up as writers do."""
    return length // factor <= shrunk <= -(-length // factor)


def _left_out(image: TiffPage, whole: Sequence[TiffPage], bands: Sequence[TiffPage]) -> list[str]:
    """Say which pages are neither bands of the image nor copies of it."""
    others = [page for page in whole if page not in bands]
    alike = sum(page.frame == image.frame for page in others)
    notes = []
    if alike:
        notes.append(
            f"only the first of {alike + 1} pages of {image.height} x {image.width} pixels and "
            f"{image.samples} samples is read"
        )
    if len(others) > alike:
        shapes = {f"{p.height} x {p.width}" for p in others if p.frame != image.frame}
        named = ", ".join(sorted(shapes)[:3]) + (", ..." if len(shapes) > 3 else "")
        notes.append(f"{_pages(len(others) - alike)} of another kind is left out: {named}")
    return notes


def _no_overviews(
    image: TiffPage,
    pages: Sequence[TiffPage],
    overviews: Mapping[int, int],
    bands: Sequence[TiffPage],
) -> list[str]:
    if len(bands) > 1:
        return []
    return [
        f"a reduced page of {page.height} x {page.width} is no overview of the image: left out"
        for page in pages
        if page.reduced
        and not page.mask
        and page is not image
        and page.offset not in overviews.values()
    ]


def _planes_of_imagej(image: TiffPage, bands: Sequence[TiffPage]) -> list[str]:
    """Say if ImageJ's own description counts more planes than there are pages."""
    if not image.description.startswith("ImageJ="):
        return []
    counted = re.search(r"^images=(\d{1,9})\s*$", image.description, re.MULTILINE)
    planes = len(bands) if image.samples == 1 else 1
    if counted is None or int(counted[1]) <= planes * (1 if image.samples == 1 else image.samples):
        return []
    return [f"ImageJ's description counts {int(counted[1])} planes: only {planes} is read"]


def _depths_and_times(description: str, bands: int) -> list[str]:
    """Say if bands are depths or times, as OME's or ImageJ's description has it."""
    depths, times = (
        max([1, *map(int, re.findall(pattern, description))]) for pattern in (_DEPTHS, _TIMES)
    )
    if bands == 1 or depths * times == 1:
        return []
    return [
        f"the file has planes of several depths ({depths}) or times ({times}): all {bands} are "
        "read as bands, in the file's order"
    ]


def _turned(orientation: int) -> tuple[str, ...]:
    if orientation == 1:
        return ()
    return (
        f"the file asks viewers to turn it (orientation {orientation}): the pixels are read as "
        "they are stored",
    )


def _pages(count: int) -> str:
    return "a page" if count == 1 else f"each of {count} pages"
