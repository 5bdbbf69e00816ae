"""Faults of whole pictures: each costs its own row and no other, and its report says why.

All pictures of one competition are spoilt at once, each in its own way. Every third one is whole.
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.report import ImageReport
from tests.made.pictures import Salt


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.unlink()
    cv2.imwrite(str(path), pixels)


def write_tiff(path: Path, pixels: np.ndarray) -> None:
    """A TIFF under the name of a PNG: its first bytes say what it is."""
    path.unlink()
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, **shape) as file:
        file.write(pixels)


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def with_damaged_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


NAN = np.full((1, 101, 101), np.nan, np.float32)
HALF = np.where(np.arange(101) < 50, np.nan, 100.0).astype(np.float32)[None, None].repeat(101, 1)

# name, what is done to a picture, its status, and a word of its notes
FAULTS: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("cut off", lambda path: os.truncate(path, 300), "fallback", "0000.png"),
    ("empty", lambda path: os.truncate(path, 0), "fallback", "0001.png"),
    ("text", lambda path: path.write_text("no image"), "fallback", "0003.png"),
    ("gone", Path.unlink, "fallback", "no image file of this id"),
    ("a folder", replaced_by_folder, "fallback", "no image file of this id"),
    ("a loop of links", replaced_by_loop, "fallback", "no image file of this id"),
    ("damaged", with_damaged_middle, "fallback", "0009.png"),
    ("16 bits", lambda p: write_png(p, np.full((101, 101), 999, np.uint16)), "predicted", ""),
    ("three bands", lambda p: write_png(p, np.full((101, 101, 3), 9, np.uint8)), "predicted", ""),
    ("another size", lambda p: write_png(p, np.full((50, 70), 9, np.uint8)), "predicted", ""),
    ("one pixel", lambda p: write_png(p, np.full((1, 1), 9, np.uint8)), "predicted", ""),
    ("no data at all", lambda p: write_tiff(p, NAN), "predicted", "10201 pixel(s) hold no data"),
    ("half of it no data", lambda p: write_tiff(p, HALF), "predicted", "5050 pixel(s) hold no"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prediction, Prediction]:
    """A run over whole pictures, and one over those that were spoilt."""
    folder = tmp_path_factory.mktemp("whole")
    count = -(-len(FAULTS) // 2) * 3
    made = Salt(folder, count=count)
    models = load_models(made.recipe, made.models)

    def run(name: str) -> Prediction:
        competition = CompetitionFolder.read(made.folder, made.recipe.competition)
        return predict(competition, made.recipe, models, folder / name, workers=2)

    whole = run("whole")
    for (_, spoil, _, _), number in zip(FAULTS, spoilt_numbers(), strict=False):
        spoil(made.paths[number])
    return whole, run("spoilt")


def spoilt_numbers() -> list[int]:
    """The numbers of the pictures that are spoilt: of three, the first and the second."""
    return [number for number in range(3 * len(FAULTS)) if number % 3 != 2][: len(FAULTS)]


def report_of(done: Prediction, number: int) -> ImageReport:
    return next(image for image in done.report.images if image.image == f"{number:04}")


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(n, *fault[2:]) for n, fault in zip(spoilt_numbers(), FAULTS, strict=True)],
    ids=[fault[0] for fault in FAULTS],
)
def test_a_fault_costs_its_own_picture(
    done: tuple[Prediction, Prediction], number: int, status: str, word: str
) -> None:
    """It has the status that it should have, and its notes are sentences without a full stop."""
    image = report_of(done[1], number)
    assert image.status == status
    assert word in image.note
    for note in image.notes:
        assert note
        assert not note.endswith(".")
        assert "\n" not in note
        assert len(note) < 500


def test_no_fault_costs_another_picture(done: tuple[Prediction, Prediction]) -> None:
    """All whole pictures have the rows that they have among whole ones."""
    whole, spoilt = (dict(line.split(",") for line in rows(each)) for each in done)
    others = [f"{number:04}" for number in range(len(whole)) if number not in spoilt_numbers()]
    assert len(others) >= 6
    assert {name: spoilt[name] for name in others} == {name: whole[name] for name in others}


def rows(done: Prediction) -> list[str]:
    return done.submission.read_text().splitlines()[1:]
