"""The settings of the Kaggle side: one small file, `kaggle.toml`, and the environment over it.

The file says whose account it is and what things are called there. The environment overrides each
key: `KERNELKIT_OWNER` overrides `owner`, `KERNELKIT_ACCELERATOR` overrides `accelerator`, and so
on. A value that is not text is written as in TOML (`KERNELKIT_PARAMETERS='{workers = 4}'`). An
empty override counts.

A competition of one's own has such a file in its folder. There, what is not said has its name: the
recipe, the notebooks and the datasets. What is made lies in its folder of `build/`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from slugify import slugify

from devkit.competitions import OwnCompetition, all_names, find
from devkit.errors import SettingsError
from devkit.tools import REPOSITORY
from kernelkit.recipe import Recipe

__all__ = ["SETTINGS_FILE", "Settings", "find_settings", "load_settings"]

SETTINGS_FILE = REPOSITORY / "kaggle.toml"
_PREFIX = "KERNELKIT_"
# What a key wants, by the kind of pydantic's finding.
_WANTED = {
    "bool_type": "true or false",
    "dict_type": "a table, such as {{workers = 4}}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:.10g} or less",
    "literal_error": "{expected}",
    "path_type": "a path in quotes",
    "string_type": "text in quotes",
    "tuple_type": "a list in brackets",
}
# Which image a new kernel gets. The py313 image is the newest. The py312 image has to be pinned.
_PINNING: dict[str, Literal["original", "latest"]] = {
    "kaggle-py312": "original",
    "kaggle-py313": "latest",
}

_SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)*"
# no pause and no limit is longer than a month
_LONGEST = 30 * 24 * 3600


def _form(pattern: str, wanted: str) -> AfterValidator:
    """Refuse text of another form, and say in words which is wanted."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(wanted)
        return text

    return AfterValidator(check)


def _slug(shortest: int, longest: int, empty: str = "") -> AfterValidator:
    wanted = f"{shortest} to {longest} small letters and digits, in words with single hyphens"
    pattern = rf"(?=.{{{shortest},{longest}}}$){_SLUG}"
    return _form(f"|{pattern}" if empty else pattern, f"{wanted}{empty}")


def _seen(pattern: str) -> Any:
    """The form as editors check it. They know fewer patterns than Python."""
    return Field(json_schema_extra={"pattern": f"^{pattern}$"})


def _check_parameter(value: Any) -> Any:
    if not isinstance(value, str | int | float) or value != value or value in (_INF, -_INF):
        raise ValueError("text, a finite number, true or false")
    return value


_INF = float("inf")
# What the section of a notebook says in place of the keys above it.
_OF_NOTEBOOK = ("kernel", "title", "accelerator", "datasets", "models", "kernels", "parameters")
UserName = Annotated[
    str,
    _form(f"|{_SLUG}", "a user name as in its address on kaggle.com, in small letters"),
    _seen(f"({_SLUG})?"),
]
KernelSlug = Annotated[str, _slug(5, 50), _seen(_SLUG)]
DatasetSlug = Annotated[str, _slug(6, 50, ", or nothing"), _seen(f"({_SLUG})?")]
Reference = Annotated[str, _form(r"[\w-]+/[\w-]+", "owner/slug"), _seen("[^/]+/[^/]+")]
ModelReference = Annotated[
    str,
    _form(r"[\w-]+/[\w-]+/[\w-]+/[\w.-]+/\d+", "owner/model/framework/variation/version"),
    _seen("[^/]+(/[^/]+){4}"),
]
Parameter = Annotated[str | int | float | bool, BeforeValidator(_check_parameter)]
# true is no number
Pause = Annotated[float, Field(gt=0, le=_LONGEST, allow_inf_nan=False, strict=True)]
Limit = Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False, strict=True)]
Hours = Annotated[float, Field(gt=0, le=12, allow_inf_nan=False, strict=True)]


