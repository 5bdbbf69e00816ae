"""Faults of evaluations: predictions and truth that do not fit, leaks, and folds with holes.

A row is a fault: its name, what makes it, the kind of error, and a part of the sentence.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernelkit.competition.scenes import find_scenes
from kernelkit.errors import EvaluationError, KernelKitError, LabelError, SubmissionError
from kernelkit.evaluation.held_out import HeldOut
from kernelkit.evaluation.metrics import Confusion, Counts
from kernelkit.evaluation.scored import truth_reader
from kernelkit.evaluation.search.sharing import choose, fixed_places
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.stored import Pair, sweep_stored
from kernelkit.evaluation.search.survival import leave_one_fold_out
from kernelkit.evaluation.search.table import SweepTable, sweep_image
from kernelkit.labels import open_labels
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.postprocess import STEPS
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way
from kernelkit.predict.store.store import Layers
from kernelkit.recipe import Recipe
from kernelkit.recipe.labels import LabelsRecipe
from tests.made.competition import write_competition

RECIPE = Recipe.parse(
    "{name: test, competition: {slug: a-test-competition, images: test, id_column: id},"
    " tiles: whole, ensembles: [{name: one}]}"
)
WAY = Way(RECIPE.ensembles[0], None, (0.5,), ())
SPACE = Space((0.4, 0.5), (0, 10))
EMPTY = BitMask.zeros(6, 8)


def stored(classes: int = 1) -> StoredImage:
    """An image of which probabilities are stored."""
    layers = Layers(("",), np.zeros((1, classes, 6, 8), np.uint8))
    return StoredImage(RECIPE, (6, 8), None, [layers], (), STEPS)


def stored_masks() -> StoredImage:
    return StoredImage(RECIPE, (6, 8), [EMPTY], [], (), STEPS)


def swept(
    truth: list[BitMask], image: Callable[[], StoredImage] = stored, label: int = 0
) -> SweepTable:
    return sweep_stored([Pair("x", image, lambda: truth)], lambda _: WAY, SPACE, [label], [""])


def table() -> SweepTable:
    areas = sweep_image(np.zeros((1, 6, 8), np.uint8), [EMPTY], SPACE, [0])
    return SweepTable.of(SPACE, [""], [("x", areas), ("y", areas)])


def left_out(folds: dict[str, int]) -> None:
    made = table()
    leave_one_fold_out(made, folds, fixed_places(made, (0.5,), (0,)))


def unlabelled(folder: Path) -> None:
    """Ask for the truth of an image that the table of labels lacks."""
    write_competition(folder)
    (folder / "train.csv").write_text("id,encoding\na,1 5\n")
    scenes, _ = find_scenes(folder, RECIPE.competition)
    recipe = LabelsRecipe(rle="train.csv", id_column="id", rle_column="encoding")
    labels = open_labels(recipe, folder, RECIPE.competition, scenes)
    truth_reader(labels, scenes)("b")


HELD = HeldOut({"unet": {"a": 0, "b": 1, "c": -1}, "fpn": {"a": 0, "b": 1, "c": 0}})

FAULTS = [
    (
        "masks of two sizes",
        lambda _: Counts.of(EMPTY, BitMask.zeros(6, 9)),
        EvaluationError,
        "found a predicted mask of 6 x 8 pixels and a true one of 6 x 9, wanted one size",
    ),
    (
        "a valid mask of another size",
        lambda _: Counts.of(EMPTY, EMPTY, BitMask.zeros(5, 8)),
        EvaluationError,
        "found a valid mask of 5 x 8 pixels and a true one of 6 x 8, wanted one size",
    ),
    (
        "a confusion of other classes",
        lambda _: Confusion.of([EMPTY], [EMPTY, EMPTY]),
        EvaluationError,
        "found 1 predicted masks and 2 true ones, wanted one each per class",
    ),
    (
        "a store of fewer classes",
        lambda _: swept([EMPTY], label=1),
        EvaluationError,
        "x: found stored probabilities of 1 class(es), wanted class number 1 among them",
    ),
    (
        "a store of masks",
        lambda _: swept([EMPTY], stored_masks),
        SubmissionError,
        "found stored masks, wanted probabilities. Write 'store: {what: probabilities}'",
    ),
    (
        "truth of more classes",
        lambda _: swept([EMPTY, EMPTY]),
        EvaluationError,
        "x: found true masks of 2 class(es), wanted 1, one per submitted class",
    ),
    (
        "truth of another size",
        lambda _: swept([BitMask.zeros(12, 16)]),
        EvaluationError,
        "x: found true masks of 12 x 16 pixels, wanted 6 x 8, as they are submitted",
    ),
    (
        "an image without truth",
        unlabelled,
        LabelError,
        "train.csv: the image 'b' has no labels",
    ),
    (
        "no image at all",
        lambda _: SweepTable.of(SPACE, [""], []),
        EvaluationError,
        "found no image with predictions and truth, wanted one or more",
    ),
    (
        "a leak",
        lambda _: HELD.refuse_leaks("b", ["fpn/fold_1", "unet/fold_0"]),
        EvaluationError,
        "b: it leaks, since unet/fold_0 was trained on it (fold 1 held it out)",
    ),
    (
        "a leak of one checkpoint of several",
        lambda _: HELD.refuse_leaks("b", ["unet/fold_0/e30_t50_cmax_ema_0.93"]),
        EvaluationError,
        "b: it leaks, since unet/fold_0/e30_t50_cmax_ema_0.93 was trained on it",
    ),
    (
        "a leak into all folds",
        lambda _: HELD.refuse_leaks("c", ["unet/fold_0"]),
        EvaluationError,
        "c: it leaks, since unet/fold_0 was trained on it (no fold held it out)",
    ),
    (
        "a member without folds",
        lambda _: HELD.refuse_leaks("b", ["unet"]),
        EvaluationError,
        "b: it is not known what unet was trained on. Give the folds.csv of the run unet",
    ),
    (
        "an image in no fold",
        lambda _: HELD.folds_of("d", ["unet"]),
        EvaluationError,
        "d: it is in no fold of the run unet, so it is not known whether it was trained on",
    ),
    (
        "an image that one run was trained on",
        lambda _: HELD.folds_of("c", ["unet", "fpn"]),
        EvaluationError,
        "c: all folds of unet were trained on it, and a fold of fpn was not",
    ),
    (
        "runs without folds",
        lambda _: HELD.runs(["linknet*"]),
        EvaluationError,
        "found folds of the runs unet, fpn, wanted some of linknet*",
    ),
    (
        "a score without folds",
        lambda _: left_out({"x": 0}),
        EvaluationError,
        "y: it is held out by no fold, so no score of it is honest",
    ),
    (
        "a single fold",
        lambda _: left_out({"x": 1, "y": 1}),
        EvaluationError,
        "found images of fold 1 alone, wanted two folds or more",
    ),
    (
        "values per group without groups",
        lambda _: choose(table(), "group"),
        EvaluationError,
        "x: it has no group, by which thresholds were to be chosen",
    ),
    (
        "an unknown image to exclude",
        lambda _: table().without(["z"]),
        EvaluationError,
        "found 'z' in a list of images, but no prediction of it",
    ),
]


@pytest.mark.parametrize(
    ("act", "kind", "answer"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS]
)
def test_faults_are_one_sentence(
    tmp_path: Path, act: Callable[[Path], object], kind: type[KernelKitError], answer: str
) -> None:
    """Each says what was found, what was wanted and what to do."""
    with pytest.raises(kind, match=re.escape(answer)) as caught:
        act(tmp_path)
    assert ". " in str(caught.value)
    assert not str(caught.value).endswith(".")
