"""Which images are opened before the first tile."""

from pathlib import Path

import numpy as np
import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.predict.work.survey import survey_images
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import RECIPE
from tests.made.layouts import write

RECIPE_OF_ALL = Recipe.parse(RECIPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """600 small images, the last of them larger."""
    (tmp_path / "test").mkdir()
    write(tmp_path / "test/000.tif", np.zeros((3, 8, 10), np.uint8), "none")
    for number in range(1, 599):
        (tmp_path / f"test/{number:03}.tif").hardlink_to(tmp_path / "test/000.tif")
    write(tmp_path / "test/599.tif", np.zeros((3, 8, 20), np.uint8), "none")
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened."""
    names: list[str] = []
    plain = Slide.__init__

    def counting(slide: Slide, source: tuple[Path, ...], **options: object) -> None:
        names.append(source[0].stem)
        plain(slide, source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Slide, "__init__", counting)
    return names


def test_of_many_images_a_spread_sample_is_opened(folder: Path, opened: list[str]) -> None:
    """The notes say so, and the number of pixels is estimated."""
    competition = CompetitionFolder.read(folder, RECIPE_OF_ALL.competition)
    survey = survey_images(competition, RECIPE_OF_ALL)
    assert opened == [f"{number:03}" for number in range(0, 600, 6)]
    assert survey.total(lambda kind: kind.height * kind.width) == 600 * 80
    assert survey.notes[0].startswith("100 of 600 images were opened before the run")


def test_a_few_images_are_all_opened(folder: Path, opened: list[str]) -> None:
    """With a limit, none beyond it is opened, and nothing needs to be said."""
    competition = CompetitionFolder.read(folder, RECIPE_OF_ALL.competition)
    survey = survey_images(competition, RECIPE_OF_ALL, limit=3)
    assert opened == ["000", "001", "002"]
    assert (survey.total(lambda kind: kind.width), survey.notes) == (30, [])


def test_with_several_ensembles_all_images_are_opened(folder: Path, opened: list[str]) -> None:
    """Only the file says which of them predicts it."""
    first = RECIPE_OF_ALL.ensembles[0].model_dump()
    recipe = RECIPE_OF_ALL.override(ensembles=[first, {"name": "two"}])
    competition = CompetitionFolder.read(folder, recipe.competition)
    survey = survey_images(competition, recipe)
    assert len(opened) == 600
    assert [kind.width for kind in survey.kinds_of("one")] == [10, 20]


def test_if_no_image_of_the_sample_can_be_predicted_all_are_opened(
    folder: Path, opened: list[str]
) -> None:
    """Nothing is refused as a whole for what a sample happens to hold."""
    for number in range(0, 600, 6):
        path = folder / f"test/{number:03}.tif"
        path.unlink()
        path.write_text("no image")
    competition = CompetitionFolder.read(folder, RECIPE_OF_ALL.competition)
    survey = survey_images(competition, RECIPE_OF_ALL)
    assert len(set(opened)) == 600
    assert (len(survey.kinds), len(survey.refused), survey.notes) == (500, 100, [])
