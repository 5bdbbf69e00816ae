"""`Settings`: the keys of `kaggle.toml`, and what follows from them."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import PrivateAttr

from devkit.competitions import OwnCompetition
from devkit.errors import SettingsError
from devkit.kaggle.settings.keys import PINNING, SettingsKeys
from devkit.kaggle.settings.sections import OF_NOTEBOOK, NotebookSettings
from devkit.make import make_command
from kernelkit.recipe import Recipe

__all__ = ["Settings"]

# The targets that take NOTEBOOK, those that take the slug of a competition, and all that take a
# settings file.
_OF_A_NOTEBOOK = ("prepare", "push", "status", "logs")
_OF_A_COMPETITION = ("submit", "queue", "submissions", "download-data")
_OF_SETTINGS = (
    *("kernel-dataset", "weights-dataset", "doctor"),
    *_OF_A_NOTEBOOK,
    *_OF_A_COMPETITION,
)


class Settings(SettingsKeys):
    """The keys of `kaggle.toml` as `load_settings` reads them, and what follows from them.

    The attributes are those of `SettingsKeys`.
    """

    # the settings file, if commands have to name it: NAME and the lack of any name mean others
    _named_file: str = PrivateAttr("")
    # the competition of the user's own that the file belongs to
    _own_competition: OwnCompetition | None = PrivateAttr(None)
    # the competition that the command line named in place of that of the file
    _given_competition: str = PrivateAttr("")

    @property
    def kernel_title(self) -> str:
        """The kernel's title. Kaggle turns it into the slug."""
        return self.title or self.kernel.replace("-", " ")

    @property
    def image_pinning(self) -> Literal["original", "latest"]:
        """The image that a run gets: that of the kernel's first version, or the newest."""
        return self.pinning or PINNING.get(self.profile, "original")

    @property
    def section(self) -> NotebookSettings | None:
        """The section of the notebook that these settings are of. None for inference."""
        sections = (self.train, self.validation, self.engine)
        return next((each for each in sections if each.kernel == self.kernel), None)

    @property
    def session_hours(self) -> float:
        """How long a run of the notebook may last."""
        return self.loaded_recipe.hours if self.section is None else self.section.hours

    def are_named_in(self, command: str) -> bool:
        """Whether a command that was noted reads these settings. It may be of other ones."""
        return Path(self._named_file).name in command

    def for_competition(self, slug: str) -> Self:
        """Return the settings for another competition, as COMPETITION names it.

        Raises
        ------
        SettingsError
            It is no name on Kaggle, such as a folder.
        """
        if not re.fullmatch("[A-Za-z0-9_-]+", slug):
            raise SettingsError(
                f"found {slug!r:.60} as COMPETITION, wanted its name as in its address on "
                "kaggle.com, such as hubmap-kidney-segmentation"
            )
        settings = self.model_copy(update={"competition": slug})
        settings._given_competition = slug
        return settings

    def command(self, target: str, **variables: object) -> str:
        """Return a command of make for these settings, which can be pasted.

        Parameters
        ----------
        target
            The target.
        variables
            More of its variables, as for `make_command`, or other values of them.
        """
        known: dict[str, object] = {"NAME": self._own_competition and self._own_competition.name}
        if target in _OF_SETTINGS:
            known["SETTINGS"] = self._named_file
        if target in _OF_A_NOTEBOOK and self.section is not None:
            known["NOTEBOOK"] = self.notebook.stem
        if target in _OF_A_COMPETITION:
            known["COMPETITION"] = self._given_competition
        return make_command(target, **known | variables)

    def for_notebook(self, name: str) -> Self:
        """Return the settings of a notebook: `inference`, `train`, `validate` or `engine`.

        Raises
        ------
        SettingsError
            There is no such notebook, or no such training recipe.
        """
        if name == "inference":
            return self
        sections: dict[str, tuple[str, NotebookSettings]] = {
            "train": ("train", self.train),
            "validate": ("validation", self.validation),
            "engine": ("engine", self.engine),
        }
        if name not in sections:
            raise SettingsError(
                f"found the notebook {name!r:.60}, wanted inference, {', '.join(sections)}. "
                "Correct NOTEBOOK"
            )
        key, section = sections[name]
        recipe = section.recipe or self.recipe
        if name != "engine":
            self._check_training_recipe(recipe, key)
        elif recipe not in self.recipes:
            raise SettingsError(
                f"found the recipe {recipe!r}, which does not travel to Kaggle. Set recipe in the "
                f"section engine of kaggle.toml to one of {', '.join(self.recipes)}"
            )
        return self.model_copy(
            update={
                **{each: getattr(section, each) for each in OF_NOTEBOOK},
                "weights": self.weights if name == "engine" else "",
                "notebook": self.notebook.with_name(f"{name}.ipynb"),
                "kernel_folder": self.kernel_folder.with_name(f"{self.kernel_folder.name}-{name}"),
            }
        )

    @property
    def own_competition(self) -> OwnCompetition | None:
        """The competition of the user's own that these settings are of."""
        return self._own_competition

    @property
    def recipes(self) -> list[str]:
        """The recipes that travel to Kaggle: kernelkit's, and that of one's own competition."""
        own = self._own_competition
        return [*Recipe.names(), *([own.name] if own else [])]

    @property
    def loaded_recipe(self) -> Recipe:
        """The recipe. It is one of those that travel to Kaggle."""
        return Recipe.load(self.recipe)

    def _check_training_recipe(self, name: str, section: str) -> None:
        # it imports what trains, and other commands need not wait for that
        from kernelkit.training.recipe import TrainingRecipe

        own = self._own_competition
        has_own = own is not None and own.training_recipe.is_file()
        known = [*TrainingRecipe.names(), *([own.name] if own and has_own else [])]
        if name not in known:
            raise SettingsError(
                f"found the training recipe {name!r}, which does not travel to Kaggle. Set recipe "
                f"in the section {section} of kaggle.toml to one of {', '.join(known)}"
            )
