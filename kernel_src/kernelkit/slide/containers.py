"""Open one image file with the one driver that its first bytes ask for, and nothing else.

GDAL has some 150 drivers. Several of them read no pixels but name other files, archives or
addresses. So a file is opened only if it begins like one of the formats here, and only by that
format's driver. Its name must be that of a file on disk. GDAL's own names for archives and
addresses are never passed on. Files beside the image are not looked for, neither overviews nor
masks nor metadata.
"""

import re
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from kernelkit.console import printable
from kernelkit.errors import SlideError
from kernelkit.slide.npy import dataset_of_npy

__all__ = [
    "GDAL_ERRORS",
    "check_file",
    "chunks",
    "driver_of",
    "exif_orientation",
    "in_plain_words",
    "open_dataset",
    "reason_of",
]

# What rasterio raises: its own errors, and at some places GDAL's.
GDAL_ERRORS = (RasterioError, CPLE_BaseError)

# How files of the formats begin that competitions ship, by GDAL's driver for them.
_FORMATS: Mapping[str, tuple[bytes, ...]] = {
    "GTiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "JP2OpenJPEG": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    # a virtual dataset of our own, see `kernelkit.slide.npy`
    "NPY": (b"\x93NUMPY",),
}
# These are opened only under their own suffix, that is, if the recipe names it.
_BY_SUFFIX: Mapping[str, tuple[str, tuple[bytes, ...]]] = {
    ".gif": ("GIF", (b"GIF87a", b"GIF89a")),
    ".pgm": ("PNM", (b"P5",)),
    ".ppm": ("PNM", (b"P6",)),
    ".pnm": ("PNM", (b"P5", b"P6")),
}
_NAMES = "TIFF, PNG, JPEG, JPEG 2000, WebP, BMP or npy"

# No folder is listed, so no file beside the image is found. GDAL's own side files are off.
_ALONE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "USE_RRD": "NO",
}
# Where a TIFF says where on earth it lies: in itself, not in a world file beside it.
_OPTIONS = {"GTiff": {"GEOREF_SOURCES": "INTERNAL"}, "JP2OpenJPEG": {"GEOREF_SOURCES": "INTERNAL"}}


# What GDAL adds to libjpeg's words.
_ADVICE = re.compile(r" \(this \w+ can be turned as .*?(TRUE|FALSE)\)")


