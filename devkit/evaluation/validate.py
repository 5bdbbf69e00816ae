"""`make validate`: predict training images by the folds that held them out, and score them.

It writes scores.csv, with a row per image and class, and report.html. What the store has already is
not predicted again.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from devkit.arguments import Arguments
from devkit.bars import waiting
from devkit.commands import command
from devkit.evaluation.predictions import (
    checked_recipe,
    complete,
    predicted,
    refuse_missing,
    shared_arguments,
)
from devkit.tables import aligned
from kernelkit.console import printable
from kernelkit.files import open_atomically

if TYPE_CHECKING:
    from kernelkit.evaluation.scored import ScoreTable

__all__ = ["main"]


@command("validate", go_on="The same command goes on with the images that are not stored yet")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if all images were scored.

    Raises
    ------
    EvaluationError, RecipeError, TrainingError, LabelError
        As of `devkit.evaluation.predictions.predicted`. Or an image was not predicted.
    """
    parser = Arguments("validate", "python -m devkit.evaluation validate", description=__doc__)
    shared_arguments(parser)
    parser.add_argument(
        "--views", action="store_true", help="also predict without each view, to see what it adds"
    )
    options = parser.parse_args(arguments)
    complete(parser, options)
    training = checked_recipe(options)
    from kernelkit.evaluation.report import write_report
    from kernelkit.evaluation.scored import score_images
    from kernelkit.evaluation.views import leave_one_view_out

    with predicted(training, options) as validated:
        found = validated.found
        images = list(found.masks)
        masks = found.masks
        with waiting("masks are scored"):
            table = score_images(
                images, validated.classes, masks.__getitem__, validated.truth, masks.held
            )
        groups = {image: scene.group for image, scene in found.scenes.items()}
        with open_atomically(options.output / "scores.csv") as file:
            table.frame(fold=found.folds, group=groups).to_csv(
                file, index=False, lineterminator="\n"
            )
        views = {}
        if options.views:
            views = leave_one_view_out(found, validated.again, validated.truth)
        with waiting("the report is written"):
            write_report(found, validated.truth, table, options.output / "report.html", views)
    for line in (*_lines(table), *_view_lines(views)):
        print(printable(line))
    for note in validated.notes:
        print(printable(note))
    print(printable(f"{options.output}: report.html, scores.csv and the store of probabilities"))
    refuse_missing(found, options.output)
    return 0


def _lines(table: "ScoreTable") -> Iterator[str]:
    """The scores of each class, as lines for people."""
    head = ("class", "dice per image", "dice over all", "iou per image", "precision at .5 to .95")
    rows: list[tuple[str, ...]] = [head]
    scores = [table.per_class(score) for score in ("dice", "set", "iou", "precision")]
    for name in table.classes:
        rows.append((name or "target", *(f"{each[name]:.4f}" for each in scores)))
    yield from aligned(rows)
    yield f"dice per image {table.interval('dice')} of {len(table.images)} images, out of fold"


def _view_lines(views: "Mapping[str, Mapping[str, ScoreTable]]") -> Iterator[str]:
    """What is lost without each view, as lines for people."""
    for ensemble, scores in views.items():
        for name, table in scores.items():
            if name != "all":
                gain = table.gain(scores["all"])
                yield f"{ensemble} {name}: dice per image {gain} beside all views"
