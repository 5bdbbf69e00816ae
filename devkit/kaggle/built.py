"""Whether built datasets are still what would be built now, before a push uploads them.

A push of an old dataset runs another recipe or other code than one sees at home. So it is refused,
with the command that builds it again.
"""

import time
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from devkit.competitions import OwnCompetition
from devkit.errors import DatasetError
from devkit.kaggle.marks import Source, read_marks
from devkit.kaggle.settings import Settings
from kernelkit.errors import CheckpointError
from kernelkit.recipe import Recipe
from mounted import WEIGHTS_MANIFEST

__all__ = ["build_command", "check_sources", "check_weights", "newer_run", "trained_runs"]

# How many runs an error lists.
_SHOWN = 8


def check_sources(settings: Settings) -> None:
    """Refuse a kernel dataset if what it was made from has changed since.

    That is kernelkit, the code and the recipes of the user's own, and the packages to vendor.

    Raises
    ------
    DatasetError
        Something has changed. Or the dataset lacks code or recipes that the settings name.
    """
    folder = settings.dataset_folder
    sources = read_marks(folder).sources
    if sources is None:
        raise DatasetError(
            f"{folder}: it does not say what it was made from. Run {build_command(settings)}"
        )
    for source in sources:
        if source.has_changed:
            raise DatasetError(
                f"{folder}: {source.what} in {source.place} changed after the dataset was built. "
                f"Run {build_command(settings)}"
            )
    wanted: dict[str, Path] = {}
    if settings.own:
        wanted["own code"] = Path(settings.own)
    if own := settings.own_competition:
        wanted["recipes"] = own.folder
    for what, place in wanted.items():
        _check_named(what, place, sources, settings)


def _check_named(what: str, place: Path, sources: tuple[Source, ...], settings: Settings) -> None:
    """Refuse a dataset without something that the settings name, or with another one."""
    found = [source.place for source in sources if source.what == what]
    if place.resolve() not in found:
        has = f"has {what} of {found[0]}" if found else f"has no {what}"
        raise DatasetError(
            f"{settings.dataset_folder}: it {has}, wanted {what} of {place}. Run "
            f"{build_command(settings)}"
        )


def build_command(settings: Settings, target: str = "kernel-dataset") -> str:
    """The command that builds a dataset of these settings."""
    command = f"make {target}"
    if target == "kernel-dataset":
        command += f" PROFILE={settings.profile}"
    if settings.own_competition:
        command += f" NAME={settings.own_competition.name}"
    return command


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: StrictStr


class _Files(BaseModel):
    model_config = ConfigDict(frozen=True)

    files: tuple[_Entry, ...] = ()


def check_weights(settings: Settings) -> None:
    """Refuse a dataset of weights that lacks runs or checkpoints which the recipe names.

    Raises
    ------
    DatasetError
        It names what is missing.
    """
    folder = settings.weights_folder
    checkpoints = read_marks(folder).checkpoints or {}
    packed: dict[str, tuple[str, ...]] = {name.split("/")[0]: () for name in _names(folder)}
    packed |= checkpoints
    again = build_command(settings, "weights-dataset")
    recipe = (settings.section.recipe if settings.section else "") or settings.recipe
    for pattern, words in _wanted(Recipe.load(recipe)):
        runs = [run for run in packed if fnmatchcase(run, pattern)]
        if not runs:
            shown = ", ".join(list(packed)[:_SHOWN]) or "none"
            raise DatasetError(
                f"{folder}: the recipe {recipe} names the runs {pattern!r}, and none of "
                f"them is packed (found {shown}). Run {again}"
            )
        for run in runs:
            has = packed[run]
            lacking = [word for word in words if has and word not in has and "all" not in has]
            if lacking:
                raise DatasetError(
                    f"{folder}: the recipe {recipe} takes the {lacking[0]} checkpoints of "
                    f"{run}, and packed are the {' and '.join(has)}. Run {again}"
                )


def newer_run(settings: Settings) -> Path | None:
    """A run of the user's own competition with a checkpoint that is newer than the dataset."""
    own, path = settings.own_competition, settings.weights_folder / WEIGHTS_MANIFEST
    if own is None or not settings.weights or not path.is_file():
        return None
    newest = max(trained_runs(own), key=_time, default=None)
    return newest if newest is not None and _time(newest) > path.stat().st_mtime else None


def trained_runs(own: OwnCompetition) -> list[Path]:
    """The run folders of a competition of the user's own with a checkpoint in any fold."""
    # torch takes seconds to import
    from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of, matching_runs

    try:
        runs = matching_runs(own.models_folder, ["*"])
    except CheckpointError:  # there is no run yet
        return []
    return [run for run in runs if any(checkpoints_of(fold) for fold in folds_of(run))]


def _time(run: Path) -> float:
    """When a checkpoint of a run was written last."""
    from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of

    try:
        paths = [path for fold in folds_of(run) for path in checkpoints_of(fold)]
        return max((path.stat().st_mtime for path in paths), default=0)
    except FileNotFoundError:  # a training has just replaced it
        return time.time()


def _names(folder: Path) -> list[str]:
    """The places of the packed files below the models folder."""
    try:
        content = _Files.model_validate_json((folder / WEIGHTS_MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return []
    return [entry.name for entry in content.files]


def _wanted(recipe: Recipe) -> list[tuple[str, tuple[str, ...]]]:
    """Each pattern of runs that a recipe has, and which checkpoints it takes of them."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for ensemble in recipe.ensembles:
        found += [(pattern, _words(ensemble.checkpoints)) for pattern in ensemble.runs]
        if gate := ensemble.gate:
            words = _words(gate.checkpoints or ensemble.checkpoints)
            found += [(pattern, words) for pattern in gate.runs]
    return found


def _words(checkpoints: str | tuple[str, ...]) -> tuple[str, ...]:
    return (checkpoints,) if isinstance(checkpoints, str) else tuple(checkpoints)
