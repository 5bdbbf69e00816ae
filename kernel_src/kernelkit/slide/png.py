"""Whether a PNG is whole: its chunks up to the end, and their checksums.

GDAL reads the rows that a cut PNG lacks as 0. It unpacks damaged rows as other pixels. Both happen
in silence, although every chunk carries a checksum. They are compared here.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from kernelkit.errors import SlideError

__all__ = ["check_png"]

# The chunks that a decoder needs. A checksum of any other may be wrong.
_NEEDED = frozenset((b"IHDR", b"PLTE", b"IDAT"))
# How many bytes are read at a time.
_AT_ONCE = 1 << 20


def check_png(path: Path) -> None:
    """Refuse a PNG that was cut short, or of which a needed chunk is damaged.

    Raises
    ------
    SlideError
        It is truncated or damaged.
    """
    with path.open("rb") as file:
        file.seek(8)
        kind = b""
        while kind != b"IEND":
            at = file.tell()
            head = file.read(8)
            size, kind = struct.unpack(">I4s", head.ljust(8, b"\0"))
            found = _checksum(file, kind, size) if kind in _NEEDED else file.seek(size, 1)
            wanted = file.read(4)
            if len(head) < 8 or len(wanted) < 4:
                raise SlideError(
                    f"{path}: the file is truncated. It ends without the mark that ends a PNG. "
                    "Download or copy it again"
                )
            if kind in _NEEDED and wanted != struct.pack(">I", found):
                raise SlideError(
                    f"{path}: the file is damaged. The checksum of its part {kind.decode()} at "
                    f"byte {at} is wrong. Download or copy it again"
                )


def _checksum(file: BinaryIO, kind: bytes, size: int) -> int:
    """Return the checksum of a chunk, of which the head was read."""
    found = zlib.crc32(kind)
    while size and (part := file.read(min(size, _AT_ONCE))):
        found = zlib.crc32(part, found)
        size -= len(part)
    return found
