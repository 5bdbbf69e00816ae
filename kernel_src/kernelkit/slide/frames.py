"""Whether a PNG, JPEG, WebP or GIF holds more pictures than the one that is read."""

from pathlib import Path

from kernelkit.errors import SlideError
from kernelkit.slide.containers import chunks

__all__ = ["notes_on_frames"]

_ONLY_FIRST = "the file holds several pictures: only the first is read"
# The bit of a WebP's header that says it moves. "WebP Container Specification".
_ANIMATED = 2
# More blocks of a GIF are not walked.
_MOST_BLOCKS = 1 << 20


def notes_on_frames(path: Path, driver: str) -> list[str]:
    """Say if only the first of several pictures is read.

    Raises
    ------
    SlideError
        It is an animated WebP, which GDAL cannot decode.
    """
    if driver == "GIF":
        return [_ONLY_FIRST] if _gif_has_second(path) else []
    for kind, start, _ in chunks(path, driver):
        if driver == "WEBP" and kind == b"VP8X" and _byte_at(path, start) & _ANIMATED:
            raise SlideError(
                f"{path}: found an animated WebP, wanted one picture. Save its first frame"
            )
        if (driver, kind) in (("PNG", b"acTL"), ("JPEG", b"MPF\0")):
            return [_ONLY_FIRST]
        if kind == b"IDAT":  # what announces an animation stands before it
            break
    return []


def _byte_at(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(1))


def _gif_has_second(path: Path) -> bool:
    """Whether a GIF has a second image descriptor. "GIF89a Specification", section 20."""
    with path.open("rb") as file:
        file.seek(10)
        flags = int.from_bytes(file.read(1))
        file.seek(2 + _table(flags), 1)
        images = 0
        for _ in range(_MOST_BLOCKS):
            introducer = file.read(1)
            if introducer == b",":
                images += 1
                if images > 1:
                    return True
                file.seek(8, 1)
                file.seek(_table(int.from_bytes(file.read(1))) + 1, 1)
            elif introducer == b"!":
                file.seek(1, 1)
            else:
                return False
            while size := int.from_bytes(file.read(1)):
                file.seek(size, 1)
    return False


def _table(flags: int) -> int:
    """Return how many bytes a table of colours takes, if there is one."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
