"""`make predict`: run trained models over images at home, and write masks and a submission.

The images are a competition's, or those of any folder. Without a sample submission, run_lengths.csv
takes the place of submission.csv. Nothing of Kaggle limits the run. What the store has already is
not predicted again.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devkit.arguments import (
    Arguments,
    add_json,
    add_prediction,
    add_workers,
    number_from_1,
)
from devkit.bars import messages_shown
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in, models_folder
from devkit.predict.executors import add_executor, executor_for, refuse_lost
from kernelkit.console import printable
from kernelkit.errors import SubmissionError, listed

if TYPE_CHECKING:
    from devkit.predict.run import HomeRun

__all__ = ["main"]

# So many images have a row of their own in the table.
_LISTED = 20
_NAMED = 5


@command("predict", go_on="The same command goes on with the images that are not stored yet")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if every image has a mask.

    Raises
    ------
    CompetitionError, RecipeError, CheckpointError
        The images, the recipe or the models cannot be read, or do not fit each other.
    ClusterError, DeviceError
        As of `devkit.predict.executors.executor_for`.
    SubmissionError
        An image has no mask.
    OutputError
        The output cannot be written.
    """
    options = _parse(arguments)
    from kernelkit.recipe import Recipe

    recipe = Recipe.load(options.recipe)
    competition_folder(options.competition)
    models_folder(options.models)
    from devkit.predict.images import read_images

    recipe, images = read_images(options.competition, recipe)
    from devkit.predict.run import predict_at_home
    from kernelkit.predict.run import check_writable

    check_writable(options.output)
    with (
        # what is printed may be read by a program
        contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout),
        messages_shown(),
        executor_for(options.scheduler, options.workers, options.devices) as executor,
    ):
        try:
            run = predict_at_home(
                recipe,
                images,
                options.models,
                options.output,
                device=options.devices,
                workers=options.workers,
                limit=options.limit,
                form=options.masks,
                executor=executor,
            )
        except SubmissionError:
            refuse_lost(executor)  # it is the reason
            raise
    if options.json:
        print(json.dumps(_as_json(run), indent=2))
    else:
        for line in _lines(run):
            print(printable(line))
    refuse_lost(executor)
    _refuse_missing(run, options.output)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("predict", "python -m devkit.predict", description=__doc__)
    add_prediction(parser, "a competition's folder, or any folder of images")
    parser.add_folder(
        "--output",
        variable="OUTPUT",
        help="the store, the submission, the report and the masks (default: build/predictions, or "
        "below build/ for your own competition)",
    )
    parser.add_argument(
        "--masks",
        choices=("png", "tiff", "geotiff"),
        variable="MASKS",
        help="write masks as files too",
    )
    add_executor(parser)
    add_workers(parser, "processes: those that read images for a GPU, or those that share the CPU")
    parser.add_argument(
        "--limit",
        type=number_from_1,
        variable="LIMIT",
        help="predict only so many images, to try things out",
    )
    add_json(parser)
    add_name(parser)
    options = parser.parse_args(arguments)
    fill_in(
        parser,
        options,
        recipe="recipe",
        competition="data_folder",
        models="models_folder",
        output=("predictions_folder", "build/predictions"),
    )
    return options


def _lines(run: "HomeRun") -> Iterator[str]:
    """What a run came to, as lines for people."""
    report, done = run.done.report, run.done
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
    speed = f", {report.megapixels_per_second:.2f} Mpx/s" if report.predicted else ""
    yield f"{report.recipe} on {report.device}: {counts}{speed}"
    yield from report.table(_LISTED).to_string(index=False, na_rep="").splitlines()
    yield from report.notes
    what = "the submission" if run.is_scored else "run lengths of the masks. It is no submission"
    for path in (*done.submissions, done.submission):
        yield f"{path}: {what}"
    other = done.submission.with_name("run_lengths.csv" if run.is_scored else "submission.csv")
    if other.is_file():
        yield f"{other}: of an earlier run, and not of this one"
    for path in done.maps.files:
        yield f"{path}: a map"
    if run.masks:
        yield f"{run.masks[0].parent}: {len(run.masks)} masks"
    yield f"{done.submission.parent}: report.json, and the store in masks"


def _as_json(run: "HomeRun") -> dict[str, Any]:
    report, done = run.done.report, run.done
    return {
        "recipe": report.recipe,
        "device": report.device,
        "images": report.counts,
        "megapixels_per_second": report.megapixels_per_second,
        "missing": {image.image: image.note for image in run.missing},
        "notes": report.notes,
        "submission": str(done.submission) if run.is_scored else None,
        "submissions": [str(path) for path in done.submissions if run.is_scored],
        "run_lengths": None if run.is_scored else str(done.submission),
        "masks": [str(path) for path in run.masks],
        "report": str(done.submission.parent / "report.json"),
    }


def _refuse_missing(run: "HomeRun", output: Path) -> None:
    """Let the exit code say that an image has no mask. What was written stays."""
    if missing := run.missing:
        named = listed([image.image for image in missing], _NAMED)
        raise SubmissionError(
            f"{output}: {len(missing)} of {len(run.wanted)} images have no mask ({named}). "
            f"The first one's reason: {missing[0].notes[-1]}. The same command tries them again"
        )


if __name__ == "__main__":
    sys.exit(main())
