"""Packed masks on disk: a .npz file of `words` and `width`, which plain numpy can read too."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from kernelkit.errors import MaskError
from kernelkit.mask.bits import Words, tail_mask, words_per_row

__all__ = ["read", "write"]

_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises for files that are missing, cut off or something else."""


def write(path: Path, words: Words, width: int) -> None:
    """Write a mask compressed; the file appears only once it is complete."""
    unfinished = path.with_name(path.name + ".part")
    # numpy's own savez_compressed compresses harder, and takes five times as long
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in (("words", words), ("width", np.asarray(width, np.int64))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    unfinished.replace(path)


def read(path: Path) -> tuple[Words, int]:
    """The words and the width that `write` wrote, checked."""
    try:
        with np.load(path, allow_pickle=False) as file:
            words, width = file["words"], int(file["width"])
    except _UNREADABLE as error:
        raise MaskError(f"{path} is not a saved mask that can be read: {error}.") from error
    if (
        words.dtype != np.uint64
        or words.ndim != 2
        or words.shape[1] != words_per_row(width)
        or (words[:, -1:] & ~tail_mask(width)).any()
    ):
        raise MaskError(
            f"{path} is a damaged mask: {words.dtype} words of shape {words.shape} for a width of"
            f" {width}, or pixels past its last column."
        )
    return words, width
