"""What the files of an image hold, as a hash, and whether they were written to since."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from kernelkit.errors import SlideError
from kernelkit.files import file_sha256

__all__ = ["FileState", "content_of", "refuse_changed", "state_of"]

# Size, time of the last change and inode of each file.
FileState = tuple[tuple[int, int, int], ...]


def state_of(paths: Iterable[Path]) -> FileState:
    """What changes if somebody writes to one of the files, or replaces it."""
    states = [path.stat() for path in paths]
    return tuple((state.st_size, state.st_mtime_ns, state.st_ino) for state in states)


def refuse_changed(paths: Sequence[Path], state: FileState) -> None:
    """Raise `SlideError` if the files are not in this state any more."""
    if state_of(paths) != state:
        raise SlideError(
            f"{paths[0]}: the file was changed while it was read. Leave it alone while a run lasts"
        )


def content_of(paths: Iterable[Path]) -> str:
    """The hashes of whole files."""
    return " ".join(file_sha256(path) for path in paths)
