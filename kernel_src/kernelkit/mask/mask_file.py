"""Packed masks on disk: a .npz file of `words` and `width`, which plain numpy can read too."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from kernelkit.errors import MaskError, OutputError
from kernelkit.files import replace_atomically
from kernelkit.mask.bits import Words, tail_mask, words_per_row

__all__ = ["read", "write"]

# What numpy raises for files that are missing, cut off or something else.
_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,  # from a header that is no Python
    OSError,
    RuntimeError,  # an encrypted member, or compression that zipfile does not know
    zipfile.BadZipFile,
    zlib.error,
)

# A header and one number.
_MOST_BYTES_OF_WIDTH = 1024


def write(path: Path, words: Words, width: int) -> None:
    """Write a mask compressed. The file appears once it is complete."""
    # numpy's own savez_compressed compresses harder, and takes five times as long
    try:
        with (
            replace_atomically(path) as unfinished,
            zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for name, array in (("words", words), ("width", np.asarray(width, np.int64))):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise OutputError(
            f"{str(path)!r}: the mask cannot be written there ({reason}). Choose a path in a folder"
            " that is writable and has room"
        ) from error


def read(path: Path, shape: tuple[int, int] | None) -> tuple[Words, int]:
    """The words and the width that `write` wrote.

    Parameters
    ----------
    path
        The file.
    shape
        (height, width) that the mask must have, or None.

    Raises
    ------
    MaskError
        The file is missing, damaged or something else, or the mask has another shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            width = _read_width(archive)
            with archive.open("words.npy") as file:
                height = _check_header(file, width)
            if shape is not None and (height, width) != shape:
                raise MaskError(
                    f"{path}: found a mask of {height} x {width} pixels, wanted {shape[0]} x"
                    f" {shape[1]}. Delete it and make the mask again"
                )
            with archive.open("words.npy") as file:
                words = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise MaskError(f"{path}: there is no such mask. Make it first") from None
    except MaskError:
        raise
    except MemoryError as error:
        raise MaskError(
            f"{path}: found a mask of {height} x {width} pixels, for which there is not enough"
            " memory. Delete it and make the mask again"
        ) from error
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
        raise MaskError(
            f"{path}: this is not a saved mask that can be read ({reason}). Delete it and make the"
            " mask again"
        ) from error
    if (words[:, -1] & ~tail_mask(width)).any():
        raise MaskError(
            f"{path}: found pixels past the last column. Delete it and make the mask again"
        )
    return words, width


def _read_width(archive: zipfile.ZipFile) -> int:
    if archive.getinfo("width.npy").file_size > _MOST_BYTES_OF_WIDTH:
        raise ValueError
    with archive.open("width.npy") as file:
        width = np.lib.format.read_array(file, allow_pickle=False)
    if width.shape != () or width.dtype.kind not in "ui" or width < 1:
        raise ValueError
    return int(width)


def _check_header(file: IO[bytes], width: int) -> int:
    """The height of a mask, from the header of its words, before memory is taken for them."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.uint64 or len(shape) != 2 or shape[1] != words_per_row(width) or shape[0] < 1:
        raise ValueError
    return int(shape[0])
