"""`make shift`: whether test images look like training images, and which look most like them.

A classifier tells both apart by small pictures of them. It writes shift.csv, with a row per image,
and shift.png, with the most test-like training images above typical test images.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from devkit.arguments import Arguments, add_competition, add_json
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in
from devkit.predict.images import SUFFIXES
from devkit.tables import aligned
from kernelkit.console import printable
from kernelkit.errors import EvaluationError, RecipeError
from kernelkit.files import open_atomically, replace_atomically
from kernelkit.recipe import Competition, Recipe
from kernelkit.yamlfile import read_yaml

if TYPE_CHECKING:
    from kernelkit.competition import Scene
    from kernelkit.evaluation.shift import Shift
    from kernelkit.evaluation.shift.measure import Features
    from kernelkit.training.recipe import TrainingRecipe

__all__ = ["main"]

# So many of the most test-like training images are listed.
_LISTED = 10
_SHOWN_PROBLEMS = 20


@command("shift")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 if both sets could be compared.

    Raises
    ------
    EvaluationError
        Too few images can be compared, or there is no such network.
    RecipeError, CheckpointError
        The recipe cannot be read, or the run cannot be loaded.
    OutputError
        The output cannot be written.
    """
    options = _parse(arguments)
    if options.weights is not None and options.model is None:
        raise EvaluationError("found --weights without --model. Name the network that they are of")
    images = _find(options)
    from kernelkit.evaluation.shift import draw_sheet, measure_shift
    from kernelkit.predict.run import check_writable

    check_writable(options.output)
    with contextlib.redirect_stdout(sys.stderr):  # what is printed may be read by a program
        features, bands = _features(options, images)
        found = measure_shift(
            images.training, images.test, features, nodata=images.nodata, bands=bands
        )
    problems = {**images.problems, **found.problems}
    with open_atomically(options.output / "shift.csv") as file:
        found.table.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")
    picture = draw_sheet(found, images.training, images.test, nodata=images.nodata)
    with replace_atomically(options.output / "shift.png") as path:
        path.write_bytes(picture)
    if options.json:
        print(json.dumps(_as_json(found, problems), indent=2))
        return 0
    for line in _lines(found, problems):
        print(printable(line))
    print(printable(f"{options.output}: shift.csv with every image, and shift.png"))
    return 0


@dataclass(frozen=True)
class _Images:
    """The images of both sets, and why others are left out."""

    training: "Mapping[str, Scene]"
    test: "Mapping[str, Scene]"
    problems: Mapping[str, str]
    nodata: float | None


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("shift", "python -m devkit.evaluation shift", description=__doc__)
    add_competition(parser)
    add_name(parser)
    parser.add_argument(
        "--recipe",
        variable="RECIPE",
        help="a training recipe, or one that predicts: a name or a YAML file. Left out, images lie "
        "in the folders train and test",
    )
    parser.add_argument(
        "--images",
        variable="IMAGES",
        help='the training images, such as "train/{image}.tiff", instead of the recipe\'s',
    )
    parser.add_argument(
        "--model",
        variable="MODEL",
        help="a network of timm, a run folder or its checkpoint. Left out, colours and texture are "
        "compared",
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a file with the weights of a timm network"
    )
    parser.add_folder(
        "--output",
        default=Path("build/shift"),
        help="where shift.csv and shift.png go",
    )
    add_json(parser)
    options = parser.parse_args(arguments)
    # a folder of other images has nothing to do with the only competition of one's own
    if options.own_competition or options.competition is None:
        fill_in(parser, options, competition="data_folder", recipe=("training_recipe", None))
    return options


def _find(options: argparse.Namespace) -> _Images:
    """The images of both sets, as the recipe has them."""
    folder = competition_folder(options.competition)
    training = _training_recipe(options.recipe)
    if training is not None:
        predicts = training.recipe.competition
        own = [run.competition for run in training.runs.values()]
    else:
        predicts = _without_recipe(folder)
        if options.recipe is not None:
            predicts = Recipe.load(options.recipe).competition
        own = [_of_training(predicts, options)] if options.images is None else []
    if options.images is not None:
        own = [_with_images(predicts, options.images)]
    only = {p for run in training.runs.values() for p in run.only} if training else {"*"}
    from kernelkit.competition.scenes import find_scenes

    scenes: dict[str, Scene] = {}
    problems: dict[str, str] = {}
    for each in own:
        found, odd = find_scenes(folder, each)
        scenes |= {i: s for i, s in found.items() if any(fnmatchcase(i, p) for p in only)}
        problems |= {f"training {image}": reason for image, reason in odd.items()}
    test, odd = find_scenes(folder, predicts)
    problems |= {f"test {image}": reason for image, reason in odd.items()}
    _refuse_none(scenes, folder, own[0].images, "training", "Name them with --images")
    _refuse_none(
        test,
        folder,
        predicts.images,
        "test",
        "Many competitions mount them only in a notebook's rerun. Compare there, or fetch them",
    )
    return _Images(scenes, test, problems, predicts.nodata)


