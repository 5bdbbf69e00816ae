"""The recipes of a competition of the user's own, as a wheel for the dataset.

It holds every YAML file of `competitions/<name>/`. On Kaggle and in the twin, `Recipe.load` and
`TrainingRecipe.load` find them there by the name of the competition.
"""

from dataclasses import replace
from pathlib import Path

from build_backend import write_members
from devkit.competitions import OwnCompetition, refuse_name
from devkit.errors import DatasetError
from devkit.wheels.wheelfile import Wheel, read_wheel
from kernelkit.own_recipes import RECIPES_DISTRIBUTION, RECIPES_PACKAGE
from kernelkit.recipe import Recipe

__all__ = ["check_recipes", "recipe_files", "recipes_wheel"]

# Bytes. The longest recipe has 4 kB.
_MOST_BYTES = 1 << 20


def recipe_files(competition: OwnCompetition) -> list[Path]:
    """The files that go into the wheel."""
    return sorted(competition.folder.glob("*.yaml"))


def check_recipes(competition: OwnCompetition) -> None:
    """Refuse recipes that the notebooks could not load.

    Raises
    ------
    RecipeError
        One of the two recipes cannot be read, or contradicts itself.
    DatasetError
        A file is a link that leads outside, or is no recipe by its size.
    SettingsError
        The competition has the name of a recipe of kernelkit.
    """
    refuse_name(competition.name)
    for path in recipe_files(competition):
        if not path.resolve().is_relative_to(competition.folder.resolve()):
            raise DatasetError(f"{path}: it is a link that leads outside. Copy the file")
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(
                f"{path}: found {path.stat().st_size / 1e6:.0f} MB, wanted a recipe of at most "
                f"{_MOST_BYTES / 1e6:.0f} MB. Move it elsewhere"
            )
    Recipe.load(competition.recipe)
    if competition.training_recipe.is_file():
        # torch takes seconds to import
        from kernelkit.training.recipe import TrainingRecipe

        TrainingRecipe.load(competition.training_recipe)


def recipes_wheel(competition: OwnCompetition, folder: Path) -> Wheel:
    """Write the wheel of the recipes into `folder`. The same files give the same bytes."""
    project = {
        "name": RECIPES_DISTRIBUTION.replace("-", "_"),
        "version": "0",
        "description": "Recipes of a competition of the user's own",
        "requires-python": ">=3.12",
    }
    summary = f'"""Recipes of {competition.name}, a competition of the user\'s own."""\n'
    members = {f"{RECIPES_PACKAGE}/__init__.py": summary.encode()}
    for path in recipe_files(competition):
        members[f"{RECIPES_PACKAGE}/{competition.name}/{path.name}"] = path.read_bytes()
    return replace(read_wheel(write_members(folder, project, members)), modules=(RECIPES_PACKAGE,))