class NotebookSettings(BaseModel):
    """The keys of a section about a further notebook, where it differs from the first.

    Attributes
    ----------
    kernel
        The notebook's slug.
    title
        Its title. Empty, it is the slug in words.
    recipe
        The recipe's name, for training where it trains. Empty, it is that of the same name.
    accelerator
        The GPU. "NvidiaTeslaT4" is two T4. Empty, there is none.
    hours
        How long a session may last.
    datasets
        More datasets, such as one of pretrained weights.
    models
        Kaggle's models, "owner/model/framework/variation/version".
    kernels
        Notebooks of which the output is read, such as its own last one, to go on from.
    parameters
        The notebook's parameters, over those that are baked in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: KernelSlug
    title: str = ""
    recipe: str = ""
    accelerator: str = "NvidiaTeslaT4"
    hours: Hours = 9.0
    datasets: tuple[Reference, ...] = ()
    models: tuple[ModelReference, ...] = ()
    kernels: tuple[Reference, ...] = ()
    parameters: dict[str, Parameter] = {}


class TrainSettings(NotebookSettings):
    """The keys of the section `train`: the training notebook."""

    kernel: KernelSlug = "kernelkit-train"


class ValidationSettings(NotebookSettings):
    """The keys of the section `validation`: the notebook that validates what was trained."""

    kernel: KernelSlug = "kernelkit-validate"


class EngineSettings(NotebookSettings):
    """The keys of the section `engine`: the notebook that compiles what inference runs."""

    kernel: KernelSlug = "kernelkit-engine"


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
    competition: str = ""
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

    @model_validator(mode="after")
    def _title_names_the_kernel(self) -> Self:
        for section in (self, self.train, self.validation, self.engine):
            slug = slugify(section.title)
            if section.title and slug != section.kernel:
                raise ValueError(
                    f"the title {section.title!r} becomes the slug {slug!r} on Kaggle, but kernel "
                    f"is {section.kernel!r}. Change one of them"
                )
        owners: dict[str, str] = {}
        for where, slug in (
            ("for inference", self.kernel),
            ("in train", self.train.kernel),
            ("in validation", self.validation.kernel),
            ("in engine", self.engine.kernel),
        ):
            if slug in owners:
                raise ValueError(
                    f"found the kernel {slug!r} twice, {owners[slug]} and {where}. Give each "
                    "notebook a slug of its own"
                )
            owners[slug] = where
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
                **{each: getattr(section, each) for each in _OF_NOTEBOOK},
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


_SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainSettings,
    "validation": ValidationSettings,
    "engine": EngineSettings,
}


def find_settings(name: str | None = None) -> Path:
    """The settings file of a competition of the user's own, or that of the repository.

    Parameters
    ----------
    name
        The competition. None means the only one that there is. Without any, it is the file of the
        repository.

    Raises
    ------
    SettingsError
        There is no such competition, or there are several and none is named.
    """
    own = find(name)
    if own is None and (names := all_names()):
        raise SettingsError(
            f"found {len(names)} competitions of your own, and no NAME. Give NAME={names[0]}, or "
            f"another of {', '.join(names)}"
        )
    return own.settings_file if own else SETTINGS_FILE


def load_settings(
    path: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings file, if there is one, then the environment over it.

    Parameters
    ----------
    path
        The settings file. None means the one in the repository.
    environment
        The variables to look at. None means this process's own.

    Raises
    ------
    SettingsError
        The file is not TOML. Or a key does not exist, or cannot have that value. Or the recipe is
        none that travels to Kaggle.
    RecipeError
        The recipe cannot be read.
    """
    path = path or SETTINGS_FILE
    environment = os.environ if environment is None else environment
    own = OwnCompetition.of_settings(path)
    content = _read(path) | _overrides(environment)
    try:
        settings = Settings.model_validate(_with_names(content, own) if own else content)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_first_problem(error)}") from None
    settings._own_competition = own
    if settings.recipe not in settings.recipes:
        is_own = settings.recipe in all_names()
        hint = f". Give NAME={settings.recipe}, which has settings of its own" if is_own else ""
        raise SettingsError(
            f"{path}: found the recipe {settings.recipe!r}, which does not travel to Kaggle with "
            f"these settings. Choose one of {', '.join(settings.recipes)}{hint}"
        )
    home = path.resolve().parent
    folders: dict[str, Any] = {
        key: home / _place(path, key, str(value).replace("{profile}", settings.profile))
        for key, value in settings
        if isinstance(value, Path)
    }
    if settings.own:
        folders["own"] = str(home / _place(path, "own", settings.own))
    competition = settings.competition or settings.loaded_recipe.competition.slug
    dataset = settings.dataset or f"kernelkit-{settings.profile}"
    return settings.model_copy(update=folders | {"competition": competition, "dataset": dataset})


def _with_names(content: Mapping[str, Any], own: OwnCompetition) -> dict[str, Any]:
    """Add what a competition of one's own says where its settings say nothing."""
    name, build = own.name, own.build_folder
    defaults = {
        "recipe": name,
        "kernel": f"{name}-inference",
        "dataset": f"{name}-code",
        "weights": f"{name}-weights",
        "notebook": REPOSITORY / Settings.model_fields["notebook"].default,
        "dataset_folder": build / "kernel-{profile}",
        **{f"{key}_folder": build / key for key in ("weights", "kernel")},
        "output_folder": build / "kaggle-output",
    }
    kernels = {"train": "train", "validation": "validate", "engine": "engine"}
    sections: dict[str, Any] = {key: {"kernel": f"{name}-{word}"} for key, word in kernels.items()}
    for key, section in sections.items():
        said = content.get(key, {})
        sections[key] = {**section, **said} if isinstance(said, Mapping) else said
    return {**defaults, **content, **sections}


def _place(settings_file: Path, key: str, text: str) -> Path:
    """A folder or file of the settings, with the user's own folder for `~`."""
    try:
        place = Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(
            f"{settings_file}: {key}: found {text!r}, and this machine has no such user. Write the "
            "whole path"
        ) from None
    if "\0" in text:
        raise SettingsError(f"{settings_file}: {key}: found {text!r}, wanted a path")
    return place


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: it cannot be read ({error.strerror}). Wanted a file of settings"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: it is not text in UTF-8 (byte {content[error.start]:#04x} at "
            f"{error.start}). Save it as UTF-8"
        ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: it is not valid TOML ({error}). Correct it") from None
    except RecursionError:
        raise SettingsError(f"{path}: its values are nested too deep. Correct it") from None


def _overrides(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment names, read as TOML if the key is not text."""
    found: dict[str, Any] = {}
    for key, field in Settings.model_fields.items():
        name = _PREFIX + key.upper()
        if name not in environment:
            continue
        text = environment[name]
        is_text = isinstance(field.default, str | Path) or key == "pinning"
        found[key] = text if is_text else _parsed(name, text)
    return found


def _parsed(name: str, text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        raise SettingsError(
            f"{name}: {_shown(text)} is not a TOML value. Write it like 30 or ['a/b']"
        ) from None


def _first_problem(error: ValidationError) -> str:
    """One problem as a sentence. A key that does not exist comes first."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section = _SECTIONS.get(str(problem["loc"][0]), Settings) if "." in key else Settings
        known = ", ".join(section.model_fields)
        return f"the key {key} does not exist. The keys are {known}"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return message
    wanted = _WANTED.get(problem["type"], message).format_map(problem.get("ctx", {}))
    if problem["type"] == "value_error":
        wanted = message
    return f"{key}: found {_shown(problem['input'])}, wanted {wanted}"


def _shown(value: Any, longest: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."