def _training_recipe(name: str | None) -> "TrainingRecipe | None":
    """The recipe, if it is one of training. kernelkit's own of one name know both sets."""
    if name is None:
        return None
    from kernelkit.training.recipe import TrainingRecipe

    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        is_training = "predicts" in read_yaml(path, RecipeError)
    else:
        is_training = name in TrainingRecipe.names()
    return TrainingRecipe.load(name) if is_training else None


def _without_recipe(folder: Path) -> Competition:
    """Images in the folder test, or test_images."""
    name = next((n for n in ("test", "test_images") if (folder / n).is_dir()), "test")
    return Competition(slug="none", images=name, suffixes=SUFFIXES)


def _of_training(test: Competition, options: argparse.Namespace) -> Competition:
    """The training images, if they lie where the test images do, but for the word."""
    if "test" not in test.images:
        raise EvaluationError(
            f"{options.recipe}: its test images are {test.images}, which does not say where the "
            'training images are. Name them, such as --images "train/{image}.tiff"'
        )
    return _with_images(test, test.images.replace("test", "train"))


def _with_images(competition: Competition, images: str) -> Competition:
    try:
        return Competition.model_validate(
            {**competition.model_dump(exclude_unset=True), "images": images}
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise EvaluationError(
            f"found {images!r:.80} as the training images: {reason}. Correct --images"
        ) from error


def _refuse_none(
    scenes: "Mapping[str, Scene]", folder: Path, wanted: str, part: str, hint: str
) -> None:
    if not scenes:
        raise EvaluationError(f"{folder}: found no {part} image, wanted {wanted}. {hint}")


def _features(options: argparse.Namespace, images: _Images) -> "tuple[Features, int | None]":
    """What images are compared by, and how many bands they must have for it."""
    from kernelkit.evaluation.shift import ColourFeatures, NetworkFeatures
    from kernelkit.evaluation.shift.thumbnails import alike_images

    if options.model is None:
        return ColourFeatures(), None
    path = Path(options.model)
    if path.exists():
        if options.weights is not None:
            raise EvaluationError(
                f"found --weights beside the run {path}, which has its own. Leave one of them out"
            )
        return NetworkFeatures.of_run(path), None
    if "/" in options.model or path.suffix in (".pth", ".pt", ".safetensors", ".ckpt"):
        raise EvaluationError(
            f"{path}: there is no such run folder or checkpoint. Correct --model, or name a "
            "network of timm"
        )
    bands = alike_images({**images.training, **images.test}, images.nodata).bands
    return NetworkFeatures.of_timm(options.model, bands, options.weights), bands


def _lines(found: "Shift", problems: Mapping[str, str]) -> Iterator[str]:
    """What was found, as lines for people."""
    counts = found.table["part"].value_counts()
    yield f"{counts['training']} training and {counts['test']} test images, by {found.features}"
    if len(found.differences):
        yield ""
        rows = [["what differs most", "training", "test", "in deviations"]]
        for name, own, other, deviations in found.differences.itertuples(index=False):
            rows.append([name, f"{own:.4g}", f"{other:.4g}", f"{deviations:+.2f}"])
        yield from aligned(rows)
    yield ""
    own = found.of_part("training")
    has_groups = bool((own["group"] != "").any())
    rows = [["most test-like", "likeness", *(["group"] if has_groups else [])]]
    for image, _, group, likeness in own.head(_LISTED).itertuples(index=False):
        rows.append([image, f"{likeness:.3f}", *([group] if has_groups else [])])
    yield from aligned(rows)
    if problems:
        yield ""
        yield f"{len(problems)} image(s) are left out:"
        shown = list(problems.items())[:_SHOWN_PROBLEMS]
        yield from (f"  {name}: {reason}" for name, reason in shown)
        if len(shown) < len(problems):
            yield f"  and {len(problems) - len(shown)} more"
    yield ""
    yield from found.notes
    yield found.sentence


def _as_json(found: "Shift", problems: Mapping[str, str]) -> dict[str, Any]:
    own = found.of_part("training")
    return {
        "auc": found.auc.value,
        "low": found.auc.low,
        "high": found.auc.high,
        "sentence": found.sentence,
        "features": found.features,
        "images": {part: len(found.of_part(part)) for part in ("training", "test")},
        "most_test_like": own.head(_LISTED).drop(columns="part").to_dict("records"),
        "differences": found.differences.to_dict("records"),
        "left_out": dict(problems),
        "notes": list(found.notes),
    }


if __name__ == "__main__":
    sys.exit(main())
