"""The preflight: what recipe, models, files and sample contradict each other in.

All of it is found before the first tile. An error is what no image could survive, or what the
competition would refuse. A warning costs only what it names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.layers import rounding_note
from kernelkit.errors import KernelKitError, listed
from kernelkit.grid import Window
from kernelkit.predict.findings import Finding
from kernelkit.predict.hand_in.own_steps import known_steps
from kernelkit.predict.hand_in.postprocess import check_steps
from kernelkit.predict.preflight.submissions import rows_problem
from kernelkit.predict.preflight.trained import contradictions
from kernelkit.predict.preflight.trial import full_disk, tried_networks
from kernelkit.predict.work.regions import missing_regions
from kernelkit.predict.work.survey import Survey, survey_images
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["Preflight", "preflight"]

# bands of a picture whose recipe does not say how many there are
_COLOURS = 3
# so many names stand in a finding
_SHOWN = 5
_LARGEST_BYTE = 255
# pixels of an image's sides whose values are looked at
_LOOKED_AT = 512
# so many images that cannot be predicted have a finding of their own
_MOST_REFUSED = 20


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found.

    Attributes
    ----------
    findings
        All contradictions, errors first.
    survey
        What was seen of the images.
    """

    findings: list[Finding]
    survey: Survey


def preflight(
    competition: CompetitionFolder,
    recipe: Recipe,
    models: Mapping[str, MegaModel],
    output: Path,
    limit: int | None = None,
    only_merges: bool = False,
) -> Preflight:
    """Open the images or a sample of them, and find what cannot be meant.

    Parameters
    ----------
    models
        One `MegaModel` per ensemble of the recipe, by its name.
    output
        Where the run is going to write.
    limit
        Predict only the first images.
    only_merges
        Whether a run without models is meant, which merges what other runs stored.
    """
    survey = survey_images(competition, recipe, limit)
    asked = recipe.ensembles if models or not only_merges else ()
    findings = [
        *(found for ensemble in asked for found in _models(ensemble, recipe, models)),
        *tried_networks(recipe, models, survey),
        *_files(competition),
        *_images(competition, survey),
        *_dtypes(recipe, survey),
        *_ranges(competition, recipe, models, survey),
        *missing_regions(competition, recipe, limit),
        *full_disk(output, recipe, models, survey),
    ]
    return Preflight(sorted(findings, key=lambda finding: not finding.is_error), survey)


def _models(
    ensemble: EnsembleRecipe, recipe: Recipe, models: Mapping[str, MegaModel]
) -> Iterator[Finding]:
    """What an ensemble's recipe and its loaded models disagree in."""
    name = ensemble.name
    if name not in models:
        yield Finding(name, "no models are loaded for it. Load them by load_models", True)
        return
    classes = models[name].classes
    if problem := rows_problem("its models answer with", classes, recipe.competition):
        yield Finding(name, problem, True)
    if classes == 1 and ensemble.activation == "softmax":
        message = "a softmax over one class is 1 everywhere. Set its activation to sigmoid"
        yield Finding(name, message, True)
    for message in contradictions(recipe, models[name]):
        yield Finding(name, message, True)
    thresholds = ensemble.thresholds
    if thresholds is not None and len(thresholds) not in (1, classes):
        message = f"it has {len(thresholds)} thresholds for {classes} class(es)"
        yield Finding(name, f"{message}. Give one for all, or one per class", True)
    plan = recipe.plan_for(ensemble)
    note = rounding_note(ensemble, plan.level) if plan.what == "probabilities" else None
    if note is not None:
        yield Finding(name, note)
    if recipe.tiles.whole and ensemble.views == "rotating":
        message = (
            "the views 'rotating' go from tile to tile, and a whole picture has none. Name other"
            " views"
        )
        yield Finding(name, message, True)
    try:
        kind = ensemble.when
        check_steps(
            ensemble.postprocess,
            classes,
            known_steps(recipe.steps),
            bands=kind.bands or _COLOURS,
            dtype=kind.dtype or "uint8",
            has_probabilities=plan.what == "probabilities",
        )
    except KernelKitError as error:
        yield Finding(name, str(error), True)


