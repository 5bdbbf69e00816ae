"""The demo's competition in Kaggle's layout, cut from two pictures and honestly split.

The upper part of each picture is for training, and the lower part is for tests. The rows between
them belong to neither. Two tests are cut from the lower parts. One is public, and the hidden one
stands for the rerun that nobody sees. Their labels lie outside the competition's folder.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devkit.demo.layouts import write
from devkit.demo.sources import Picture
from kernelkit.grid import Window
from kernelkit.mask import rle_encode

__all__ = [
    "GAP",
    "HIDDEN_TEST",
    "SLUG",
    "TEST",
    "TRAIN",
    "Cut",
    "write_competition",
    "write_labels",
]

SLUG = "kernelkit-nuclei"

# So many rows at least lie between what trains and what tests, in each picture.
GAP = 18


@dataclass(frozen=True)
class Cut:
    """One image of the competition.

    Attributes
    ----------
    id
        The image's id.
    picture, window
        The picture that it is cut from, and which part of it.
    layout
        Its layout on disk, one of `layouts.LAYOUTS`.
    """

    id: str
    picture: str
    window: Window
    layout: str = "tiled"


TRAIN = (
    Cut("he_train_1", "he", Window(0, 0, 434, 500)),
    Cut("he_train_2", "he", Window(0, 500, 434, 500)),
    Cut("he_train_3", "he", Window(0, 1000, 434, 500)),
    Cut("he_train_4", "he", Window(434, 0, 434, 500)),
    Cut("he_train_5", "he", Window(434, 500, 434, 500)),
    Cut("he_train_6", "he", Window(434, 1000, 434, 500)),
    Cut("fluo_train_1", "fluo", Window(0, 0, 156, 256)),
    Cut("fluo_train_2", "fluo", Window(0, 256, 156, 256)),
    Cut("fluo_train_3", "fluo", Window(156, 0, 156, 256)),
    Cut("fluo_train_4", "fluo", Window(156, 256, 156, 256)),
)

# No tile divides these sizes. `he_test_small` is smaller than a tile. The order is the sample's.
TEST = (
    Cut("he_test_tiled", "he", Window(900, 0, 397, 523), "tiled"),
    Cut("he_test_planar", "he", Window(900, 523, 311, 467), "planar"),
    Cut("he_test_subdatasets", "he", Window(1211, 523, 289, 467), "subdatasets"),
    Cut("he_test_5d", "he", Window(900, 990, 349, 510), "5d"),
    Cut("he_test_strips", "he", Window(1297, 0, 203, 523), "strips"),
    Cut("he_test_bigtiff", "he", Window(1249, 990, 251, 400), "bigtiff"),
    Cut("he_test_small", "he", Window(1249, 1390, 150, 110), "strips-none"),
    Cut("fluo_test_uint16", "fluo", Window(330, 2, 179, 509), "deflate"),
)

# Other ids, other sizes, other layouts, and more images than the public test.
HIDDEN_TEST = (
    Cut("4f1c09ab2", "he", Window(907, 11, 301, 613), "planar-strips"),
    Cut("b7d20e815", "he", Window(1003, 377, 431, 359), "subdatasets-strips"),
    Cut("09e5c3f7d", "he", Window(900, 700, 600, 800), "pyramid"),
    Cut("e81b6a240", "he", Window(1290, 40, 210, 705), "5d-planar"),
    Cut("2c97f4d03", "he", Window(951, 1013, 539, 447), "jpeg"),
    Cut("7730aa9ce", "he", Window(1100, 250, 193, 191), "ome"),
    Cut("d5be1802f", "he", Window(1399, 900, 101, 87), "bigendian"),
    Cut("86a4d77b1", "he", Window(919, 1201, 577, 299), "none"),
    Cut("1e0f92c58", "fluo", Window(333, 0, 173, 241), "strips1"),
    Cut("c3829b60a", "fluo", Window(331, 200, 181, 311), "predictor"),
)


def write_competition(
    pictures: Mapping[str, Picture], competition: Path, test: Sequence[Cut] = TEST
) -> None:
    """Write the competition's folder: train/, train.csv, test/ and sample_submission.csv.

    Parameters
    ----------
    pictures
        The pictures by name.
    competition
        The folder. It must not hold a competition yet.
    test
        The test images.
    """
    for part, cuts in (("train", TRAIN), ("test", test)):
        (competition / part).mkdir(parents=True)
        for cut in cuts:
            pixels = pictures[cut.picture].pixels[(slice(None), *_slices(cut.window))]
            write(competition / part / f"{cut.id}.tiff", pixels, cut.layout)
    _write_rows(competition / "train.csv", ("id", "encoding"), _encoded(pictures, TRAIN))
    _write_rows(
        competition / "sample_submission.csv", ("id", "predicted"), [(cut.id, "") for cut in test]
    )


def write_labels(
    pictures: Mapping[str, Picture], solution: Path, test: Sequence[Cut] = TEST
) -> None:
    """Write the labels of the test images as a CSV file of `id,encoding`."""
    solution.parent.mkdir(parents=True, exist_ok=True)
    _write_rows(solution, ("id", "encoding"), _encoded(pictures, test))


def _slices(window: Window) -> tuple[slice, slice]:
    return (
        slice(window.row, window.row + window.height),
        slice(window.col, window.col + window.width),
    )


def _encoded(pictures: Mapping[str, Picture], cuts: Iterable[Cut]) -> list[tuple[str, str]]:
    return [
        (
            cut.id,
            rle_encode(np.ascontiguousarray(pictures[cut.picture].nuclei[_slices(cut.window)])),
        )
        for cut in cuts
    ]


def _write_rows(path: Path, columns: tuple[str, str], rows: Iterable[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
