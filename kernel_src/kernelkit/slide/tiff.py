"""The pages of a TIFF file, read from its directories alone: no pixel is decoded.

GDAL walks all directories from the first one whenever it opens one of them. That takes a second for
400 pages and grows with their square. Here each directory is read once. A page is then opened by
its offset. What the directories say is also checked before any memory is taken.
"""

import dataclasses
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kernelkit.errors import SlideError

__all__ = ["COMPRESSIONS", "TiffPage", "read_pages"]

# TIFF's numbers of compressions, by the names that people use. "TIFF 6.0", libtiff's tiff.h, and
# the codes that scanners' makers took.
COMPRESSIONS: Mapping[int, str] = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT group 3",
    4: "CCITT group 4",
    5: "LZW",
    6: "old JPEG (OJPEG)",
    7: "JPEG",
    8: "DEFLATE",
    9: "JBIG",
    10: "JBIG",
    32771: "CCITT RLE",
    32773: "PACKBITS",
    32809: "THUNDERSCAN",
    32946: "DEFLATE",
    33003: "Aperio JPEG 2000",
    33004: "Aperio JPEG 2000",
    33005: "Aperio JPEG 2000",
    34661: "JBIG",
    34676: "SGILOG",
    34677: "SGILOG24",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    34926: "ZSTD (old number)",
    34927: "WEBP (old number)",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "ZSTD",
    50001: "WEBP",
    50002: "JPEG XL",
    52546: "JPEG XL of DNG",
    22610: "JPEG XR",
}

# More directories than this are not walked. A minute of microscopy at 1 kHz has 60 000.
_MOST_PAGES = 100_000
# A directory of more entries than this is no directory. Real ones have some dozens.
_MOST_ENTRIES = 4096
# How much of the file is read at a time, in bytes. A directory and its numbers lie together.
_AHEAD = 512
# How much of a description is read, in bytes.
_DESCRIPTION = 4096

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
_LETTERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 18: "u8"}

_NEW_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 255, 256, 257, 258, 259
_PHOTOMETRIC, _DESCRIBED, _STRIPS, _ORIENTATION, _SAMPLES = 262, 270, 273, 274, 277
_ROWS_PER_STRIP, _STRIP_SIZES, _PLANAR = 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339


