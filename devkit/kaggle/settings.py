"""The settings of the Kaggle side: one small file, `kaggle.toml`, and the environment over it.

The file says whose account it is and what things are called there. The environment overrides each
key: `KERNELKIT_OWNER` overrides `owner`, `KERNELKIT_ACCELERATOR` overrides `accelerator`, and so
on. A value that is not text is written as in TOML (`KERNELKIT_PARAMETERS='{workers = 4}'`). An
empty override counts.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    PositiveFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)
from slugify import slugify

from devkit.errors import SettingsError
from devkit.tools import REPOSITORY
from kernelkit.recipe import Recipe

__all__ = ["SETTINGS_FILE", "Settings", "load_settings"]

SETTINGS_FILE = REPOSITORY / "kaggle.toml"
_PREFIX = "KERNELKIT_"
# Which image a new kernel gets. The py313 image is the newest. The py312 image has to be pinned.
_PINNING: dict[str, Literal["original", "latest"]] = {
    "kaggle-py312": "original",
    "kaggle-py313": "latest",
}

_Slug = r"[a-z0-9]+(?:-[a-z0-9]+)*"
UserName = Annotated[str, StringConstraints(pattern=rf"^(|{_Slug})$")]
KernelSlug = Annotated[str, StringConstraints(pattern=rf"^{_Slug}$", min_length=5, max_length=50)]
DatasetSlug = Annotated[str, StringConstraints(pattern=rf"^{_Slug}$", min_length=6, max_length=50)]
Reference = Annotated[str, StringConstraints(pattern=r"^[\w-]+/[\w-]+$")]
ModelReference = Annotated[str, StringConstraints(pattern=r"^[\w-]+/[\w-]+/[\w-]+/[\w.-]+/\d+$")]


class Settings(BaseModel):
    """The keys of `kaggle.toml`, as `load_settings` reads them.

    Folders and files are relative to the folder of the settings file. `{profile}` in them stands
    for the profile. Times are in seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # whose things they are, and what they are called on Kaggle
    owner: UserName = ""  # empty: the user who is signed in
    kernel: KernelSlug = "kernelkit-inference"
    title: str = ""  # of the kernel. Empty: its slug in words
    dataset: DatasetSlug | Literal[""] = ""  # code and wheels. Empty: kernelkit-{profile}
    weights: DatasetSlug | Literal[""] = "kernelkit-weights"  # empty: no dataset of weights

    # what runs, and on what
    recipe: str = "hubmap"
    competition: str = ""  # empty: the recipe's
    profile: str = "kaggle-py312"
    pinning: Literal["original", "latest"] | None = None  # of the image. None: the profile's
    docker_image: str = ""  # an exact image, in place of the one that the pinning picks
    accelerator: str = "NvidiaTeslaT4"  # two T4. Empty: no GPU
    datasets: tuple[Reference, ...] = ()  # more datasets, owner/slug
    models: tuple[ModelReference, ...] = ()  # owner/model/framework/variation/version
    kernels: tuple[Reference, ...] = ()  # utility scripts, owner/slug
    parameters: dict[str, str | int | float | bool] = {}  # of the notebook, over those baked in

    # where things lie at home
    notebook: Path = Path("notebooks/inference.ipynb")
    dataset_folder: Path = Path("build/kernel-{profile}")
    weights_folder: Path = Path("build/weights")
    kernel_folder: Path = Path("build/kernel")
    output_folder: Path = Path("build/kaggle-output")
    ledger: Path = Path("submissions.jsonl")
    state: Path = Path("~/.cache/kernelkit")  # uploads that can be resumed. Keep the path short

    # how long to wait, and how often to ask
    poll_seconds: PositiveFloat = 20
    answer_seconds: PositiveFloat = 120  # for one answer
    patience_seconds: NonNegativeFloat = 600  # while Kaggle has trouble
    upload_seconds: PositiveFloat = 12 * 3600
    ready_seconds: PositiveFloat = 3600  # for a dataset version
    kernel_seconds: PositiveFloat = 13 * 3600  # for a run and its time in the queue
    score_seconds: PositiveFloat = 24 * 3600
    settle_seconds: NonNegativeFloat = 60  # until Kaggle lists what was submitted

    @model_validator(mode="after")
    def _title_names_the_kernel(self) -> Self:
        if self.title and slugify(self.title) != self.kernel:
            raise ValueError(
                f"the title {self.title!r} becomes the slug {slugify(self.title)!r} on Kaggle, "
                f"but kernel is {self.kernel!r}. Change one of them"
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
    def loaded_recipe(self) -> Recipe:
        """The recipe. It is one of kernelkit's own, since only those travel to Kaggle."""
        return Recipe.load(self.recipe)


def load_settings(
    path: Path = SETTINGS_FILE, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings file, if there is one, then the environment over it.

    Parameters
    ----------
    path
        The settings file.
    environment
        The variables to look at. None means this process's own.

    Raises
    ------
    SettingsError
        The file is not TOML. Or a key does not exist, or cannot have that value. Or the recipe is
        not one of kernelkit's own.
    RecipeError
        The recipe cannot be read.
    """
    environment = os.environ if environment is None else environment
    content = _read(path) | _overrides(environment)
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_first_problem(error)}") from None
    if settings.recipe not in Recipe.names():
        raise SettingsError(
            f"{path}: there is no recipe {settings.recipe!r} in kernel_src/kernelkit/recipe/, and "
            f"only those travel to Kaggle. Choose one of {', '.join(Recipe.names())}"
        )
    home = path.resolve().parent
    folders = {
        key: home / Path(str(value).format(profile=settings.profile)).expanduser()
        for key, value in settings
        if isinstance(value, Path)
    }
    competition = settings.competition or settings.loaded_recipe.competition.slug
    dataset = settings.dataset or f"kernelkit-{settings.profile}"
    return settings.model_copy(update=folders | {"competition": competition, "dataset": dataset})


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: it is not valid TOML ({error}). Correct it") from None


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
    except tomllib.TOMLDecodeError:
        raise SettingsError(
            f"{name}: {text!r} is not a TOML value. Write it like 30 or ['a/b']"
        ) from None


def _first_problem(error: ValidationError) -> str:
    """One problem as a sentence. A key that does not exist comes first."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"the key {key} does not exist. The keys are {known}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (found {problem['input']!r})" if key else message
