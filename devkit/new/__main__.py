"""`make new`: write `competitions/NAME/` with two recipes, the settings, and what to do next.

With COMPETITION, the folder is looked at: patterns, columns, bands and sizes go into the recipes.
With FROM, they begin as those of a recipe that comes with kernelkit. Nothing is ever overwritten.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from string import Template

from devkit.arguments import Arguments, add_competition
from devkit.commands import command
from devkit.competitions import OwnCompetition, competition_folder, competitions_folder, refuse_name
from devkit.errors import SettingsError
from devkit.make import make_command
from kernelkit.errors import OutputError, RecipeError

__all__ = ["main", "make_new"]

_FILES = Path(__file__).parent
_SHAPES = ("hubmap", "clouds", "salt", "unosat", "nuclei")
# What folders of data are called that are not named by their competition.
_NO_SLUGS = ("competition", "data", "files", "input")
_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


@command("new")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if the folder was written.

    Raises
    ------
    SettingsError
        The name or the slug cannot be, or there is such a competition.
    """
    options = _parse(arguments)
    own = make_new(options.own_competition, options.slug, options.shape, options.competition)
    print(f"{_shown(own.folder)}: recipe.yaml, train.yaml, kaggle.toml, README.md")
    if not own.data_folder.exists():
        fetch = make_command("download-data", NAME=own.name)
        print(f"next: {fetch}, or link {_shown(own.data_folder)} to them")
    else:
        for file in (own.recipe, own.training_recipe):
            for key in _guesses(file):
                print(f"{_shown(file)}: {key} were not found, so this line is a guess")
        print(f"next: check both recipes, then {make_command('look', NAME=own.name)}")
    return 0


def _guesses(recipe: Path) -> list[str]:
    """The keys of a new recipe that nothing in the folder led to."""
    from devkit.new.recipes import GUESS

    lines = recipe.read_text(encoding="utf-8").splitlines()
    return [line.strip().partition(":")[0] for line in lines if line.endswith(GUESS)]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("new", "python -m devkit.new", description=__doc__)
    parser.add_argument(
        "--name",
        dest="own_competition",
        required=True,
        metavar="NAME",
        variable="NAME",
        help="what recipes, notebooks and datasets are named by, such as my-competition",
    )
    parser.add_argument(
        "--slug", variable="SLUG", help="Kaggle's name of the competition, as in its address"
    )
    parser.add_argument(
        "--from",
        dest="shape",
        choices=_SHAPES,
        variable="FROM",
        help="begin with the recipes of this competition",
    )
    add_competition(parser)
    options = parser.parse_args(arguments)
    if options.slug and not _SLUG.fullmatch(options.slug):
        parser.error(
            f"found {options.slug!r:.60} as SLUG, wanted the last part of the competition's "
            "address, such as hubmap-kidney-segmentation"
        )
    return options


def make_new(
    name: str, slug: str | None = None, shape: str | None = None, data: Path | None = None
) -> OwnCompetition:
    """Write the folder of a new competition. All of it is checked before it is there.

    Parameters
    ----------
    name
        What it is called here.
    slug
        Kaggle's name of it. None means that of the folder of data, or the name itself.
    shape
        A recipe of kernelkit to begin with. None begins with what was seen of the data.
    data
        The competition's files. The new folder gets a link to them.

    Raises
    ------
    SettingsError
        The name cannot be, or there is such a folder.
    CompetitionError
        There is no such folder of data.
    OutputError
        The folder cannot be written.
    """
    refuse_name(name)
    own = OwnCompetition(competitions_folder() / name)
    if os.path.lexists(own.folder):
        raise SettingsError(
            f"{own.folder}: it is there already, and nothing is overwritten. Choose another NAME, "
            "or remove it"
        )
    if data is not None:
        competition_folder(data)
    texts = _texts(name, slug, shape, data)
    try:
        own.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=own.folder.parent, prefix=".new-") as place:
            unfinished = OwnCompetition(Path(place) / name)
            unfinished.folder.mkdir()
            for file, text in texts.items():
                (unfinished.folder / file).write_text(text, encoding="utf-8")
            if data is not None:
                unfinished.data_folder.symlink_to(data.resolve())
            _check(unfinished)
            unfinished.folder.rename(own.folder)
    except OSError as error:
        raise OutputError(
            f"{own.folder}: it cannot be written ({error.strerror}). Make the folder writable"
        ) from None
    return own


def _texts(name: str, slug: str | None, shape: str | None, data: Path | None) -> dict[str, str]:
    """The text of each file."""
    # numpy takes its time to import
    from devkit.new.recipes import from_shape, predicting, training
    from devkit.new.seen import Seen, look_at

    if shape is not None:
        predicts, trains = from_shape(shape, name, slug)
    else:
        place = data.resolve().name if data is not None else name
        known = place if _SLUG.fullmatch(place) and place not in _NO_SLUGS else name
        seen = look_at(data) if data is not None else Seen()
        predicts, trains = predicting(name, slug or known, seen), training(name, seen)
    return {
        "recipe.yaml": predicts,
        "train.yaml": trains,
        "kaggle.toml": _filled("settings.toml", name),
        "README.md": _filled("readme.md", name),
    }


def _filled(file: str, name: str) -> str:
    return Template((_FILES / file).read_text(encoding="utf-8")).substitute(name=name)


def _check(own: OwnCompetition) -> None:
    """Load what was written. A fault of it is one of this command."""
    from kernelkit.recipe import Recipe
    from kernelkit.training.recipe import TrainingRecipe

    try:
        Recipe.load(own.recipe)
        TrainingRecipe.load(own.training_recipe)
    except RecipeError as error:
        raise RecipeError(
            f"{error}. What was seen of the folder makes no recipe. Give FROM={_SHAPES[0]} to "
            "begin with another"
        ) from error


def _shown(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
