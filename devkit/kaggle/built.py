"""Whether built datasets are still what would be built now, before a push uploads them.

A push of an old dataset runs another recipe or other code than one sees at home. So it is refused,
with the command that builds it again.
"""

from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from devkit.errors import DatasetError
from devkit.kaggle.manifest import find_manifest
from devkit.kaggle.marks import Source, What, read_marks
from devkit.kaggle.settings import Settings, SettingsKeys
from devkit.kaggle.trained import Others, changed_weights, other_runs
from kernelkit.recipe import Recipe
from kernelkit.vocabulary import Prefer
from mounted import MANIFEST, WEIGHTS_MANIFEST

__all__ = [
    "build_command",
    "build_weights_command",
    "check_sources",
    "check_weights",
    "dry_run_command",
    "other_weights",
]

# How many runs an error lists.
_SHOWN = 8
# Where `make train` writes runs to that belong to no competition of the user's own.
_MODELS = Path("build/models")


def check_sources(settings: Settings) -> None:
    """Refuse a kernel dataset if what it was made from has changed since.

    That is kernelkit, and the code, recipes and wheels of the user's own. The packages to vendor,
    the image and its lock count too.

    Raises
    ------
    DatasetError
        Something has changed. Or the dataset lacks code or recipes that the settings name, or has
        some that they do not name.
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
    own = settings.own_competition
    _check_named("own code", Path(settings.own) if settings.own else None, sources, settings)
    _check_named("recipes", own.folder if own else None, sources, settings)


def _check_named(
    what: What, wanted: Path | None, sources: tuple[Source, ...], settings: Settings
) -> None:
    """Refuse a dataset without something that the settings name, or with another one."""
    found = [source for source in sources if source.what == what]
    folder, build = settings.dataset_folder, build_command(settings)
    if wanted is None and found and not found[0].is_given:
        raise DatasetError(
            f"{folder}: it has {what} of {found[0].place}, which the settings do not name any "
            f"more. Run {build}"
        )
    if wanted is not None and wanted.resolve() not in [source.place for source in found]:
        has = f"has {what} of {found[0].place}" if found else f"has no {what}"
        raise DatasetError(f"{folder}: it {has}, wanted {what} of {wanted}. Run {build}")


def build_command(settings: Settings) -> str:
    """The command that builds the kernel dataset of these settings.

    It is the one that built the dataset that is there, unless that was for other settings.
    """
    folder = settings.dataset_folder
    manifest, marks = find_manifest(folder / MANIFEST), read_marks(folder)
    is_of_profile = manifest is not None and manifest.target.profile == settings.profile
    has_other_code = settings.own and any(source.is_given for source in marks.sources or ())
    is_of_settings = is_of_profile and settings.are_named_in(marks.made_by)
    if marks.made_by and is_of_settings and not has_other_code:
        return marks.made_by
    return settings.command("kernel-dataset", PROFILE=settings.profile)


def build_weights_command(settings: Settings) -> str:
    """The command that built the dataset of weights, or one that builds a first one."""
    before = read_marks(settings.weights_folder).made_by
    if before and settings.are_named_in(before):
        return before
    models = None if settings.own_competition else _MODELS
    return settings.command("weights-dataset", MODELS=models)


def dry_run_command(settings: Settings) -> str:
    """The command that rehearses the notebook of these settings at home."""
    usual = SettingsKeys.model_fields["profile"].default
    profile = settings.profile if settings.profile != usual else None
    if settings.own_competition:
        return settings.command("dry-run", PROFILE=profile)
    noted = read_marks(settings.weights_folder).weights
    return settings.command(
        "dry-run",
        RECIPE=settings.recipe,
        COMPETITION=Path("data") / settings.competition,
        MODELS=noted.folder if noted else _MODELS,
        PROFILE=profile,
        OWN=settings.own,
    )


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: StrictStr


class _Files(BaseModel):
    model_config = ConfigDict(frozen=True)

    files: tuple[_Entry, ...] = ()


def check_weights(settings: Settings) -> None:
    """Refuse a dataset of weights that lacks runs or checkpoints which the recipe names.

    It is refused too if a run that it holds has other weights at home by now.

    Raises
    ------
    DatasetError
        It names what is missing, or what has changed.
    """
    folder = settings.weights_folder
    marks = read_marks(folder)
    checkpoints = marks.checkpoints or {}
    packed: dict[str, tuple[Prefer, ...]] = {name.split("/")[0]: () for name in _names(folder)}
    packed |= checkpoints
    again = build_weights_command(settings)
    recipe = _recipe_of(settings)
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
    if marks.weights is not None and (change := changed_weights(marks.weights, checkpoints)):
        raise DatasetError(
            f"{folder}: since it was packed, {change}. Run {again}, or rename the run if the "
            "packed weights are meant"
        )


def other_weights(settings: Settings) -> Others | None:
    """The runs that differ from what was packed, but for those that changed.

    Returns
    -------
    None if there is no dataset of weights, or none that says what it was made from.
    """
    noted = read_marks(settings.weights_folder).weights if settings.weights else None
    if noted is None:
        return None
    patterns = [pattern for pattern, _ in _wanted(Recipe.load(_recipe_of(settings)))]
    return other_runs(noted, patterns)


def _recipe_of(settings: Settings) -> str:
    return (settings.section.recipe if settings.section else "") or settings.recipe


def _names(folder: Path) -> list[str]:
    """The places of the packed files below the models folder."""
    try:
        content = _Files.model_validate_json((folder / WEIGHTS_MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return []
    return [entry.name for entry in content.files]


def _wanted(recipe: Recipe) -> list[tuple[str, tuple[Prefer, ...]]]:
    """Each pattern of runs that a recipe has, and which checkpoints it takes of them."""
    found: list[tuple[str, tuple[Prefer, ...]]] = []
    for ensemble in recipe.ensembles:
        found += [(pattern, _words(ensemble.checkpoints)) for pattern in ensemble.runs]
        if gate := ensemble.gate:
            words = _words(gate.checkpoints or ensemble.checkpoints)
            found += [(pattern, words) for pattern in gate.runs]
    return found


def _words(checkpoints: Prefer | tuple[Prefer, ...]) -> tuple[Prefer, ...]:
    return (checkpoints,) if isinstance(checkpoints, str) else tuple(checkpoints)
