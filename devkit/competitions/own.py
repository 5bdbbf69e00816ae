"""A competition of the user's own: its folder, and where its things lie at home.

`competitions/<name>/` holds the two recipes and the settings, which are the user's to change. Data
and trained models lie beside them, out of git and safe from `make clean`. All that is made from
them lies in `build/competitions/<name>/`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from devkit.errors import SettingsError
from devkit.make import make_command
from devkit.tools import REPOSITORY
from kernelkit.files import expanded
from kernelkit.own_recipes import PREDICTING, RECIPES_FOLDER, TRAINING

__all__ = [
    "COMPETITIONS",
    "OwnCompetition",
    "all_names",
    "competitions_folder",
    "find",
    "refuse_name",
]

COMPETITIONS = REPOSITORY / "competitions"

_SETTINGS = "kaggle.toml"
_SHORTEST, _LONGEST = 3, 40
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_KERNELKIT = REPOSITORY / "kernel_src" / "kernelkit"
# The folders of kernelkit's own recipes, whose names are taken.
_PACKAGED = (_KERNELKIT / "recipe", _KERNELKIT / "training" / "recipe")


@dataclass(frozen=True, slots=True)
class OwnCompetition:
    """A competition of the user's own.

    Attributes
    ----------
    folder
        `competitions/<name>`.
    """

    folder: Path

    @classmethod
    def of_settings(cls, path: Path) -> "OwnCompetition | None":
        """The competition of a settings file. None if the file is that of the repository.

        The folder may be a link to one that lies elsewhere.
        """
        folder, above = path.absolute().parent, competitions_folder().resolve()
        is_own = folder.parent.resolve() == above and path.name == _SETTINGS
        return cls(folder) if is_own else None

    @property
    def name(self) -> str:
        """What recipes, notebooks and datasets are named by."""
        return self.folder.name

    @property
    def recipe(self) -> Path:
        """The recipe that predicts."""
        return self.folder / PREDICTING

    @property
    def training_recipe(self) -> Path:
        """The recipe that trains."""
        return self.folder / TRAINING

    @property
    def settings_file(self) -> Path:
        """What Kaggle is told about it."""
        return self.folder / _SETTINGS

    @property
    def data_folder(self) -> Path:
        """The competition's files, as Kaggle mounts them: a folder, or a link to one."""
        return self.folder / "data"

    @property
    def models_folder(self) -> Path:
        """The trained runs."""
        return self.folder / "models"

    @property
    def folds_file(self) -> Path:
        """The table of folds that `make folds` writes."""
        return self.folder / "folds.csv"

    @property
    def build_folder(self) -> Path:
        """All that is made from the rest."""
        return REPOSITORY / "build" / "competitions" / self.name

    @property
    def cuts_folder(self) -> Path:
        """The images at the scale of the training."""
        return self.build_folder / "cuts"

    @property
    def evaluation_folder(self) -> Path:
        """What `make validate` and `make tune` write."""
        return self.build_folder / "evaluation"

    @property
    def engines_folder(self) -> Path:
        """What `make engine` writes."""
        return self.build_folder / "engines"

    @property
    def predictions_folder(self) -> Path:
        """What `make predict` writes."""
        return self.build_folder / "predictions"


def find(name: str | None = None) -> OwnCompetition | None:
    """Find a competition of the user's own.

    From then on `Recipe.load` and `TrainingRecipe.load` find its recipes by its name too.

    Parameters
    ----------
    name
        Its name. None or nothing means the only one that there is.

    Returns
    -------
    None if no name is given, and there are none or several.

    Raises
    ------
    SettingsError
        There is no such competition, or it may not have its name.
    """
    folder, names = competitions_folder(), all_names()
    if not name:
        if len(names) != 1:
            return None
        [name] = names
    refuse_name(name)
    if name not in names:
        there = f"There are {', '.join(names)}" if names else "There is none yet"
        raise SettingsError(
            f"{folder / name}: there is no such competition of your own. {there}. Make it with "
            f"{make_command('new', NAME=name)}, or correct NAME"
        )
    return OwnCompetition(folder / name)


def all_names() -> list[str]:
    """The names of the user's own competitions, sorted."""
    folder = competitions_folder()
    if not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if (child / PREDICTING).is_file())


def refuse_name(name: str) -> None:
    """Refuse a name that Kaggle cannot have in a slug, or that a recipe of kernelkit has.

    Raises
    ------
    SettingsError
        It says which names are wanted.
    """
    if not _NAME.fullmatch(name) or not _SHORTEST <= len(name) <= _LONGEST:
        raise SettingsError(
            f"found {name!r:.60} as NAME, wanted {_SHORTEST} to {_LONGEST} small letters and "
            "digits, in words with single hyphens, such as my-competition"
        )
    packaged = {path.stem for folder in _PACKAGED for path in folder.glob("*.yaml")}
    if name in packaged:
        raise SettingsError(
            f"found {name!r} as NAME, which is a recipe of kernelkit. Choose another name, such as "
            f"my-{name}"
        )


def competitions_folder() -> Path:
    """Where the competitions lie. From then on recipes are found there by their names."""
    named = os.environ[RECIPES_FOLDER] = os.environ.get(RECIPES_FOLDER) or str(COMPETITIONS)
    return expanded(named)
