"""How large files and folders are, and when they were last used. Links are not followed."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "measure"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What files take.

    Attributes
    ----------
    bytes
        Their size. A file with several names counts once.
    files
        How many there are.
    last_used
        When one of them was last read or written, in seconds since 1970. 0 if there is none.
    """

    bytes: int
    files: int
    last_used: float


def measure(paths: Iterable[Path], seen: Callable[[int], object] = bool) -> Usage:
    """Measure files and folders, as far as they can be read.

    Parameters
    ----------
    paths
        The files and folders.
    seen
        It is called with 1 for each file.
    """
    total = files = 0
    last = 0.0
    inodes: set[tuple[int, int]] = set()
    for status in _files(paths):
        files += 1
        seen(1)
        last = max(last, status.st_mtime, status.st_atime)
        if (status.st_dev, status.st_ino) not in inodes:
            inodes.add((status.st_dev, status.st_ino))
            total += status.st_size
    return Usage(total, files, last)


def _files(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    """The status of each file at or below the paths, and of each link itself."""
    waiting = [os.fspath(path) for path in paths]
    while waiting:
        place = waiting.pop()
        try:
            status = os.lstat(place)
            if not stat.S_ISDIR(status.st_mode):
                yield status
                continue
            with os.scandir(place) as entries:
                waiting += [entry.path for entry in entries]
        except OSError:  # it is gone, or nobody may look
            continue
