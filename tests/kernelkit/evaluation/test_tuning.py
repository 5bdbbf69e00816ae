"""From a store to new values in a recipe, over images whose best values are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernelkit.evaluation.out_of_fold import OutOfFold
from kernelkit.evaluation.tuning import Asked, tune, usual_sizes
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.finished_masks import FinishedMasks
from kernelkit.recipe import Recipe
from tests.made.handed import Handed

SIDE = 60
IMAGES = [f"image{number}" for number in range(6)]
LIMITS = 0.35, 0.75
TWO_CLASSES = """
name: two
competition: {slug: two, suffixes: [.png], classes: [low, high], rows: "{image}_{class}"}
tiles: whole
ensembles:
  - name: one
    input: {bands: [1], mean: [0], std: [1]}
    thresholds: 0.5
    postprocess: [{remove_small: {min_area: 3, keep: ">"}}]
"""
SECOND_OUTPUT = """
name: salt
competition: {slug: salt, suffixes: [.png], submitted: [1]}
tiles: whole
ensembles:
  - name: one
    activation: softmax
    input: {bands: [1], mean: [0], std: [1]}
"""


def planes() -> tuple[np.ndarray, list[np.ndarray]]:
    """Probabilities of two classes, and their truth.

    True squares are just above the class's limit, false ones just below, and dirt is bright.
    """
    values = np.zeros((2, SIDE, SIDE), np.uint8)
    truths = []
    for plane, limit in zip(values, LIMITS, strict=True):
        plane[5:15, 5:15] = round(255 * limit + 20)
        truths.append(plane > 0)
        plane[25:37, 25:37] = round(255 * limit - 20)
        plane[45:48, 5:50:9] = plane[45:48, 6:50:9] = plane[45:48, 7:50:9] = 254
    return values, truths


def predicted(folder: Path, text: str) -> tuple[OutOfFold, list[BitMask]]:
    """Images of two folds in a store."""
    recipe = Recipe.parse(text).override(store={"what": "probabilities", "level": "member"})
    handed = Handed(folder, recipe, dict.fromkeys(IMAGES, (SIDE, SIDE)))
    values, truths = planes()
    for image in IMAGES:
        handed.put(image, ["unet/fold_0"], values[None])
    scenes = handed.competition.scenes
    paths = {image: scene.paths for image, scene in scenes.items()}
    masks = FinishedMasks(handed.report, paths, recipe, handed.store)
    folds = {image: number % 2 for number, image in enumerate(IMAGES)}
    truth = [BitMask.from_array(truths[label]) for label in recipe.competition.labels]
    return OutOfFold(recipe, handed.report, masks, scenes, folds, ()), truth


def test_each_class_gets_its_values(tmp_path: Path) -> None:
    """They are found, they survive, and the masks of a run with them are the truth."""
    found, truth = predicted(tmp_path, TWO_CLASSES)
    tuned = tune(found, lambda _: truth, "one", Asked(sharing="class", sizes=(0, 9, 50, 90, 99)))
    assert tuned.before < 0.7
    assert tuned.chosen.value == 1
    assert tuned.survival.share == 1
    assert tuned.submitted == (pytest.approx(tuned.before), 1)
    low, high = tuned.ensemble.thresholds
    assert 0.27 <= low <= 0.43 < 0.67 <= high <= 0.83
    [step] = tuned.ensemble.postprocess
    assert step.arguments["keep"] == ">"
    assert all(9 <= size < 100 for size in step.arguments["min_area"])
    assert tuned.total["name"].tolist() == [
        *(f"{image} {name}" for image in IMAGES for name in ("low", "high")),
        "AVE",
    ]
    assert tuned.notes == ()


def test_one_value_for_all_is_one_value(tmp_path: Path) -> None:
    """A recipe gets a number and not a list, and what no value can do is seen in the score."""
    found, truth = predicted(tmp_path, TWO_CLASSES)
    tuned = tune(found, lambda _: truth, "one", Asked(sizes=(0, 9, 50)))
    assert len(tuned.ensemble.thresholds) == 1
    assert tuned.submitted[1] == pytest.approx(tuned.chosen.value)
    assert tuned.chosen.value < 1


@pytest.mark.parametrize(("sharing", "count"), [("common", 1), ("class", 2)])
def test_a_second_output_has_a_place_of_its_own(tmp_path: Path, sharing: str, count: int) -> None:
    """A recipe lists a threshold per output, also of the one that is not submitted."""
    found, truth = predicted(tmp_path, SECOND_OUTPUT)
    tuned = tune(found, lambda _: truth, "one", Asked(sharing=sharing, sizes=(0, 9, 50)))
    assert len(tuned.ensemble.thresholds) == count
    assert 0.67 <= tuned.ensemble.thresholds[-1] <= 0.83
    assert tuned.submitted[1] == 1
    assert "each pixel is of its likeliest class" in tuned.notes[0]


def test_groups_have_values_that_no_recipe_can_say(tmp_path: Path) -> None:
    """They are found and scored, and there is nothing to be written."""
    found, truth = predicted(tmp_path, SECOND_OUTPUT)
    organs = {image: f"organ{number // 2}" for number, image in enumerate(IMAGES)}
    scenes = {image: replace(scene, group=organs[image]) for image, scene in found.scenes.items()}
    tuned = tune(
        replace(found, scenes=scenes), lambda _: truth, "one", Asked(sharing="group", sizes=(50,))
    )
    assert list(tuned.chosen.optima) == ["organ0", "organ1", "organ2"]
    assert tuned.ensemble is tuned.submitted is None
    assert tuned.survival.share == 1


def test_one_fold_cannot_say_what_survives(tmp_path: Path) -> None:
    """A note says so."""
    found, truth = predicted(tmp_path, SECOND_OUTPUT)
    found = replace(found, folds=dict.fromkeys(IMAGES, 0))
    tuned = tune(found, lambda _: truth, "one", Asked(sizes=(50,)))
    assert tuned.survival is None
    assert "all images are of one fold" in tuned.notes[-1]


def test_sizes_follow_from_the_true_objects(tmp_path: Path) -> None:
    """They are shares of the median object, and none."""
    found, truth = predicted(tmp_path, TWO_CLASSES)
    tuned = tune(found, lambda _: truth, "one", Asked(sharing="class"))
    assert {0, 3, 12, 25, 50, 75, 100} <= set(tuned.table.space.sizes)
    assert usual_sizes([]) == (0,)
    assert tuned.chosen.value == 1
