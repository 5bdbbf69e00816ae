"""What decoders complain of although they go on: blocks whose pixels they made up.

libjpeg fills the rest of a damaged block with grey, and libtiff's fax decoders with white. GDAL
passes on their complaints as warnings, and rasterio logs those. They are heard here, so that a
block of such pixels counts as one that cannot be decoded. Warnings about anything else go their
way.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["complaints"]

# What libjpeg and libtiff say of pixels that are not the file's. Others of their warnings are
# harmless, such as extraneous bytes before a marker, which many cameras write.
_DAMAGE = (
    "premature end of",
    "bad huffman code",
    "bad arithmetic code",
    "instead of rst",
    "bad code word",
    "premature eol",
    "line length mismatch",
    "lack of data",
)
# Where rasterio logs them, by its version.
_LOGGERS = ("rasterio._err", "rasterio._env")

_heard = threading.local()


def _listen(record: logging.LogRecord) -> bool:
    """Keep a complaint of this thread's decoder. It is not logged, since an error comes of it."""
    kept: list[str] | None = getattr(_heard, "kept", None)
    if kept is None:
        return True
    text = record.getMessage()
    if not any(words in text.lower() for words in _DAMAGE):
        return True
    kept.append(text.removeprefix("CPLE_AppDefined:"))
    return False


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_listen)
    logging.getLogger(_name).setLevel(logging.WARNING)


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect what decoders complain of within a `with` block, in this thread."""
    kept: list[str] = []
    _heard.kept = kept
    try:
        yield kept
    finally:
        _heard.kept = None