def _files(competition: CompetitionFolder) -> Iterator[Finding]:
    """Which ids have no file, and which files have no id."""
    by_problem: dict[str, list[str]] = {}
    for image_id, problem in competition.problems.items():
        by_problem.setdefault(problem, []).append(image_id)
    for problem, images in list(by_problem.items())[:_SHOWN]:
        yield Finding(listed(images, _SHOWN), problem, is_error=not competition.scenes)
    if others := [image for images in list(by_problem.values())[_SHOWN:] for image in images]:
        message = (
            f"{len(others)} more images have files that are not one image. The report says why"
        )
        yield Finding(str(competition.folder), message)
    known_ids = {*competition.scenes, *competition.problems}
    missing = [image_id for image_id in competition.images if image_id not in known_ids]
    if missing:
        known = ", ".join(path.name for path in competition.unlisted[:_SHOWN])
        there = f"No id asks for: {known}" if known else "There are no other files"
        yield Finding(
            str(competition.folder),
            f"{len(missing)} of {len(competition.images)} images have no file "
            f"({listed(missing, _SHOWN)}). {there}. Correct 'images' and 'suffixes' in the recipe",
            is_error=not competition.scenes,
        )
    elif competition.unlisted:
        names = listed([path.name for path in competition.unlisted], _SHOWN)
        yield Finding(str(competition.folder), f"no id asks for {names}. They are not predicted")


def _images(competition: CompetitionFolder, survey: Survey) -> Iterator[Finding]:
    """Which images no ensemble can look at. It is an error if there is no other."""
    refused = [Finding(image_id, reason) for image_id, reason in survey.refused.items()]
    folder = str(competition.folder)
    if refused and not survey.kinds:
        yield Finding(folder, f"no image can be predicted. The first, {refused[0]}", True)
        return
    yield from refused[:_MOST_REFUSED]
    if len(refused) > _MOST_REFUSED:
        more = len(refused) - _MOST_REFUSED
        yield Finding(folder, f"{more} more images cannot be predicted. The report says why")


def _dtypes(recipe: Recipe, survey: Survey) -> Iterator[Finding]:
    """Which ensembles get images of several dtypes, whose values have different ranges."""
    for ensemble in recipe.ensembles:
        dtypes = dict.fromkeys(kind.dtype for kind in survey.kinds_of(ensemble.name))
        if len(dtypes) > 1 and ensemble.input.minmax is None:
            message = (
                f"found images of {' and of '.join(dtypes)}, whose values one 'divide' cannot bring"
                " to one range. Give each kind an ensemble of its own, with its dtype in 'when'"
            )
            yield Finding(ensemble.name, message)


def _ranges(
    competition: CompetitionFolder,
    recipe: Recipe,
    models: Mapping[str, MegaModel],
    survey: Survey,
) -> Iterator[Finding]:
    """Which ensembles divide by the largest value of 8 bits what has larger ones.

    The middle of one image is looked at.
    """
    for ensemble in recipe.ensembles:
        name, kinds = ensemble.name, survey.kinds_of(ensemble.name)
        # what a run folder says of its input is in the model's recipe alone
        seen = models[name].recipe.input if name in models else ensemble.input
        is_usual = seen.divide == _LARGEST_BYTE and not seen.decibel and seen.minmax is None
        dtypes = {kind.dtype for kind in kinds}
        if not is_usual or len(dtypes) != 1 or dtypes == {"uint8"}:
            continue
        image = next(i for i, kind in survey.kinds.items() if kind == kinds[0])
        highest = _highest_value(competition.scenes[image].paths)
        if highest is not None and highest > _LARGEST_BYTE:
            message = (
                f"found values up to {highest:g} in {image}, which is of {kinds[0].dtype}, and"
                f" 'divide' is {_LARGEST_BYTE}. Give the value as 'divide' that the training"
                " divided by"
            )
            yield Finding(name, message)


def _highest_value(paths: tuple[Path, ...]) -> float | None:
    """The highest value in the middle of an image. None if it cannot be read."""
    try:
        with Slide(paths) as slide:
            height, width = min(slide.height, _LOOKED_AT), min(slide.width, _LOOKED_AT)
            row, col = (slide.height - height) // 2, (slide.width - width) // 2
            return float(slide.read(Window(row, col, height, width)).max())
    except KernelKitError:  # it costs its own image, which is said when its turn comes
        return None
