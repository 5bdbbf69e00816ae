"""`make train`: train the folds of a recipe's runs, and write the run folders that inference reads.

A fold that is finished is not trained again. After Ctrl-C or a crash the same command goes on after
the last whole epoch of each fold. Other settings need another output: what is trained is never
replaced.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from devkit.arguments import (
    Arguments,
    add_runs,
    add_set,
    add_training_recipe,
    add_workers,
    number_from_0,
)
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in
from devkit.tables import aligned
from kernelkit.console import printable

if TYPE_CHECKING:
    from kernelkit.training.fold_result import FoldResult

__all__ = ["main"]


@command("train", go_on="The same command goes on after the last whole epoch of each fold")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if every fold has a checkpoint.

    Raises
    ------
    RecipeError
        There is no such recipe, or it contradicts itself.
    TrainingError, OutputError
        As of `kernelkit.training.train.train`.
    """
    options = _parse(arguments)
    from kernelkit.training.recipe import TrainingRecipe

    training = TrainingRecipe.load(options.recipe, options.set)
    competition_folder(options.competition)
    from kernelkit.training.train import train

    results = train(
        training,
        options.competition,
        options.output,
        cuts=options.cuts,
        runs=options.run,
        folds=options.fold,
        workers=options.workers,
        say=lambda line: print(printable(line), flush=True),
    )
    for line in _table(results):
        print(printable(line))
    print(printable(f"{options.output}: the models folder. Each run in it has a report.html"))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("train", "python -m devkit.training", description=__doc__)
    add_training_recipe(parser)
    add_name(parser)
    parser.add_folder(
        "--output",
        variable="OUTPUT",
        help="the models folder (default: build/models, or that of your own competition)",
    )
    parser.add_folder(
        "--cuts",
        variable="CUTS",
        help="the images at the training scale (default: below build/)",
    )
    add_runs(parser)
    parser.add_argument(
        "--fold",
        action="append",
        default=[],
        type=number_from_0,
        variable="FOLD",
        help="one of the folds, all if none",
    )
    add_set(parser, "epochs=3")
    add_workers(parser, "processes that read crops, for each fold")
    options = parser.parse_args(arguments)
    fill_in(
        parser,
        options,
        recipe="training_recipe",
        competition="data_folder",
        output=("models_folder", "build/models"),
        cuts=("cuts_folder", "build/cuts"),
    )
    return options


def _table(results: "Sequence[FoldResult]") -> Iterator[str]:
    """What each fold reached, as lines for people."""
    rows = [("fold", "best", "weights", "at epoch", "last", "epochs", "minutes", "checkpoint")]
    for one in results:
        found = one.score is not None
        rows.append(
            (
                one.name,
                f"{one.score:.4f}" if found else "-",
                one.kind or "-",
                str(one.epoch) if found else "-",
                f"{one.last:.4f}" if one.metric else "-",
                f"{one.epochs} of {one.total}",
                f"{one.seconds / 60:.1f}",
                one.checkpoint or "-",
            )
        )
    yield from aligned(rows)
    yield from dict.fromkeys(note for one in results for note in one.notes)


if __name__ == "__main__":
    sys.exit(main())
