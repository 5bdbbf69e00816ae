"""What both commands begin with: training images, their truth, and predictions out of fold."""

import argparse
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import Arguments, add_set, add_training_recipe, add_workers
from devkit.competitions import add_name, competition_folder, fill_in, models_folder
from devkit.predict.executors import (
    add_executor,
    device_of_parent,
    executor_for,
    refuse_lost,
)
from kernelkit.errors import EvaluationError, RecipeError, listed

if TYPE_CHECKING:
    from kernelkit.evaluation.out_of_fold import OutOfFold
    from kernelkit.training.recipe import TrainingRecipe
    from kernelkit.training.validated import Validated

__all__ = [
    "checked_recipe",
    "complete",
    "predicted",
    "refuse_missing",
    "refuse_missing_file",
    "shared_arguments",
]

_NAMED = 5


def shared_arguments(parser: Arguments) -> None:
    """Add what both commands are told."""
    add_training_recipe(parser)
    add_name(parser)
    parser.add_folder(
        "--models",
        variable="MODELS",
        help="the models folder (default: build/models, or that of your own competition)",
    )
    parser.add_folder(
        "--output",
        help="the store and the tables (default: build/evaluation, or below build/ for your own "
        "competition)",
    )
    add_executor(parser)
    add_workers(parser, "processes that read images")
    add_set(parser, "only=[he_*]")


def complete(parser: Arguments, options: argparse.Namespace) -> None:
    """Fill in what was not given, from a competition of the user's own or by default."""
    fill_in(
        parser,
        options,
        recipe="training_recipe",
        competition="data_folder",
        models=("models_folder", "build/models"),
        output=("evaluation_folder", "build/evaluation"),
    )


def checked_recipe(options: argparse.Namespace) -> "TrainingRecipe":
    """Read the recipe, and look for the folders, before anything heavy is imported.

    Raises
    ------
    RecipeError
        The recipe cannot be read.
    CompetitionError, CheckpointError
        There is no such folder.
    """
    from kernelkit.training.recipe import TrainingRecipe

    training = TrainingRecipe.load(options.recipe, options.set)
    competition_folder(options.competition)
    models_folder(options.models)
    return training


@contextmanager
def predicted(training: "TrainingRecipe", options: argparse.Namespace) -> "Iterator[Validated]":
    """Predict each training image by the members whose fold held it out.

    In the `with` block images can be predicted again by another recipe.

    Raises
    ------
    RecipeError, TrainingError, LabelError
        The recipe, the folds or the labels cannot be read, or do not fit each other.
    EvaluationError
        An image has no honest prediction.
    ClusterError, DeviceError
        As of `devkit.predict.executors.executor_for`.
    """
    from kernelkit.training.validated import predict_held_out

    with executor_for(options.scheduler, devices=options.devices) as executor:
        validated = predict_held_out(
            training,
            options.competition.absolute(),
            options.models.absolute(),
            options.output,
            device=device_of_parent(options.devices, executor),
            workers=options.workers,
            executor=executor,
        )
        refuse_lost(executor)
        yield validated
        refuse_lost(executor)


def refuse_missing(found: "OutOfFold", output: Path, excluded: Collection[str] = ()) -> None:
    """Let the exit code say that an image was not predicted. What was written stays.

    Parameters
    ----------
    excluded
        Images that have no say.

    Raises
    ------
    EvaluationError
        One was not.
    """
    missing = [image for image in found.report.fallbacks if image.image not in excluded]
    if missing:
        named = listed([image.image for image in missing], _NAMED)
        raise EvaluationError(
            f"{output}: {len(missing)} of {len(found.report.images)} images were not predicted "
            f"({named}), so all figures are those of the others. The first one's reason: "
            f"{missing[0].notes[-1]}. The same command tries them again"
        )


def refuse_missing_file(path: Path) -> None:
    """Refuse a recipe that is not a file that can be written to."""
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such recipe file. Name the YAML file to be changed")
