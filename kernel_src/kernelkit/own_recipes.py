"""Recipes of the user's own competitions, by the name of the competition.

A competition of one's own is a folder with a `recipe.yaml` that predicts and a `train.yaml` that
trains. At home the variable `KERNELKIT_RECIPES` names the folder that these folders lie in. The
builder packs one of them as the wheel `kernelkit-recipes`. On Kaggle the bootstrap installs that
wheel, after it has checked every byte. An installed wheel wins, since the notebook's fingerprint
covers it.
"""

import importlib.metadata
import os
import re
from pathlib import Path

from kernelkit.files import expanded

__all__ = [
    "PREDICTING",
    "RECIPES_DISTRIBUTION",
    "RECIPES_FOLDER",
    "RECIPES_PACKAGE",
    "TRAINING",
    "own_recipe",
    "own_recipe_names",
]

# The wheel of the user's own recipes by its name on Kaggle, and the package in it.
RECIPES_DISTRIBUTION = "kernelkit-recipes"
RECIPES_PACKAGE = "kernelkit_recipes"
# The variable that names the folder of the user's own competitions at home.
RECIPES_FOLDER = "KERNELKIT_RECIPES"
# The files in the folder of a competition: the recipe that predicts, and the one that trains.
PREDICTING, TRAINING = "recipe.yaml", "train.yaml"

_NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)


def own_recipe(name: str, file: str) -> Path | None:
    """The recipe of a competition of the user's own, or None if there is none of this name.

    Parameters
    ----------
    name
        The name of the competition.
    file
        `PREDICTING` or `TRAINING`.
    """
    folder = _folder()
    if folder is None or not _NAME.fullmatch(name):
        return None
    path = folder / name / file
    return path if path.is_file() else None


def own_recipe_names(file: str) -> list[str]:
    """The names of the user's own competitions that have such a recipe, sorted."""
    folder = _folder()
    if folder is None or not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if own_recipe(child.name, file))


def _folder() -> Path | None:
    """The folder that the competitions' folders lie in, or None if this session has none."""
    try:
        installed = importlib.metadata.distribution(RECIPES_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        named = os.environ.get(RECIPES_FOLDER)
        return expanded(named) if named else None
    return Path(str(installed.locate_file(RECIPES_PACKAGE)))
