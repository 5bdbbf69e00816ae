"""A small competition of the shape of Kaggle's clouds, from the real H&E picture.

Pieces of the picture are enlarged to 1400 x 2100 pixels, as JPEG. Four kinds of tissue stand for
the four kinds of clouds. They are regions, since nobody labels a cloud drop by drop:

- `Gravel`: inflammatory nuclei are the densest.
- `Flower`: neoplastic nuclei are.
- `Fish`: nuclei of connective tissue are, or there are hardly any.
- `Sugar`: the glass of the slide, without tissue.

There are four rows per image, and masks of 350 x 525 are submitted.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from devkit.demo.cuts import Part, encoded, windows, write_rows
from devkit.demo.ids import clouds_id
from kernelkit.grid import Window

__all__ = ["CLASSES", "COLUMNS", "SIZE", "SUBMITTED", "regions", "write_clouds"]

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
# (height, width) of a picture, and of a submitted mask.
SIZE = (1400, 2100)
SUBMITTED = (350, 525)
COLUMNS = ("Image_Label", "EncodedPixels")

# What is enlarged to a whole picture: of the training part's rows a third.
_PIECE = (288, 432)
# The numbers of the kinds of nuclei that stand for Fish, Flower and Gravel.
_KIND_OF_CLASS = (1, 3, 2)
# How bright glass is at least, and over how far that is averaged.
_GLASS, _GLASS_NEAR = 225, 8.0
# In pixels of the H&E picture: over how far nuclei are counted, and from which density on.
_NEAR = 20.0
_DENSE = 0.08
# The smallest region, and the smallest gap in one.
_LEAST = 3000
# Where the pieces of the tests begin. The hidden test has the same part in other pieces.
_PUBLIC_STARTS = ((0, 0), (12, 204))
_HIDDEN_STARTS = ((24, 100), (0, 204), (6, 50))


def write_clouds(
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
        A CSV file of `id,encoding`, one row per image and class.
    is_hidden
        Whether to write the test of the hidden rerun: other images, and more of them.
    """
    starts, prefix = (_HIDDEN_STARTS, "9f") if is_hidden else (_PUBLIC_STARTS, "1a")
    pieces = _pieces(training, [(0, 0)], "0b")
    train_labels = _write_pictures(training, pieces, competition / "train_images", SIZE)
    write_rows(competition / "train.csv", COLUMNS, train_labels)
    pieces = _pieces(test, starts, prefix)
    test_labels = _write_pictures(test, pieces, competition / "test_images", SUBMITTED)
    write_rows(solution, ("id", "encoding"), test_labels)
    sample = [(row_id, "1 1") for row_id, _ in test_labels]
    write_rows(competition / "sample_submission.csv", COLUMNS, sample)


def regions(part: Part) -> np.ndarray:
    """The regions of the four classes in a part of the picture, bool (4, H, W)."""
    brightness = part.pixels.mean(0, dtype=np.float32)
    is_glass = cv2.GaussianBlur(brightness, (0, 0), _GLASS_NEAR) > _GLASS
    densities = np.stack(
        [
            cv2.GaussianBlur((part.kinds == kind).astype(np.float32), (0, 0), _NEAR)
            for kind in _KIND_OF_CLASS
        ]
    )
    densest = np.where(densities.sum(0) > _DENSE, densities.argmax(0), 0)
    masks = [~is_glass & (densest == number) for number in range(len(_KIND_OF_CLASS))]
    return np.stack([_without_specks(mask) for mask in [*masks, is_glass]])


def _pieces(part: Part, starts: Sequence[tuple[int, int]], prefix: str) -> dict[str, Window]:
    """Pieces of a part by their ids, which look like Kaggle's."""
    found = [window for start in starts for window in windows(part, _PIECE, start)]
    return {clouds_id(prefix, number): piece for number, piece in enumerate(found, 1)}


def _write_pictures(
    part: Part, pieces: dict[str, Window], folder: Path, size: tuple[int, int]
) -> list[tuple[str, str]]:
    """Write the pieces as pictures, and return the rows of their labels at `size`."""
    folder.mkdir(parents=True)
    labels = regions(part)
    rows = []
    for name, piece in pieces.items():
        pixels = part.pixels[:, *piece.slices].transpose(1, 2, 0)
        enlarged = cv2.resize(pixels, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        Image.fromarray(enlarged).save(folder / f"{name}.jpg", quality=85)
        for class_name, mask in zip(CLASSES, labels[:, *piece.slices], strict=True):
            large = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
            rows.append((f"{name}.jpg_{class_name}", encoded(large > 0.5)))
    return rows


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """A mask without its small regions, and without small gaps in the others."""
    for value in (1, 0):
        inverse = (mask == value).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(inverse, connectivity=4)
        is_small = stats[:, cv2.CC_STAT_AREA] < _LEAST
        is_small[0] = False
        mask = mask ^ is_small[labels]
    return mask
