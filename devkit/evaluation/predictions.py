"""What both commands begin with: training images, their truth, and predictions out of fold."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.errors import RecipeError

if TYPE_CHECKING:
    from kernelkit.training.validated import Validated

__all__ = ["predict", "refuse_missing_file", "shared_arguments"]


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


def predict(options: argparse.Namespace) -> "Validated":
    """Predict each training image by the members whose fold held it out.

    Raises
    ------
    RecipeError, TrainingError, LabelError
        The recipe, the folds or the labels cannot be read, or do not fit each other.
    EvaluationError
        An image has no honest prediction.
    """
    from kernelkit.training.recipe import TrainingRecipe
    from kernelkit.training.validated import predict_held_out

    return predict_held_out(
        TrainingRecipe.load(options.recipe, options.set),
        options.competition,
        options.models,
        options.output,
        device=options.device,
        workers=options.workers,
    )


def refuse_missing_file(path: Path) -> None:
    """Refuse a recipe that is not a file that can be written to."""
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such recipe file. Name the YAML file to be changed")
