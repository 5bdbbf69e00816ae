"""Packed masks on disk: a .npz file of `words` and `width`, which plain numpy can read too."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from kernelkit.errors import MaskError, as_sentence
from kernelkit.files import replace_atomically
from kernelkit.mask.bits import Words, tail_mask, words_per_row

__all__ = ["read", "write"]

# What numpy raises for files that are missing, cut off or something else.
_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
)


def write(path: Path, words: Words, width: int) -> None:
    """Write a mask compressed. The file appears once it is complete."""
    # numpy's own savez_compressed compresses harder, and takes five times as long
    with (
        replace_atomically(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, array in (("words", words), ("width", np.asarray(width, np.int64))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def read(path: Path) -> tuple[Words, int]:
    """The words and the width that `write` wrote.

    Raises
    ------
    MaskError
        The file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            words, width = file["words"], int(file["width"])
    except _UNREADABLE as error:
        raise MaskError(
            f"{path} is not a saved mask that can be read ({as_sentence(error)}). "
            "Delete it and make the mask again"
        ) from error
    if (
        words.dtype != np.uint64
        or words.ndim != 2
        or words.shape[1] != words_per_row(width)
        or (words[:, -1:] & ~tail_mask(width)).any()
    ):
        raise MaskError(
            f"{path} is a damaged mask. It has {words.dtype} words of shape {words.shape} for a"
            f" width of {width}, or pixels past its last column. Delete it and make the mask again"
        )
    return words, width
