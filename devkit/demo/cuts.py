"""Small pictures cut from the two parts of the H&E picture, one for training and one for tests.

The rows between the parts belong to neither. What is derived from labels is derived within a part.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devkit.demo.competition import TEST, TRAIN
from kernelkit.grid import Window
from kernelkit.mask import rle_encode

__all__ = ["TEST_ROW", "TRAIN_ROWS", "Part", "encoded", "parts_of_he", "windows", "write_rows"]

# The rows that train, and the first row that tests: those of the competition `nuclei`.
TRAIN_ROWS = max(cut.window.bottom for cut in TRAIN if cut.picture == "he")
TEST_ROW = min(cut.window.row for cut in TEST if cut.picture == "he")


@dataclass(frozen=True)
class Part:
    """One part of the H&E picture.

    Attributes
    ----------
    pixels
        (3, H, W) uint8.
    kinds
        Of what kind the nuclei are, uint8 (H, W), 0 between them.
    """

    pixels: np.ndarray
    kinds: np.ndarray


def parts_of_he(pixels: np.ndarray, kinds: np.ndarray) -> tuple[Part, Part]:
    """The part of the picture that trains, and the part that tests."""
    return (
        Part(pixels[:, :TRAIN_ROWS], kinds[:TRAIN_ROWS]),
        Part(pixels[:, TEST_ROW:], kinds[TEST_ROW:]),
    )


def windows(part: Part, size: tuple[int, int], start: tuple[int, int] = (0, 0)) -> Iterator[Window]:
    """Windows of one size side by side, from `start` on. None overlaps another."""
    height, width = part.kinds.shape
    for row in range(start[0], height - size[0] + 1, size[0]):
        for col in range(start[1], width - size[1] + 1, size[1]):
            yield Window(row, col, *size)


def encoded(mask: np.ndarray) -> str:
    """A mask as column-major RLE, counted from 1."""
    return rle_encode(np.ascontiguousarray(mask, np.uint8))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
