"""`make train`: train the folds of a recipe's runs, and write the run folders that inference reads.

A fold that is finished is not trained again. After Ctrl-C or a crash the same command goes on after
the last whole epoch of each fold. Other settings need another output: what is trained is never
replaced.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.commands import command
from devkit.training.columns import aligned
from kernelkit.console import printable
from kernelkit.errors import TrainingError

if TYPE_CHECKING:
    from kernelkit.training.train import FoldResult

__all__ = ["main"]


@command("training", go_on="The same command goes on after the last whole epoch of each fold")
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
    if not options.competition.is_dir():
        raise TrainingError(
            f"{options.competition}: there is no such folder. Name the competition's folder, or "
            "fetch it with make download-data"
        )
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
    parser = argparse.ArgumentParser(prog="python -m devkit.training", description=__doc__)
    parser.add_argument("recipe", help="a training recipe: a name or a YAML file")
    parser.add_argument("--competition", type=Path, required=True, help="the competition's folder")
    parser.add_argument(
        "--output", type=Path, default=Path("build/models"), help="the models folder"
    )
    parser.add_argument(
        "--cuts", type=Path, default=Path("build/cuts"), help="the images at the training scale"
    )
    parser.add_argument("--run", action="append", default=[], help="one of the runs, all if none")
    parser.add_argument(
        "--fold", action="append", default=[], type=_number, help="one of the folds, all if none"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as epochs=3"
    )
    parser.add_argument(
        "--workers", type=_number, default=0, help="processes that read crops, for each fold"
    )
    return parser.parse_args(arguments)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r:.40}, wanted a number from 0 on")
    return int(text)


def _table(results: "Sequence[FoldResult]") -> Iterator[str]:
    """What each fold reached, as lines for people."""
    rows = [("fold", "best", "weights", "at epoch", "last", "epochs", "minutes", "checkpoint")]
    for one in results:
        found = one.score is not None
        rows.append(
            (
                one.name,
                f"{one.score:.4f}" if found else "-",
                one.weights or "-",
                str(one.epoch) if found else "-",
                f"{one.last:.4f}",
                f"{one.epochs} of {one.total}",
                f"{one.seconds / 60:.1f}",
                one.checkpoint or "-",
            )
        )
    yield from aligned(rows)
    yield from dict.fromkeys(note for one in results for note in one.notes)


if __name__ == "__main__":
    sys.exit(main())
