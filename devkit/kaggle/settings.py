"""The settings of the Kaggle side: one small file, each key of which the environment overrides.

`kaggle.toml` says whose account it is and what things are called there. `KERNELKIT_OWNER` overrides
`owner`, `KERNELKIT_ACCELERATOR` overrides `accelerator`, and so on; a value that is not text is
written as in TOML (`KERNELKIT_PARAMETERS='{workers = 4}'`). An override that is empty counts.
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

from devkit.errors import ToolError
from devkit.tools import REPOSITORY
from kernelkit.recipe import Recipe

__all__ = ["SETTINGS_FILE", "Settings", "load_settings"]

SETTINGS_FILE = REPOSITORY / "kaggle.toml"
_PREFIX = "KERNELKIT_"
# what a newly made kernel gets: the py313 image is the newest, the py312 one has to be kept
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
    """What `kaggle.toml` may hold; read it with `load_settings`.

    Folders and files are relative to the folder of the settings file, `{profile}` in them is the
    profile; times are in seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # whose, and what things are called there
    owner: UserName = ""  # empty: whoever is signed in
    kernel: KernelSlug = "kernelkit-inference"
    title: str = ""  # of the kernel; empty: its slug in words
    dataset: DatasetSlug | Literal[""] = ""  # code and wheels; empty: kernelkit-{profile}
    weights: DatasetSlug | Literal[""] = "kernelkit-weights"  # empty: no dataset of weights

    # what runs, and on what
    recipe: str = "hubmap"
    competition: str = ""  # empty: the recipe's
    profile: str = "kaggle-py312"
    pinning: Literal["original", "latest"] | None = None  # of the image; None: the profile's
    docker_image: str = ""  # an exact image, instead of what the pinning picks
    accelerator: str = "NvidiaTeslaT4"  # two T4; empty: no GPU
    datasets: tuple[Reference, ...] = ()  # more of them, owner/slug
    models: tuple[ModelReference, ...] = ()  # owner/model/framework/variation/version
    kernels: tuple[Reference, ...] = ()  # utility scripts, owner/slug
    parameters: dict[str, str | int | float | bool] = {}  # of the notebook, beside those baked in

    # where things lie at home
    notebook: Path = Path("notebooks/inference.ipynb")
    dataset_folder: Path = Path("build/kernel-{profile}")
    weights_folder: Path = Path("build/weights")
    kernel_folder: Path = Path("build/kernel")
    output_folder: Path = Path("build/kaggle-output")
    ledger: Path = Path("submissions.jsonl")
    state: Path = Path("~/.cache/kernelkit")  # uploads that can be resumed; keep the path short

    # how long to wait, and how often to ask
    poll_seconds: PositiveFloat = 20
    answer_seconds: PositiveFloat = 120  # for one answer of Kaggle's
    patience_seconds: NonNegativeFloat = 600  # with a service that is down while one waits
    upload_seconds: PositiveFloat = 12 * 3600
    ready_seconds: PositiveFloat = 3600  # for a dataset version
    kernel_seconds: PositiveFloat = 13 * 3600  # for a run, its place in the queue included
    score_seconds: PositiveFloat = 24 * 3600
    settle_seconds: NonNegativeFloat = 60  # until a submission that was sent must be listed

    @model_validator(mode="after")
    def _title_names_the_kernel(self) -> Self:
        if self.title and slugify(self.title) != self.kernel:
            raise ValueError(
                f"the title {self.title!r} becomes the slug {slugify(self.title)!r} on Kaggle, "
                f"but kernel is {self.kernel!r}; change one of them"
            )
        if self.pinning is None and not self.docker_image and self.profile not in _PINNING:
            raise ValueError(
                f"pinning must be said for the profile {self.profile!r}: original or latest"
            )
        return self

    @property
    def kernel_title(self) -> str:
        """The kernel's title, which Kaggle turns into its slug."""
        return self.title or self.kernel.replace("-", " ")

    @property
    def image_pinning(self) -> Literal["original", "latest"]:
        """Which image a run gets: that of the kernel's first version, or the newest."""
        return self.pinning or _PINNING.get(self.profile, "original")

    @property
    def loaded_recipe(self) -> Recipe:
        """The recipe; one of kernelkit's own, since only those travel to Kaggle."""
        return Recipe.load(self.recipe)


def load_settings(
    path: Path = SETTINGS_FILE, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings file, if there is one, then the environment over it.

    Raises
    ------
    ToolError
        Not TOML, a key that does not exist, or a value that a key cannot have.
    RecipeError
        The recipe is not one of kernelkit's own.
    """
    environment = os.environ if environment is None else environment
    content = _read(path) | _overrides(environment)
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise ToolError(f"{path}: {_first_problem(error)}") from None
    if settings.recipe not in Recipe.names():
        raise ToolError(
            f"{path}: recipe is {settings.recipe!r}, but only recipes in "
            f"kernel_src/kernelkit/recipe/ travel to Kaggle: {', '.join(Recipe.names())}"
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
        raise ToolError(f"{path}: not TOML that can be read: {error}; correct it") from None


def _overrides(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment names, read as TOML where the key is not text."""
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
        raise ToolError(f"{name}: {text!r} is not a TOML value, such as 30 or ['a/b']") from None


def _first_problem(error: ValidationError) -> str:
    """One finding as a sentence; a key that does not exist comes first."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"the key {key} does not exist; there are {known}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (found {problem['input']!r})" if key else message
