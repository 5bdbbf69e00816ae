"""What is given up when the time runs short, measured by a clock that the models move."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.recipe import Recipe
from tests.made.competition import RECIPE, write_competition, write_models
from tests.made.stored import forget

# two views and two folds look at the 19 tiles of the competition's three images
WANTED = Recipe.parse(RECIPE).override(batch=1)
SECONDS_PER_TILE = 10.0


class Clock:
    """Moves on by what is asked of the models."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    plain = MegaModel.predict

    def timed(model: MegaModel, pixels: Any, *arguments: Any, **options: Any) -> Any:
        if np.any(pixels):  # a network that is tried with zeros takes no time here
            clock.now += SECONDS_PER_TILE * model.cost * len(pixels)
        return plain(model, pixels, *arguments, **options)

    monkeypatch.setattr(MegaModel, "predict", timed)
    return clock


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run(tmp_path: Path, models_folder: Path, clock: Clock) -> Iterator[Any]:
    folder = write_competition(tmp_path / "competition")

    def run_for(seconds: float, **changes: object) -> Prediction:
        recipe = WANTED.override(**changes)
        deadline = Deadline(seconds / 3600, reserve=0, clock=clock)
        return predict(
            CompetitionFolder.read(folder, recipe.competition),
            recipe,
            load_models(recipe, models_folder),
            tmp_path / "out",
            deadline=deadline,
        )

    return run_for


def test_with_time_enough_nothing_is_given_up(run: Any) -> None:
    """All images are asked about in full."""
    done = run(1000)
    assert [image.asked for image in done.report.images] == [1.0, 1.0, 1.0]
    assert not any(image.notes for image in done.report.images)


def test_views_go_before_folds_and_folds_before_images(run: Any) -> None:
    """Of 190 s of work, 120 s need half of the views, and 80 s half of the folds too."""
    for seconds, share in ((120, 0.5), (80, 0.25)):
        done = run(seconds)
        assert [image.asked for image in done.report.images] == [share] * 3
        assert {image.status for image in done.report.images} == {"predicted"}
        assert not any(image.unfinished for image in done.report.images)
        note = f"asked {share:.0%} of it, because the time ran short"
        assert note in done.report.images[0].notes


def test_what_the_recipe_keeps_is_not_given_up(run: Any) -> None:
    """With only views to give, the folds stay, and what does not fit gets its fallback row."""
    done = run(80, give_up=["views"])
    assert done.report.images[0].asked == 0.5
    assert done.report.images[2].status == "fallback"


def test_an_unfinished_image_is_submitted_as_far_as_it_came(run: Any) -> None:
    """Of 12 tiles those that were done count. The next run predicts the image anew."""
    done = run(85, give_up=[])
    first, *others = done.report.images
    assert (first.status, first.unfinished) == ("predicted", True)
    assert "the session's time was over after 9 of 12 tiles" in first.notes[0]
    assert {image.status for image in others} == {"fallback"}
    again = run(1000, give_up=[])
    assert [image.status for image in again.report.images] == ["predicted"] * 3
    assert not again.report.images[0].unfinished


def test_a_run_that_was_short_of_time_leaves_the_models_as_they_were(
    tmp_path: Path, models_folder: Path, clock: Clock
) -> None:
    """The next run with the same models asks all of them again."""
    folder = write_competition(tmp_path / "competition")
    competition = CompetitionFolder.read(folder, WANTED.competition)
    models = load_models(WANTED, models_folder)
    for seconds, asked in ((80, 0.25), (9999, 1.0)):
        deadline = Deadline(seconds / 3600, reserve=0, clock=clock)
        done = predict(competition, WANTED, models, tmp_path / "out", deadline=deadline)
        assert [image.asked for image in done.report.images] == [asked] * 3


def test_what_was_asked_in_full_is_kept_when_the_time_runs_short(run: Any, tmp_path: Path) -> None:
    """The better masks of an earlier session are not predicted again with fewer views."""
    run(1000)
    forget(tmp_path / "out/masks", "a")
    done = run(90)
    assert [image.status for image in done.report.images] == ["predicted", "kept", "kept"]
    assert [image.asked for image in done.report.images] == [0.5, 1.0, 1.0]


def test_an_unfinished_image_is_kept_if_there_is_no_time_for_more(run: Any) -> None:
    """A session that is over at once submits what the one before it left."""
    run(85, give_up=[])
    done = run(0, give_up=[])
    first = done.report.images[0]
    assert (first.status, first.unfinished) == ("kept", True)


def test_a_session_shorter_than_the_reserve_predicts() -> None:
    """The reserve is a quarter of the session at most."""
    deadline = Deadline(0.1, reserve=10, clock=Clock())
    assert deadline.seconds_left == pytest.approx(270)
