"""Read `kaggle.toml`, then the environment over it, and fill in what follows from the name."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from devkit.competitions import OwnCompetition, all_names, find
from devkit.errors import SettingsError
from devkit.kaggle.settings.problems import first_problem, shown
from devkit.kaggle.settings.settings import Settings
from devkit.tools import REPOSITORY

__all__ = ["SETTINGS_FILE", "find_settings", "load_settings"]

SETTINGS_FILE = REPOSITORY / "kaggle.toml"
_PREFIX = "KERNELKIT_"
_OWN = f"{_PREFIX}OWN"
_FOLDERS = ("dataset_folder", "weights_folder", "kernel_folder", "output_folder")


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
            f"found {len(names)} competitions of your own, and no NAME. Give "
            f"NAME={' or NAME='.join(names)}"
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
    overrides = _overrides(environment)
    content = _read(path) | overrides
    try:
        settings = Settings.model_validate(_with_names(content, own) if own else content)
    except ValidationError as error:
        key, problem = first_problem(error)
        source = f"{_PREFIX}{key.upper()}" if key in overrides else path
        raise SettingsError(f"{source}: {problem}") from None
    settings._own_competition = own
    if own is None and (path.resolve() != SETTINGS_FILE.resolve() or all_names()):
        settings._named_file = _as_given(path)
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
        # a command line names it from where one stands
        above = Path.cwd() if _OWN in environment else home
        folders["own"] = str(above / _place(path, "own", settings.own))
    competition = settings.competition or settings.loaded_recipe.competition.slug
    dataset = settings.dataset or f"kernelkit-{settings.profile}"
    filled = folders | {"competition": competition, "dataset": dataset}
    settings = settings.model_copy(update=filled)
    _refuse_twins(path, settings)
    return settings


def _as_given(path: Path) -> str:
    """A settings file as SETTINGS names it, from the repository on, where make runs."""
    whole = path.absolute()
    near = whole.is_relative_to(REPOSITORY)
    return str(whole.relative_to(REPOSITORY) if near else whole)


def _refuse_twins(path: Path, settings: Settings) -> None:
    """Refuse two things of one name, or in one folder: each would replace the other."""
    for keys in (("dataset", "weights"), _FOLDERS):
        seen: dict[object, str] = {}
        for key in keys:
            value = getattr(settings, key)
            if value and value in seen:
                raise SettingsError(
                    f"{path}: found {str(value)!r} as {seen[value]} and as {key}, and each would "
                    "replace the other. Change one of them"
                )
            seen[value] = key


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
            f"{name}: {shown(text)} is not a TOML value. Write it like 30 or ['a/b']"
        ) from None