@dataclasses.dataclass(frozen=True)
class TiffPage:
    """What one directory says of its page.

    Attributes
    ----------
    offset
        Where the directory lies in the file.
    height, width, samples
        The page's shape.
    bits, sample_format
        Those of one sample, as TIFF numbers them.
    block
        Height and width of a tile or strip. A strip is no higher than the page.
    compression, photometric, orientation
        TIFF's numbers.
    planar
        Whether each sample has blocks of its own.
    reduced, mask
        Whether the page is a smaller copy of another, or says which of its pixels count.
    description
        The beginning of its text.
    offsets, sizes
        Where each block lies and how many bytes it has. Both are 0 if it was left out. They are
        empty if the directory does not say.
    """

    offset: int
    height: int
    width: int
    samples: int
    bits: int
    sample_format: int
    block: tuple[int, int]
    compression: int
    photometric: int
    orientation: int
    planar: bool
    reduced: bool
    mask: bool
    description: str
    offsets: "_Values"
    sizes: "_Values"

    @property
    def frame(self) -> tuple[int, ...]:
        """What pages must share to be the bands of one image."""
        return (self.height, self.width, self.samples, self.bits, self.sample_format)

    @property
    def blocks(self) -> int:
        """How many blocks the page has."""
        rows, columns = (
            -(-side // step)
            for side, step in zip((self.height, self.width), self.block, strict=True)
        )
        return rows * columns * (self.samples if self.planar else 1)

    @property
    def block_bytes(self) -> int:
        """How many bytes one whole block decodes to."""
        samples = 1 if self.planar else self.samples
        return -(-self.block[0] * self.block[1] * samples * self.bits // 8)


@dataclasses.dataclass(frozen=True)
class _Values:
    """The values of one entry of a directory, which are read when they are asked for."""

    path: Path
    dtype: str
    count: int
    at: int

    def read(self) -> np.ndarray:
        """Return the values, (count,) int64. Fewer come if the file ends before them."""
        if not self.count:
            return np.zeros(0, np.int64)
        with self.path.open("rb") as file:
            # a damaged place is none, and a damaged count takes memory that nobody has
            left = max(0, file.seek(0, os.SEEK_END) - self.at)
            file.seek(-left, os.SEEK_END)
            data = file.read(min(left, self.count * np.dtype(self.dtype).itemsize))
        whole = len(data) // np.dtype(self.dtype).itemsize
        return np.frombuffer(data, self.dtype, whole).astype(np.int64)


def read_pages(path: Path) -> tuple[list[TiffPage], list[str]]:
    """Return the pages of a TIFF in their order, and notes on what is left out.

    Raises
    ------
    SlideError
        The file has no directory, or its first one is damaged.
    """
    pages: list[TiffPage] = []
    notes: list[str] = []
    with path.open("rb") as file:
        directories = _Directories(path, file)
        seen = set()
        offset = directories.first
        while offset:
            if offset in seen:
                notes.append(f"page {len(pages) + 1} leads back to an earlier one: it is left out")
                break
            if len(pages) == _MOST_PAGES:
                notes.append(f"pages after {_MOST_PAGES} are left out")
                break
            seen.add(offset)
            try:
                page, offset = directories.read(offset)
            except (ValueError, OSError, OverflowError) as error:
                if not isinstance(error, ValueError):  # no file can have such an offset
                    error = ValueError("its directory lies beyond the end of the file")
                if not pages:
                    raise SlideError(
                        f"{path}: the file is truncated or damaged ({error}). Download or copy "
                        "it again"
                    ) from None
                notes.append(f"page {len(pages) + 1} is damaged and left out ({error})")
                break
            if page is not None:
                pages.append(page)
    if not pages:
        raise SlideError(f"{path}: found a TIFF without a page, wanted an image. Copy it again")
    return pages, notes


class _Directories:
    """The directories of one open TIFF, classic or BigTIFF, in either byte order."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._begin, self._ahead = 0, b""  # a part of the file, and where it begins
        head = file.read(16).ljust(16, b"\0")
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = struct.unpack_from(self._order + "H", head, 2)[0] == 43
        self._entry = struct.Struct(self._order + ("HHQ8s" if self._big else "HHI4s"))
        self.first: int = struct.unpack_from(
            self._order + ("Q" if self._big else "I"), head, 8 if self._big else 4
        )[0]

    def read(self, offset: int) -> tuple[TiffPage | None, int]:
        """Return a page and the offset of the next. It is None if it has no pixels.

        Raises
        ------
        ValueError
            It lies beyond the end of the file, or is no directory.
        """
        head, tail = ("Q", "Q") if self._big else ("H", "I")
        count = self._unpack(head, offset, "its directory")
        if not 0 < count <= _MOST_ENTRIES:
            raise ValueError(f"its directory has {count} entries")
        start = offset + struct.calcsize(head)
        size = count * self._entry.size
        self._file.seek(start)
        body = self._file.read(size)
        if len(body) < size:
            raise ValueError("its directory lies beyond the end of the file")
        entries: dict[int, tuple[int, int, int]] = {}
        for index, (tag, kind, number, _) in enumerate(self._entry.iter_unpack(body)):
            at = start + (index + 1) * self._entry.size - (8 if self._big else 4)
            entries.setdefault(tag, (kind, number, at))
        try:
            following = self._unpack(tail, start + size, "its end")
        except ValueError:  # written by some cameras, and read by libtiff
            following = 0
        return self._page(offset, entries), following

    def _page(self, offset: int, entries: dict[int, tuple[int, int, int]]) -> TiffPage | None:
        def number(tag: int, default: int) -> int:
            return self._first_of(entries[tag]) if tag in entries else default

        height, width = number(_HEIGHT, 0), number(_WIDTH, 0)
        if height < 1 or width < 1:
            return None
        tiled = _TILE_WIDTH in entries
        strip = max(1, min(number(_ROWS_PER_STRIP, height), height))
        block = (number(_TILE_HEIGHT, height), number(_TILE_WIDTH, width))
        subfile = number(_NEW_SUBFILE, 0)
        return TiffPage(
            offset,
            height,
            width,
            max(1, number(_SAMPLES, 1)),
            max(1, number(_BITS, 1)),
            number(_FORMAT, 1),
            (max(1, block[0]), max(1, block[1])) if tiled else (strip, width),
            number(_COMPRESSION, 1),
            number(_PHOTOMETRIC, 1),
            number(_ORIENTATION, 1),
            number(_PLANAR, 1) == 2,
            bool(subfile & 1) or number(_OLD_SUBFILE, 1) == 2,
            bool(subfile & 4),
            self._text(entries.get(_DESCRIBED)),
            self._values(entries.get(_TILES if tiled else _STRIPS)),
            self._values(entries.get(_TILE_SIZES if tiled else _STRIP_SIZES)),
        )

    def _first_of(self, entry: tuple[int, int, int]) -> int:
        """Return the first number of an entry."""
        kind, count, _ = entry
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter is None or not count:
            raise ValueError("a number in its directory is no number")
        return self._unpack(letter, self._place(entry), "an entry")

    def _values(self, entry: tuple[int, int, int] | None) -> _Values:
        """Say where the numbers of an entry lie. An entry of another type has none."""
        if entry is None or entry[0] not in _LETTERS:
            return _Values(self._path, "u1", 0, 0)
        kind, count, _ = entry
        return _Values(self._path, self._order + _LETTERS[kind], count, self._place(entry))

    def _place(self, entry: tuple[int, int, int]) -> int:
        """Return where an entry's values lie: in the entry if they fit, or where it points."""
        kind, count, at = entry
        room = 8 if self._big else 4
        if count * _SIZES[kind] <= room:
            return at
        return self._unpack("Q" if self._big else "I", at, "an entry")

    def _text(self, entry: tuple[int, int, int] | None) -> str:
        if entry is None or entry[0] not in (1, 2, 7):
            return ""
        self._file.seek(self._place(entry))
        return self._file.read(min(entry[1], _DESCRIPTION)).decode("utf-8", "replace")

    def _unpack(self, letter: str, offset: int, what: str) -> int:
        if not self._begin <= offset <= self._begin + len(self._ahead) - 8:
            self._file.seek(offset)
            self._begin, self._ahead = offset, self._file.read(_AHEAD)
        try:
            return int(
                struct.unpack_from(self._order + letter, self._ahead, offset - self._begin)[0]
            )
        except struct.error:
            raise ValueError(f"{what} lies beyond the end of the file") from None
