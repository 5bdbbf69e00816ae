"""A small competition of the shape of TGS salt, from the real H&E picture.

Tiny pieces of the picture are enlarged to 101 x 101 pixels, in grey, as PNG with three equal bands.
A nucleus stands for salt. A fifth of the pieces shows none, so a gate has something to find.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from devkit.demo.cuts import Part, encoded, windows, write_rows
from devkit.demo.ids import salt_id
from kernelkit.grid import Window

__all__ = ["COLUMNS", "PADS", "SIDE", "write_salt"]

SIDE = 101
COLUMNS = ("id", "rle_mask")
# What is added before and after, which makes 128.
PADS = (14, 13)

_PIECE = (34, 34)
# Of the pieces of a part one in so many is a picture.
_TRAINING, _PUBLIC, _HIDDEN = 2, 4, 3


def write_salt(
    training: Part, test: Part, competition: Path, solution: Path, is_hidden: bool = False
) -> None:
    """Write the competition's folder in Kaggle's layout, and the labels of its test images.

    Parameters
    ----------
    training, test
        The two parts of the H&E picture.
    competition
        The folder. It must not hold a competition yet.
    solution
        A CSV file of `id,encoding`.
    is_hidden
        Whether to write the test of the hidden rerun: other images, and more of them.
    """
    rows = _write_pictures(training, _pieces(training, "a", _TRAINING), competition / "train")
    write_rows(competition / "train.csv", COLUMNS, rows)
    prefix, stride = ("c", _HIDDEN) if is_hidden else ("b", _PUBLIC)
    rows = _write_pictures(test, _pieces(test, prefix, stride), competition / "test")
    write_rows(solution, ("id", "encoding"), rows)
    sample = [(image_id, "1 1") for image_id, _ in rows]
    write_rows(competition / "sample_submission.csv", COLUMNS, sample)


def _pieces(part: Part, prefix: str, stride: int) -> dict[str, Window]:
    """Pieces of a part by their ids, which look like Kaggle's."""
    found = list(windows(part, _PIECE))[::stride]
    return {salt_id(prefix, number): piece for number, piece in enumerate(found, 1)}


def _write_pictures(part: Part, pieces: dict[str, Window], folder: Path) -> list[tuple[str, str]]:
    """Write the pieces as pictures, and return the rows of their labels."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for name, piece in pieces.items():
        colours = part.pixels[:, *piece.slices].transpose(1, 2, 0)
        grey = cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)
        enlarged = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(np.dstack([enlarged] * 3)).save(folder / "images" / f"{name}.png")
        nuclei = (part.kinds[piece.slices] > 0).astype(np.float32)
        mask = cv2.resize(nuclei, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 0.5
        rows.append((name, encoded(mask)))
    return rows
