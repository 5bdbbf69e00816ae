"""`make tune`: search thresholds and minimum sizes on out-of-fold predictions.

It writes total.csv, and says what of the gain survives if each fold is left out in turn. With
--write, the values go into a recipe's file, which keeps its comments. An ensemble of which nothing
of the gain survives keeps its old values there.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from devkit.arguments import Arguments
from devkit.bars import waiting
from devkit.commands import command
from devkit.evaluation.predictions import (
    checked_recipe,
    complete,
    predicted,
    refuse_missing,
    refuse_missing_file,
    shared_arguments,
)
from kernelkit.console import printable
from kernelkit.errors import EvaluationError
from kernelkit.vocabulary import Score, Sharing

if TYPE_CHECKING:
    from kernelkit.evaluation.tuning import Tuned

__all__ = ["main"]


@command("tune", go_on="The same command goes on with the images that are not stored yet")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if values were found, and written if asked.

    Raises
    ------
    EvaluationError, RecipeError, TrainingError, LabelError
        As of `devkit.evaluation.predictions.predicted`. Or the search cannot be done, or an image
        was not predicted. Or values are to be written of which nothing of the gain survives.
    OutputError
        The recipe cannot be written.
    """
    options = _parse(arguments)
    if options.write is not None:
        refuse_missing_file(options.write)
    if options.write is not None and options.share == "group":
        raise EvaluationError(
            "found --write with values per group, which no recipe can say. Leave out --write, or "
            "share by class"
        )
    training = checked_recipe(options)
    from kernelkit.evaluation.search.rewriting import as_written, rewrite
    from kernelkit.evaluation.search.total import write_total
    from kernelkit.evaluation.tuning import Asked, tune

    lowest, highest, step = options.thresholds
    asked = Asked(
        lowest,
        highest,
        step,
        options.sizes,
        options.share,
        options.score,
        tuple(options.exclude),
        options.weights,
    )
    with predicted(training, options) as validated:
        found = validated.found
    used = dict.fromkeys(image.ensemble for image in found.report.images if image.ensemble)
    wanted = {}
    for name in used:
        with waiting(f"thresholds and sizes of {name} are searched"):
            tuned = tune(found, validated.truth, name, asked)
        file = "total.csv" if len(used) == 1 else f"total_{name}.csv"
        write_total(tuned.total, options.output / file)
        for line in _lines(name, tuned):
            print(printable(line))
        if tuned.to_write is not None:
            wanted[name] = tuned.to_write
        print(printable(f"{options.output / file}: the best threshold of each image"))
    for note in validated.notes:
        print(printable(note))
    refuse_missing(found, options.output, options.exclude)
    if options.write is not None:
        _refuse_lost(options.write, used, wanted)
        rewrite(options.write, as_written(options.write, wanted))
        print(printable(f"{options.write}: it has the new values of {', '.join(wanted)}"))
        for name in used:
            if name not in wanted:
                print(printable(f"{name} keeps its old values: nothing of the gain survives"))
    return 0


def _refuse_lost(path: Path, used: Iterable[str], wanted: Mapping[str, object]) -> None:
    """Refuse to write if nothing of any ensemble's gain survives."""
    if not wanted:
        raise EvaluationError(
            f"{path}: it stays as it is, since nothing of the gain survives out of fold for "
            f"{', '.join(used)}. Train on more images, or write the values above by hand"
        )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("tune", "python -m devkit.evaluation tune", description=__doc__)
    shared_arguments(parser)
    parser.add_argument(
        "--thresholds",
        type=_range,
        default=(0.2, 0.9, 0.01),
        metavar="LOWEST:HIGHEST:STEP",
        variable="THRESHOLDS",
        help="what is tried, such as 0.2:0.9:0.01",
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        metavar="SIZE,SIZE",
        variable="SIZES",
        help="minimum sizes in pixels, such as 0,100,1000. Left out, they follow from the labels",
    )
    parser.add_argument(
        "--share",
        choices=get_args(Sharing),
        default="common",
        variable="SHARE",
        help="for whom values are chosen",
    )
    parser.add_argument(
        "--score",
        choices=get_args(Score),
        default="dice",
        variable="SCORE",
        help="what is made large",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        variable="EXCLUDE",
        help="an image without a say",
    )
    parser.add_argument(
        "--weights", action="store_true", variable="WEIGHTS", help="search the runs' weights too"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="YAML",
        variable="WRITE",
        help="the recipe's file that gets the values, if any of the gain survives",
    )
    options = parser.parse_args(arguments)
    complete(parser, options)
    return options


def _range(text: str) -> tuple[float, float, float]:
    try:
        lowest, highest, step = map(float, text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r:.40}, wanted three numbers such as 0.2:0.9:0.01"
        ) from None
    return lowest, highest, step


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(
            f"found {text!r:.40}, wanted whole numbers such as 0,100,1000"
        )
    return tuple(sorted({int(part) for part in parts}))


def _lines(name: str, tuned: "Tuned") -> Iterator[str]:
    """What was found for an ensemble, as lines for people."""
    for key, optimum in tuned.chosen.optima.items():
        yield f"{name}{f' {key}' if key else ''}: {optimum}"
    if tuned.survival is None:
        yield f"{tuned.before:.4f} before, {tuned.chosen.value:.4f} after"
    else:
        yield str(tuned.survival)
    if tuned.weighed is not None:
        weights = ", ".join(f"{run} {w:g}" for run, w in tuned.weighed.ensemble.weights.items())
        yield (
            f"weights: {tuned.weighed.before:.4f} before, {tuned.weighed.after:.4f} with "
            f"{weights or 'equal weights'}"
        )
    if tuned.submitted is not None:
        before, after = tuned.submitted
        yield f"masks as they are submitted: {before:.4f} before, {after:.4f} after"
    yield from tuned.notes
