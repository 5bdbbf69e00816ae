"""`make folds`: divide the training images, write folds.csv, and show what each fold holds.

Masks are decoded to see how much of each image is labelled. To train with the table, perhaps
changed by hand, name it as `table` of the recipe's `folds`.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import Arguments, add_set, add_training_recipe
from devkit.bars import bar
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in
from devkit.tables import aligned
from kernelkit.console import printable
from kernelkit.errors import LabelError, SlideError

if TYPE_CHECKING:
    from kernelkit.competition import Scene
    from kernelkit.labels import Labels
    from kernelkit.training.folds import Folds
    from kernelkit.training.recipe import RunRecipe

__all__ = ["Divided", "divided", "main"]


@dataclass(frozen=True)
class Divided:
    """Images in folds, and what is known of them.

    Attributes
    ----------
    folds
        Which images validate in each fold.
    shares
        The share of each image that each class has.
    classes
        The names of the classes.
    left_out
        Why images cannot be used, by their ids.
    notes
        What went otherwise, a sentence each.
    """

    folds: "Folds"
    shares: Mapping[str, Sequence[float]]
    classes: Sequence[str]
    left_out: Mapping[str, str]
    notes: Sequence[str]


@command("folds")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if the table was written.

    Raises
    ------
    RecipeError
        There is no such recipe or run.
    TrainingError
        The images cannot be divided so.
    LabelError
        The labels cannot be read, or fit no image.
    """
    options = _parse(arguments)
    from kernelkit.training.recipe import TrainingRecipe

    training = TrainingRecipe.load(options.recipe, options.set)
    run, *_ = training.chosen_runs([options.run] if options.run else [])
    found = divided(run, competition_folder(options.competition))
    found.folds.write(options.output)
    for line in _lines(found):
        print(printable(line))
    print(printable(f"{options.output}: {len(found.folds.images)} images of the run {run.name}"))
    if run.folds.table is None:
        print(printable(f"to train with it, write folds: {{table: {_path(options)}}}"))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("folds", "python -m devkit.training.folds", description=__doc__)
    add_training_recipe(parser)
    add_name(parser)
    parser.add_argument(
        "--run", variable="RUN", help="the run whose images and folds are meant, the first if none"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="CSV",
        help="the table to write (default: folds.csv, here or beside your own recipe)",
    )
    add_set(parser, "folds.count=5")
    options = parser.parse_args(arguments)
    fill_in(
        parser,
        options,
        recipe="training_recipe",
        competition="data_folder",
        output=("folds_file", "folds.csv"),
    )
    return options


def _path(options: argparse.Namespace) -> Path:
    """The table as a recipe names it: below the competition's folder, or absolute."""
    path, folder = options.output.resolve(), options.competition.resolve()
    return Path(path.relative_to(folder) if path.is_relative_to(folder) else path)


def divided(run: "RunRecipe", folder: Path) -> Divided:
    """Divide the images of a run. The errors are those of `main`."""
    from kernelkit.labels import open_labels
    from kernelkit.training.cuts.scenes import training_scenes
    from kernelkit.training.divided_folds import divided_folds

    scenes, notes = training_scenes(run, folder)
    labels = open_labels(run.labels, folder, run.competition, scenes)
    labelled = {image: scenes[image] for image in labels.ids}
    shares, left_out = _shares(labels, labelled, run.competition.nodata)
    used = {image: scene for image, scene in labelled.items() if image in shares}
    notes += [*labels.notes, *labels.occurrence(shares)]
    folds = divided_folds(run.folds, folder, run.competition, used, shares, left_out)
    return Divided(folds, shares, labels.classes, left_out, notes)


def _shares(
    labels: "Labels", scenes: "Mapping[str, Scene]", nodata: float | None
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """How much of each image each class has, and why images cannot be read."""
    from kernelkit.slide import Slide

    shares: dict[str, list[float]] = {}
    left_out: dict[str, str] = {}
    for image, scene in bar(scenes.items(), description="labels", unit="image"):
        try:
            with Slide(scene.paths, nodata=nodata) as slide, labels.of(image, slide) as label:
                masks = label.masks()
        except (LabelError, SlideError) as error:
            left_out[image] = str(error)
        else:
            shares[image] = [mask.area / (mask.height * mask.width) for mask in masks]
    return shares, left_out


def _lines(found: Divided) -> Iterator[str]:
    """What each fold holds, as lines for people."""
    from kernelkit.training.folds import ALWAYS

    names = [f"{name or 'target'} %" for name in found.classes]
    rows = [["fold", "images", "groups", *names]]
    for fold in [*sorted(set(found.folds.folds.values()) - {ALWAYS}), ALWAYS]:
        images = [image for image, number in found.folds.folds.items() if number == fold]
        if images:
            rows.append(["always" if fold == ALWAYS else str(fold), *_held(found, images)])
    rows.append(["all", *_held(found, found.folds.images)])
    yield from aligned(rows)
    yield from found.notes
    yield from (f"{image} is left out: {reason}" for image, reason in found.left_out.items())


def _held(found: Divided, images: Sequence[str]) -> list[str]:
    """How many images and groups there are, and the mean share of each class."""
    groups = {found.folds.groups[image] or image for image in images}
    classes = zip(*(found.shares[image] for image in images), strict=True)
    means = [sum(shares) / len(images) for shares in classes]
    return [str(len(images)), str(len(groups)), *(f"{mean:.2%}".rstrip("%") for mean in means)]


if __name__ == "__main__":
    sys.exit(main())