def check_file(path: Path) -> None:
    """Refuse a path that is no file with content.

    Raises
    ------
    SlideError
        There is no file of this name, or it is empty, or it cannot be looked at.
    """
    if "\0" in str(path):
        raise SlideError(f"{str(path)!r}: found a name that no file can have. Rename the file")
    if printable(str(path)) != str(path):
        raise SlideError(
            f"{printable(str(path))}: found a name that is no text in UTF-8. Rename the file, or "
            "the folder that has this name"
        )
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise SlideError(
            f"{path}: there is no such file. Check the folder and the image's id"
        ) from None
    except OSError as error:
        raise SlideError(
            f"{str(path)[:200]}: the file cannot be looked at ({error.strerror}). Check its name, "
            "and give this user access to it"
        ) from error
    if stat.S_ISDIR(found.st_mode):
        raise SlideError(f"{path}: found a folder, wanted an image file. Name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise SlideError(f"{path}: found a pipe or a device, wanted an image file. Name a file")
    if found.st_size == 0:
        raise SlideError(f"{path}: the file is empty. Download or copy it again")


def driver_of(path: Path) -> str:
    """Return GDAL's driver for a file, by the bytes that it begins with.

    Raises
    ------
    SlideError
        It begins like no image that is opened here.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise SlideError(f"{path}: {error.strerror}. Give this user access to it") from error
    for driver, beginnings in _FORMATS.items():
        if head.startswith(beginnings) and (driver != "WEBP" or head[8:12] == b"WEBP"):
            return driver
    driver, beginnings = _BY_SUFFIX.get(path.suffix.lower(), ("", ()))
    if driver and head.startswith(beginnings):
        return driver
    if head.startswith(b"version https://"):
        raise SlideError(
            f"{path}: found Git LFS's pointer to a file, wanted the file itself. Get it with 'git "
            "lfs pull'"
        )
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        raise SlideError(
            f"{path}: found a web page, wanted an image. Its download failed. Download it again"
        )
    if text.startswith(b"<"):
        raise SlideError(
            f"{path}: found no image that GDAL can open here, but a text that describes one. Such "
            f"texts can name other files and addresses. Convert it to a file of {_NAMES}"
        )
    raise SlideError(
        f"{path}: found no image that GDAL can open here: it begins with {head!r}. Wanted "
        f"{_NAMES}. Convert it, or download or copy it again"
    )


def open_dataset(
    path: Path, driver: str, page: int | None = None, overview: int | None = None
) -> DatasetReader:
    """Open a file's image, or one page of a TIFF, or one of a format's own overviews.

    Parameters
    ----------
    path
        The file.
    driver
        The only driver that may open it.
    page
        Where a TIFF's directory lies in the file, in bytes. None opens the first.
    overview
        Which overview to open, counted from 0. None opens the image itself.

    Raises
    ------
    SlideError
        There is no such file any more.
    RasterioError or CPLE_BaseError
        The driver cannot open it. `GDAL_ERRORS` has both.
    """
    check_file(path)
    name = str(path.absolute())  # so no name is taken for an address or an archive
    if name.startswith("/vsi"):
        raise SlideError(
            f"{path}: names that begin with /vsi are GDAL's own, for archives and addresses. Move "
            "the file to another folder"
        )
    if page is not None:
        name = f"GTIFF_DIR:off:{page}:{name}"
    options: dict[str, object] = dict(_OPTIONS.get(driver, {}))
    if overview is not None:
        options["overview_level"] = overview
    if driver == "NPY":
        # the text names one file, which was looked at above
        with rasterio.Env(**_ALONE, GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE="ALL"):
            return rasterio.open(dataset_of_npy(path), driver="VRT")
    with rasterio.Env(**_ALONE):
        return rasterio.open(name, driver=driver, **options)


def exif_orientation(path: Path, driver: str) -> int:
    """Return how a PNG, JPEG or WebP says it should be turned, 1 if it should not."""
    for kind, start, size in chunks(path, driver):
        if kind.lower() == b"exif":
            with path.open("rb") as file:
                file.seek(start)
                return _orientation(file.read(min(size, 1 << 16)))
    return 1


def chunks(path: Path, driver: str) -> Iterator[tuple[bytes, int, int]]:
    """Iterate over name, start and size of a file's chunks."""
    with path.open("rb") as file:
        if driver == "PNG":
            at, layout, extra = 8, struct.Struct(">I4s"), 4
        elif driver == "WEBP":
            at, layout, extra = 12, struct.Struct("<4sI"), 0
        elif driver == "JPEG":
            yield from _jpeg_chunks(path)
            return
        else:
            return
        for _ in range(4096):
            file.seek(at)
            head = file.read(8)
            if len(head) < 8:
                return
            first, second = layout.unpack(head)
            kind, size = (second, first) if driver == "PNG" else (first, second)
            yield kind, at + 8, size
            at += 8 + size + extra + (size % 2 if driver == "WEBP" else 0)


def _jpeg_chunks(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Iterate over the segments of a JPEG before its pixels."""
    with path.open("rb") as file:
        at = 2
        for _ in range(4096):
            file.seek(at)
            head = file.read(10)
            if len(head) < 10 or head[0] != 0xFF or head[1] == 0xDA:
                return
            size = struct.unpack_from(">H", head, 2)[0]
            yield head[4:8], at + 10, max(0, size - 8)
            at += 2 + size


def _orientation(exif: bytes) -> int:
    """Return the orientation of a block of EXIF, which is a small TIFF."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 1
        first = struct.unpack_from(order + "I", exif, 4)[0]
        for index in range(struct.unpack_from(order + "H", exif, first)[0]):
            at = first + 2 + 12 * index
            if struct.unpack_from(order + "H", exif, at)[0] == 274:
                return int(struct.unpack_from(order + "H", exif, at + 8)[0])
    except struct.error:
        pass
    return 1


def reason_of(error: Exception) -> str:
    """Return GDAL's own words for what went wrong."""
    return in_plain_words(str(error.__cause__ or error))


def in_plain_words(text: str) -> str:
    """Return what GDAL says on one line, without its advice on its own settings."""
    return _ADVICE.sub("", " ".join(text.split()))
