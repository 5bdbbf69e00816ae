"""`Settings`: the keys of `kaggle.toml`, and what follows from them."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator

from devkit.competitions import OwnCompetition
from devkit.errors import SettingsError
from devkit.kaggle.settings.sections import (
    OF_NOTEBOOK,
    EngineSettings,
    NotebookSettings,
    TrainSettings,
    ValidationSettings,
    check_names,
)
from devkit.kaggle.settings.types import (
    CompetitionSlug,
    DatasetSlug,
    KernelSlug,
    Limit,
    ModelReference,
    Parameter,
    Pause,
    Reference,
    UserName,
)
from devkit.make import make_command
from kernelkit.recipe import Recipe

__all__ = ["Settings"]

# Which image a new kernel gets. The py313 image is the newest. The py312 image has to be pinned.
_PINNING: dict[str, Literal["original", "latest"]] = {
    "kaggle-py312": "original",
    "kaggle-py313": "latest",
}

# The targets that take NOTEBOOK, and those that take the slug of a competition.
_OF_A_NOTEBOOK = ("prepare", "push", "status", "logs")
_OF_A_COMPETITION = ("submit", "queue", "submissions", "download-data")


class Settings(BaseModel):
    """The keys of `kaggle.toml`, as `load_settings` reads them.

    Folders and files are relative to the folder of the settings file. `{profile}` in them stands
    for the profile. Times are in seconds.

    Attributes
    ----------
    owner
        Your name on Kaggle. Empty, it is the user who is signed in.
    kernel
        The slug of the notebook that predicts.
    title
        Its title. Empty, it is the slug in words.
    dataset
        The slug of the code and wheels. Empty, it is `kernelkit-{profile}`.
    weights
        The slug of the weights. Empty, there are none, such as with one of Kaggle's models.
    recipe
        The recipe's name.
    competition
        The competition's slug. Empty, it is the recipe's.
    own
        The folder of your own packages, with networks and steps. Empty, there is none.
    profile
        The image that the dataset was built for.
    pinning
        The image to run in: "original" is that of the notebook's first version, "latest" is the
        newest. Left out, the profile says it.
    docker_image
        An exact image. Empty, it is the one that the pinning picks.
    accelerator
        The GPU. "NvidiaTeslaT4" is two T4. Empty, there is none.
    datasets
        More datasets, "owner/slug".
    models
        Kaggle's models, "owner/model/framework/variation/version".
    kernels
        Notebooks of which the output is read, and utility scripts, "owner/slug".
    parameters
        The notebook's parameters, over those that are baked in.
    train, validation, engine
        The notebooks that train, that validate, and that compile what inference runs.
    notebook
        The notebook that is pushed.
    dataset_folder, weights_folder, kernel_folder
        Where the datasets and the notebook are prepared.
    output_folder
        Where the output of a run is fetched to.
    ledger
        What was submitted, with what score.
    state
        Where uploads that can be resumed are kept. Keep the path short.
    poll_seconds
        The pause between two questions while waiting.
    answer_seconds
        The limit for one answer.
    patience_seconds
        How long to go on while Kaggle has trouble.
    upload_seconds
        The limit for an upload.
    ready_seconds
        The limit for a dataset version to be ready.
    kernel_seconds
        The limit for a run and its time in the queue.
    score_seconds
        The limit for scoring.
    settle_seconds
        How long it may take until Kaggle lists what was submitted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # whose things they are, and what they are called on Kaggle
    owner: UserName = ""
    kernel: KernelSlug = "kernelkit-inference"
    title: str = ""
    dataset: DatasetSlug = ""
    weights: DatasetSlug = "kernelkit-weights"

    # what runs, and on what
    recipe: str = "hubmap"
    competition: CompetitionSlug = ""
    own: str = ""
    profile: str = "kaggle-py312"
    pinning: Literal["original", "latest"] | None = None
    docker_image: str = ""
    accelerator: str = "NvidiaTeslaT4"
    datasets: tuple[Reference, ...] = ()
    models: tuple[ModelReference, ...] = ()
    kernels: tuple[Reference, ...] = ()
    parameters: dict[str, Parameter] = {}
    train: TrainSettings = TrainSettings()
    validation: ValidationSettings = ValidationSettings()
    engine: EngineSettings = EngineSettings()

    # where things lie at home
    notebook: Path = Path("notebooks/inference.ipynb")
    dataset_folder: Path = Path("build/kernel-{profile}")
    weights_folder: Path = Path("build/weights")
    kernel_folder: Path = Path("build/kernel")
    output_folder: Path = Path("build/kaggle-output")
    ledger: Path = Path("submissions.jsonl")
    state: Path = Path("~/.cache/kernelkit")

    # how long to wait, and how often to ask
    poll_seconds: Pause = 20
    answer_seconds: Pause = 120
    patience_seconds: Limit = 600
    upload_seconds: Pause = 12 * 3600
    ready_seconds: Pause = 3600
    kernel_seconds: Pause = 13 * 3600
    score_seconds: Pause = 24 * 3600
    settle_seconds: Limit = 60

    # the competition of the user's own that the file belongs to
    _own_competition: OwnCompetition | None = PrivateAttr(None)
    # the competition that the command line named in place of that of the file
    _given_competition: str = PrivateAttr("")

    @model_validator(mode="after")
    def _title_names_the_kernel(self) -> Self:
        check_names(
            {
                "for inference": (self.kernel, self.title),
                "in train": (self.train.kernel, self.train.title),
                "in validation": (self.validation.kernel, self.validation.title),
                "in engine": (self.engine.kernel, self.engine.title),
            }
        )
        if self.pinning is None and not self.docker_image and self.profile not in _PINNING:
            raise ValueError(
                f"the profile {self.profile!r} needs a pinning. Set pinning to original or latest"
            )
        return self

    @property
    def kernel_title(self) -> str:
        """The kernel's title. Kaggle turns it into the slug."""
        return self.title or self.kernel.replace("-", " ")

    @property
    def image_pinning(self) -> Literal["original", "latest"]:
        """The image that a run gets: that of the kernel's first version, or the newest."""
        return self.pinning or _PINNING.get(self.profile, "original")

    @property
    def section(self) -> NotebookSettings | None:
        """The section of the notebook that these settings are of. None for inference."""
        sections = (self.train, self.validation, self.engine)
        return next((each for each in sections if each.kernel == self.kernel), None)

    @property
    def session_hours(self) -> float:
        """How long a run of the notebook may last."""
        return self.loaded_recipe.hours if self.section is None else self.section.hours

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
            More of its variables, as for `make_command`.
        """
        known: dict[str, object] = {"NAME": self._own_competition and self._own_competition.name}
        if target in _OF_A_NOTEBOOK and self.section is not None:
            known["NOTEBOOK"] = self.notebook.stem
        if target in _OF_A_COMPETITION:
            known["COMPETITION"] = self._given_competition
        return make_command(target, **known, **variables)

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
