"""The short way to the pixels of a plain PNG: one look at its bytes, and OpenCV.

To open a `Slide` takes longer than to decode a picture of 101 x 101 pixels. So whole pictures are
tried here first. What is not plain, or not whole in every byte, is left to the `Slide`. It reads
the same pixels and knows the sentence for what is wrong.
"""

import hashlib
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kernelkit.console import printable

__all__ = ["PlainPicture", "look_at_plain", "read_plain"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
# What may stand in a plain PNG beside its pixels. None of it changes what GDAL or OpenCV reads.
_HARMLESS = frozenset((b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"tEXt", b"zTXt", b"tIME"))
# Larger files and pictures take longer to decode than a `Slide` to open. In bytes.
_MOST_BYTES = 16 << 20
# To open a pipe would otherwise take for ever.
_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_READ_AS = {0: cv2.IMREAD_GRAYSCALE, 2: cv2.IMREAD_COLOR_RGB}


@dataclass(frozen=True, slots=True)
class PlainPicture:
    """A picture of 8 bits without anything unusual.

    Attributes
    ----------
    pixels
        (height, width, bands) uint8.
    layout
        A few words for a log, those of its `Slide`.
    sha256
        The hash of the file's bytes.
    """

    pixels: np.ndarray
    layout: str
    sha256: str


def look_at_plain(path: Path) -> tuple[int, int, int] | None:
    """Return height, width and bands of a plain PNG, as `read_plain` would give them.

    Returns
    -------
    None if the file is another, or damaged, or not to be looked at.
    """
    content = _content(path)
    header = None if content is None else _checked_header(content)
    if header is None:
        return None
    height, width, colour = header
    return height, width, 3 if colour == 2 else 1


def read_plain(path: Path) -> PlainPicture | None:
    """Read a plain PNG: grey or RGB of 8 bits, not interlaced, without transparency.

    Bytes after the last row are left alone, as viewers do. GDAL refuses them if it is asked for all
    rows at once.

    Returns
    -------
    None if the file is another, or damaged, or not to be looked at.
    """
    content = _content(path)
    header = None if content is None else _checked_header(content)
    if content is None or header is None:
        return None
    height, width, colour = header
    flags = _READ_AS[colour] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is None or pixels.shape[:2] != (height, width):
        return None
    arrangement = "interleaved" if colour == 2 else "planar"
    layout = f"strips of {height} rows PNG, {arrangement}"
    sha256 = hashlib.sha256(content).hexdigest()
    return PlainPicture(pixels.reshape(height, width, -1), layout, sha256)


def _content(path: Path) -> bytes | None:
    """Return the bytes of a small file, None of any other."""
    name = str(path)
    if "\0" in name or not (name.isascii() or printable(name) == name):
        return None
    if (name if path.is_absolute() else str(path.absolute())).startswith("/vsi"):
        return None
    try:
        descriptor = os.open(path, _AT_ONCE)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= _MOST_BYTES:
            return None
        content = os.read(descriptor, found.st_size)
        return content if len(content) == found.st_size else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _checked_header(content: bytes) -> tuple[int, int, int] | None:
    """Return height, width and colour type if every chunk is whole, known and plain."""
    if not content.startswith(_SIGNATURE) or not content.endswith(_END):
        return None
    header = None
    parts = memoryview(content)
    at, ends = len(_SIGNATURE), len(content)
    while at + 12 <= ends:
        size, kind = struct.unpack_from(">I4s", content, at)
        stop = at + 8 + size
        if stop + 4 > ends:
            return None
        [checksum] = struct.unpack_from(">I", content, stop)
        if zlib.crc32(parts[at + 4 : stop]) != checksum:
            return None
        if header is None:
            header = _plain_header(kind, content[at + 8 : stop], len(content))
            if header is None:
                return None
        elif kind == b"IEND":
            return header if stop + 4 == ends else None
        elif kind != b"IDAT" and kind not in _HARMLESS:
            return None
        at = stop + 4
    return None


def _plain_header(kind: bytes, header: bytes, length: int) -> tuple[int, int, int] | None:
    """Return height, width and colour type if a file of this length can hold such a picture."""
    if kind != b"IHDR" or len(header) != 13:
        return None
    width, height, bits, colour, *methods = struct.unpack(">II5B", header)
    if bits != 8 or colour not in _READ_AS or any(methods):
        return None
    if not 0 < height * width * 3 <= min(_MOST_BYTES, length * 1032):
        return None
    return height, width, colour
