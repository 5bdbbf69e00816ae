"""What both commands begin with: training images, their truth, and predictions out of fold."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.errors import EvaluationError, RecipeError

if TYPE_CHECKING:
    from kernelkit.competition.scenes import Scene
    from kernelkit.evaluation.out_of_fold import OutOfFold
    from kernelkit.evaluation.scored import MasksOf
    from kernelkit.recipe import Recipe

__all__ = ["Validated", "predict", "shared_arguments"]


@dataclass(frozen=True)
class Validated:
    """Out-of-fold predictions, and the truth beside them.

    Attributes
    ----------
    found
        The predictions.
    again
        Predicts by another recipe, into the same store.
    truth
        Gives the true masks of an image.
    classes
        The names of the classes. A single class without a name is "".
    notes
        What went otherwise, a sentence each.
    """

    found: "OutOfFold"
    again: "Callable[[Recipe], OutOfFold]"
    truth: "MasksOf"
    classes: Sequence[str]
    notes: Sequence[str]


def shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what both commands are told."""
    parser.add_argument("recipe", help="a training recipe: a name or a YAML file")
    parser.add_argument("--competition", type=Path, required=True, help="the competition's folder")
    parser.add_argument(
        "--models", type=Path, default=Path("build/models"), help="the models folder"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/evaluation"), help="the store and the tables"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as only=[he_*]"
    )


def predict(options: argparse.Namespace) -> Validated:
    """Predict each training image by the members whose fold held it out.

    Raises
    ------
    RecipeError, TrainingError, LabelError
        The recipe, the folds or the labels cannot be read, or do not fit each other.
    EvaluationError
        An image has no honest prediction.
    """
    from kernelkit.competition import CompetitionFolder
    from kernelkit.competition.rows import rows_of_images
    from kernelkit.evaluation.held_out import HeldOut
    from kernelkit.evaluation.out_of_fold import predict_out_of_fold
    from kernelkit.evaluation.scored import truth_reader
    from kernelkit.labels import open_labels
    from kernelkit.training.cuts.scenes import training_scenes
    from kernelkit.training.recipe import TrainingRecipe

    training = TrainingRecipe.load(options.recipe, options.set)
    scenes: dict[str, Scene] = {}
    sources: dict[str, MasksOf] = {}
    notes: list[str] = []
    for run in training.runs.values():
        found, said = training_scenes(run, options.competition)
        labels = open_labels(run.labels, options.competition, run.competition, found)
        notes += [*said, *labels.notes]
        for image in labels.ids:
            scenes[image] = found[image]
            sources.setdefault(image, truth_reader(labels, found))
    first = next(iter(training.runs.values()))
    competition = CompetitionFolder(
        options.competition, rows_of_images(scenes, first.competition), scenes
    )
    held = HeldOut(_folds(options.models))

    def by(recipe: "Recipe") -> "OutOfFold":
        return predict_out_of_fold(
            recipe,
            options.models,
            competition,
            held,
            options.output,
            device=options.device,
            workers=options.workers,
        )

    predicted = by(training.recipe)
    return Validated(
        predicted,
        by,
        lambda image: sources[image](image),
        training.recipe.competition.classes or ("",),
        tuple(dict.fromkeys([*notes, *predicted.notes])),
    )


def _folds(models: Path) -> dict[str, Mapping[str, int]]:
    """The fold of each image, by the runs of a models folder."""
    from kernelkit.training.folds import Folds

    if not models.is_dir():
        raise EvaluationError(
            f"{models}: there is no such models folder. Name that of a training, or train first"
        )
    tables = sorted(models.glob("*/folds.csv"))
    if not tables:
        raise EvaluationError(
            f"{models}: found no run with a folds.csv, which says what each fold held out. Train "
            "with make train, or write the table: image, fold"
        )
    return {path.parent.name: Folds.read(path).folds for path in tables}


def refuse_missing_file(path: Path) -> None:
    """Refuse a recipe that is not a file that can be written to."""
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such recipe file. Name the YAML file to be changed")
