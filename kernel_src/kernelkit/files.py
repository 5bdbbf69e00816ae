"""The hash of a file, and writing that never leaves half a file or folder behind."""

import ctypes
import hashlib
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = [
    "DAMAGED_ARCHIVE",
    "expanded",
    "file_sha256",
    "have_temporary_folder",
    "open_atomically",
    "replace_atomically",
    "replace_folder",
    "take_back",
]

# what reading a damaged or encrypted archive raises, beside OSError
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def expanded(path: str | Path) -> Path:
    """Return a path with the user's folder for `~`. If there is no such user, it stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replace_atomically(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to. After the block it takes the place of `path`.

    If the block raises, what was written vanishes, and `path` stays as it was. If the folder is
    missing, it is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(descriptor)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o644)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def open_atomically(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that takes the place of `path` once it is complete.

    Line ends are written as they are given.
    """
    with (
        replace_atomically(path) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


def replace_folder(new: Path, folder: Path) -> None:
    """Let the folder `new` take the place of `folder`, if there is one. That lies at `new` then.

    Linux exchanges both names at once, so that a kill finds the one or the other there. Some disks
    cannot. There the old folder is called `.old-NAME` for a moment. If a kill leaves it so, the
    next call takes it back first.
    """
    take_back(folder)
    if not os.path.lexists(folder):
        new.rename(folder)
        return
    if _exchanged(new, folder):
        return
    beside = _aside(folder)
    shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed later than that
    folder.rename(beside)
    try:
        new.rename(folder)
    except BaseException:
        beside.rename(folder)
        raise
    beside.rename(new)


def take_back(folder: Path) -> None:
    """Give a folder its name again, if `replace_folder` was killed between two renames."""
    if not os.path.lexists(folder) and _aside(folder).is_dir():
        _aside(folder).rename(folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}")


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system exchanged two names, as man 2 renameat2 has it."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2
    if call is None:
        return False
    return bool(call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def have_temporary_folder(instead: str | Path) -> str:
    """Make `instead` the folder for temporary files, if the system has none that can be written.

    It comes before torch is imported, which needs one.

    Returns
    -------
    A line that says so. It is empty if the system has a folder.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = Path(instead).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        return f"no folder for temporary files can be written to. They go to {folder}"
    return ""
