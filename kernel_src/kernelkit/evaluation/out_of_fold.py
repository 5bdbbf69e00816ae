"""Out-of-fold predictions: each image by the members whose fold held it out, into a store.

It is the work half of a run, with the recipe's tiles, views and blending. Images that the same
folds held out are predicted together. Their members are found in a folder of links, which holds
those folds alone.
"""

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kernelkit.checkpoints.run_folders import folds_of, matching_runs
from kernelkit.competition import CompetitionFolder
from kernelkit.competition.scenes import Scene
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.errors import EvaluationError, KernelKitError, RecipeError, SlideError, listed
from kernelkit.evaluation.held_out import HeldOut
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.findings import refuse_errors
from kernelkit.predict.hand_in.finished_masks import FinishedMasks
from kernelkit.predict.jobs import deal
from kernelkit.predict.preflight.preflight import preflight
from kernelkit.predict.preflight.trained import with_trained
from kernelkit.predict.report import Report
from kernelkit.predict.run import check_writable, load_models
from kernelkit.predict.store.store import Store
from kernelkit.predict.work.survey import checked_ensemble
from kernelkit.predict.work.tasks import Run, tasks_of
from kernelkit.predict.work.work import work
from kernelkit.recipe import Recipe, StoreRecipe
from kernelkit.slide import Slide

__all__ = ["OutOfFold", "predict_out_of_fold"]

# At home there is no session that ends.
_HOURS = 10_000.0
_SHOWN = 5
# What networks were trained with is logged there, with the path of its cfg.yaml.
_logged = logging.getLogger("kernelkit.ensemble.notes")


