"""In which order images are predicted."""

from pathlib import Path

import numpy as np

from kernelkit.competition import CompetitionFolder
from kernelkit.predict.work.survey import survey_images
from kernelkit.predict.work.tasks import tasks_of
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE
from tests.made.layouts import write

# tiles of 64 pixels
WANTED = Recipe.parse(RECIPE)


def tasks(folder: Path, images: dict[str, int]) -> dict[str, int]:
    """Write images of some tiles each, and return the tasks' amounts in their order."""
    (folder / "test").mkdir()
    for name, tiles in images.items():
        path = folder / f"test/{name}.tif"
        if tiles:
            write(path, np.zeros((3, 64, 64 * tiles), np.uint8), "none")
        else:
            path.write_text("no image")
    competition = CompetitionFolder.read(folder, WANTED.competition)
    found = tasks_of(competition, WANTED, survey_images(competition, WANTED), None)
    return {task.image_id: task.amount for task in found}


def test_an_image_far_larger_than_most_comes_last(tmp_path: Path) -> None:
    """The median is that of the images with tiles, however many cannot be opened."""
    images = {"a": 9, "b": 2, "c": 1, "d": 2, "e": 0, "f": 0, "g": 0, "h": 0, "i": 0}
    found = tasks(tmp_path, images)
    assert list(found) == [*"bcdefghi", "a"]
    assert found == images


def test_images_of_like_size_stay_in_their_order(tmp_path: Path) -> None:
    """Four times the median is not far larger."""
    images = {"a": 8, "b": 2, "c": 1, "d": 2}
    assert list(tasks(tmp_path, images)) == list(images)
