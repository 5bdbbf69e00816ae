"""`make look`: what the images of a competition are, and how long Kaggle takes to read them.

It needs no models. With a recipe, it looks at the images that the recipe predicts, or at those of
--images. It reads them as the recipe cuts them. Without a recipe, it looks at all image files.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from devkit.arguments import Arguments, add_competition, add_json, add_workers
from devkit.commands import command
from devkit.competitions import add_name, competition_folder, fill_in
from kernelkit.console import printable
from kernelkit.errors import CompetitionError
from kernelkit.recipe import Recipe

if TYPE_CHECKING:
    from kernelkit.competition import Scene

__all__ = ["main"]

# The cores of a session on Kaggle: more workers would not say how fast it reads.
_CORES = 4


@command("look")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 if any image can be read.

    Raises
    ------
    CompetitionError
        There is no image, or none can be read.
    """
    options = _parse(arguments)
    recipe = Recipe.load(options.recipe) if options.recipe else None
    competition_folder(options.competition)
    from devkit.training.survey import Survey, survey
    from devkit.training.survey_lines import as_json, lines_of

    scenes, problems = _scenes(options.competition, recipe, options.images)
    found = survey(scenes, recipe, options.workers)
    found = Survey(
        found.images, {**problems, **found.problems}, found.workers, found.how, found.blank_rule
    )
    if not found.images:
        name, reason = next(iter(found.problems.items()))
        raise CompetitionError(
            f"{options.competition}: none of {len(found.problems)} images can be read. The first is"
            f" {printable(name)}: {reason}"
        )
    if options.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print("\n".join(printable(line) for line in lines_of(found)))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("look", "python -m devkit.training.look", description=__doc__)
    add_competition(parser)
    parser.add_argument(
        "--recipe", variable="RECIPE", help="the recipe that predicts: a name or a YAML file"
    )
    parser.add_argument(
        "--images",
        variable="IMAGES",
        help='a folder or a pattern, such as "train/{image}.tiff", instead of the recipe\'s',
    )
    add_workers(parser, "processes that read", min(_CORES, len(os.sched_getaffinity(0))))
    add_json(parser)
    add_name(parser)
    options = parser.parse_args(arguments)
    # a folder of other images has nothing to do with the only competition of one's own
    if options.own_competition or options.competition is None:
        fill_in(parser, options, competition="data_folder", recipe=("recipe", None))
    if options.images and not options.recipe:
        parser.error("--images needs --recipe, which says what else the images are")
    return options


def _scenes(
    folder: Path, recipe: Recipe | None, images: str | None
) -> tuple["Mapping[str, Scene]", Mapping[str, str]]:
    """The images, and why the files of others are none."""
    from devkit.predict.images import SUFFIXES
    from kernelkit.competition import Scene
    from kernelkit.competition.scenes import find_scenes

    if recipe is None:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        names = {p.relative_to(folder).as_posix(): p for p in paths if p.is_file()}
        scenes = {name: Scene(name, (path,)) for name, path in names.items()}
        problems: dict[str, str] = {}
        wanted = f"a file that ends in {', '.join(SUFFIXES)}"
    else:
        competition = recipe.competition
        if images:
            competition = competition.model_validate(
                {**competition.model_dump(exclude_unset=True), "images": images}
            )
        scenes, problems = find_scenes(folder, competition)
        wanted = competition.images
    if not scenes and not problems:
        raise CompetitionError(f"{folder}: found no image, wanted {wanted}. Name another folder")
    return scenes, problems


if __name__ == "__main__":
    sys.exit(main())