@dataclass(frozen=True)
class OutOfFold:
    """What was predicted out of fold.

    Attributes
    ----------
    recipe
        As it was predicted by, with what the run folders say.
    report
        What happened to each image.
    masks
        The submitted masks, and what is stored of each image.
    scenes
        The files of each image that was predicted.
    folds
        The fold that held it out, of its first run.
    notes
        What went otherwise, a sentence each.
    """

    recipe: Recipe
    report: Report
    masks: FinishedMasks
    scenes: Mapping[str, Scene]
    folds: Mapping[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Group:
    """Images of one ensemble that the same folds held out."""

    ensemble: str
    folds: Mapping[str, int]
    images: tuple[str, ...]


def predict_out_of_fold(
    recipe: Recipe,
    models: Path,
    competition: CompetitionFolder,
    held: HeldOut,
    output: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    deadline: Deadline | None = None,
    executor: Executor | None = None,
) -> OutOfFold:
    """Predict each image by the members whose fold held it out.

    What is in the store already is not predicted again.

    Parameters
    ----------
    recipe
        How images are predicted. Probabilities of each member are stored, whatever it says.
    models
        The models folder.
    competition
        The training images: their files, and the rows that masks of them would have.
    held
        Which fold of each run held which image out.
    output
        A folder for the store and the report.
    workers
        Reader processes.
    deadline
        When prediction has to stop. Images that are not finished then are left out. None has no
        end.
    executor
        Who does the work, as for `kernelkit.predict.predict`. Its processes see the models folder
        and `output` under the same paths.

    Raises
    ------
    EvaluationError
        An image is in no fold of a run, leaks, or no image was held out. Or none could be
        predicted.
    CheckpointError, RecipeError, OutputError
        As of a run.
    """
    check_writable(output)
    recipe = _storing_members(recipe)
    groups, notes = _groups(recipe, models, competition, held)
    store = Store(output / "masks")
    report = Report(recipe.name, recipe.fingerprint, "")
    trained = {ensemble.name: ensemble for ensemble in recipe.ensembles}
    for group in groups:
        part = _part(competition, group.images)
        own = recipe.model_copy(
            update={"ensembles": tuple(e for e in recipe.ensembles if e.name == group.ensemble)}
        )
        said_before, done_before = len(report.notes), len(report.images)
        # links lie where all machines see them, if several do the work
        with _linked(models, group.folds, output if executor else None) as folder:
            loaded = load_models(own, folder, device)
            for image in group.images:
                held.refuse_leaks(image, _members(loaded))
            own, said = with_trained(own, loaded)
            ends = deadline or Deadline(_HOURS)
            _predict(part, own, loaded, store, report, workers, ends, executor)
        report.device = ", ".join(dict.fromkeys(device_name(m.device) for m in loaded.values()))
        trained[group.ensemble] = own.ensembles[0]
        recipe = recipe.model_copy(update={"tiles": own.tiles})
        report.notes[said_before:] = _unlinked(report.notes[said_before:], folder, models)
        for done in report.images[done_before:]:
            done.notes[:] = _unlinked(done.notes, folder, models)
        notes += _unlinked(said, folder, models)
    recipe = recipe.model_copy(update={"ensembles": tuple(trained.values())})
    order = {image: number for number, image in enumerate(competition.scenes)}
    report.images.sort(key=lambda image: order[image.image])
    notes += [f"{image.image}: {image.note}" for image in report.fallbacks]
    report.notes += notes
    report.save(output / "out_of_fold.json")
    if len(report.fallbacks) == len(report.images):
        raise EvaluationError(
            f"{output}: not one image could be predicted. The first one's reason: "
            f"{report.fallbacks[0].notes[-1]}"
        )
    scenes = {i.image: competition.scenes[i.image] for i in report.images if not i.is_fallback}
    folds = {image: next(iter(g.folds.values())) for g in groups for image in g.images}
    paths = {image: scene.paths for image, scene in scenes.items()}
    masks = FinishedMasks(report, paths, recipe, store)
    return OutOfFold(recipe, report, masks, scenes, folds, tuple(dict.fromkeys(notes)))


def _storing_members(recipe: Recipe) -> Recipe:
    """The recipe with a store of each member's probabilities, of which all else is made."""
    store = StoreRecipe(what="probabilities", level="member", at=recipe.store.at)
    return recipe.model_copy(update={"store": store})


def _groups(
    recipe: Recipe, models: Path, competition: CompetitionFolder, held: HeldOut
) -> tuple[list[_Group], list[str]]:
    """Images that the same folds of the same ensemble held out, and notes on those left out."""
    found: dict[tuple[str, tuple[tuple[str, int], ...]], list[str]] = defaultdict(list)
    trained = {run.name: set(map(_number, folds_of(run))) for run in matching_runs(models, ["*"])}
    always, early, untrained = [], [], dict[str, None]()
    notes = []
    for image, scene in competition.scenes.items():
        try:
            with Slide(scene.paths, nodata=recipe.competition.nodata) as slide:
                ensemble = checked_ensemble(recipe, slide.bands, str(slide.dtype))
        except (SlideError, RecipeError) as error:  # it costs this image only
            notes.append(f"{image}: {error}. It is left out")
            continue
        gate = () if ensemble.gate is None else ensemble.gate.runs
        folds = held.folds_of(image, held.runs([*ensemble.runs, *gate]))
        missing = [f"{run}/fold_{n}" for run, n in folds.items() if n not in trained.get(run, ())]
        if missing:
            untrained |= dict.fromkeys(missing)
            early.append(image)
        elif folds:
            found[ensemble.name, tuple(sorted(folds.items()))].append(image)
        else:
            always.append(image)
    wanted = listed(sorted(untrained), _SHOWN)
    if not found:
        raise EvaluationError(
            f"{competition.folder}: found {len(competition.scenes)} images, wanted some that "
            f"can be read and are held out by a trained fold. Train {wanted or 'with folds'}"
        )
    if early:
        notes.append(
            f"{len(early)} image(s) are left out until the folds are trained that held them out: "
            f"{wanted}"
        )
    if always:
        some = listed(always, _SHOWN)
        notes.append(f"{len(always)} image(s) train in all folds, so they are left out ({some})")
    groups = [_Group(name, dict(folds), tuple(images)) for (name, folds), images in found.items()]
    return groups, notes


def _part(competition: CompetitionFolder, images: Sequence[str]) -> CompetitionFolder:
    """The folder with some of its images alone."""
    return replace(
        competition,
        rows=tuple(row for row in competition.rows if row.image in images),
        scenes={image: competition.scenes[image] for image in images},
        problems={},
        unlisted=(),
    )


@contextmanager
def _linked(models: Path, folds: Mapping[str, int], place: Path | None) -> Iterator[Path]:
    """A models folder with one fold of each run, as links. It lies in a place that is temporary."""
    runs = {run.name: run for run in matching_runs(models, list(folds))}
    with tempfile.TemporaryDirectory(prefix=".folds-", dir=place) as name:
        folder = Path(name).absolute()
        for run, number in folds.items():
            source = runs[run].absolute()
            own = folds_of(source)
            fold = next(each for each in own if _number(each) == number)
            (folder / run).mkdir()
            for child in source.iterdir():
                if child == fold or child not in own:
                    (folder / run / child.name).symlink_to(child)

        def unlinked(record: logging.LogRecord) -> bool:
            [record.msg] = _unlinked([record.getMessage()], folder, models)
            record.args = None
            return True

        _logged.addFilter(unlinked)
        try:
            yield folder
        except KernelKitError as error:  # the links are gone when it is read
            error.args = tuple(_unlinked(map(str, error.args), folder, models))
            raise
        finally:
            _logged.removeFilter(unlinked)


def _unlinked(lines: Iterable[str], folder: Path, models: Path) -> list[str]:
    """Lines with the paths of the models folder, and not with those of the links."""
    return [line.replace(str(folder), str(models)) for line in lines]


def _number(fold: Path) -> int:
    digits = fold.name.removeprefix("fold").removeprefix("_")
    return int(digits) if digits.isdecimal() else 0


def _members(models: Mapping[str, MegaModel]) -> list[str]:
    return [member.name for model in models.values() for member in model.members]


def _predict(
    competition: CompetitionFolder,
    recipe: Recipe,
    models: Mapping[str, MegaModel],
    store: Store,
    report: Report,
    workers: int,
    deadline: Deadline,
    executor: Executor | None,
) -> None:
    """Put the images of one group into the store."""
    checked = preflight(competition, recipe, models, store.folder.parent)
    report.notes += [*map(str, checked.findings), *checked.survey.notes]
    refuse_errors(checked.findings, recipe)
    tasks = tasks_of(competition, recipe, checked.survey, None)
    with closing(Run(recipe, models, store, deadline, tasks, workers)) as run:
        doing = work(tasks, run) if executor is None else deal(tasks, run, executor)
        report.images += list(doing)
    report.notes += run.notes
