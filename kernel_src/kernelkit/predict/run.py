"""A run over all images of a competition, from the models to a checked submission.

*Work* (`work.py`) is the way from an image to its mask in the store: Slide, TileReader, MegaModel,
Canvas. *Hand in* (`hand_in.py`) is the way from the store to the rows. This is where they meet.
"""

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.errors import OutputError, RecipeError, SubmissionError, as_sentence
from kernelkit.mask import BitMask
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.findings import Finding, findings_table, refuse_errors
from kernelkit.predict.hand_in.finished_masks import FinishedMasks
from kernelkit.predict.hand_in.hand_in import hand_in, submission_paths
from kernelkit.predict.hand_in.maps import Maps, write_maps
from kernelkit.predict.hand_in.merging import merge_stores
from kernelkit.predict.jobs import deal
from kernelkit.predict.jobs.executors import refuse_no_executor
from kernelkit.predict.jobs.sharing import replicas_for
from kernelkit.predict.preflight.preflight import preflight
from kernelkit.predict.preflight.submissions import check_submissions
from kernelkit.predict.preflight.trained import with_trained
from kernelkit.predict.report import Report
from kernelkit.predict.store.other_stores import OtherStores
from kernelkit.predict.store.store import Store
from kernelkit.predict.work.tasks import Run, tasks_of
from kernelkit.predict.work.work import work
from kernelkit.recipe import Recipe

__all__ = ["Prediction", "check_writable", "load_models", "predict"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a run leaves behind.

    Attributes
    ----------
    submission
        The checked file.
    submissions
        That of each submission that the recipe lists, checked as well, in the recipe's order.
    report
        What happened to each image, in the submission's order.
    images
        The files of each image that has masks.
    masks
        The submitted masks of each, one per class, read from the store when they are asked for.
    disagreement
        A PNG of where the members differ, for each image that has one.
    maps
        The polygons and GeoTIFFs that the recipe's `output` asks for, and which are missing.
    recipe
        What it was made by.
    """

    submission: Path
    submissions: list[Path]
    report: Report
    images: dict[str, tuple[Path, ...]]
    masks: Mapping[str, list[BitMask]]
    disagreement: dict[str, Path]
    maps: Maps
    recipe: Recipe


def load_models(recipe: Recipe, folder: str | Path, device: str = "auto") -> dict[str, MegaModel]:
    """Load the members of every ensemble of a recipe into the device's memory.

    Parameters
    ----------
    recipe
        Names runs and checkpoints, ensemble by ensemble.
    folder
        The models folder.
    device
        `auto`, `cpu`, or a GPU such as `cuda:0`.

    Returns
    -------
    One `MegaModel` per ensemble, by its name.

    Raises
    ------
    CheckpointError, DeviceError, RecipeError
        As `MegaModel`.
    """
    return {
        ensemble.name: MegaModel(
            folder,
            recipe=ensemble,
            precision=recipe.precision,
            device=device,
            batch=recipe.batch,
            execution=recipe.execution,
            whole=recipe.tiles.whole,
        )
        for ensemble in recipe.ensembles
    }


def predict(
    competition: CompetitionFolder,
    recipe: Recipe,
    models: Mapping[str, MegaModel],
    output: str | Path,
    *,
    workers: int = 0,
    limit: int | None = None,
    strict: bool = False,
    deadline: Deadline | None = None,
    stores: Sequence[str | Path] = (),
    executor: Executor | None = None,
) -> Prediction:
    """Predict every image of a competition, and write the submission and `report.json`.

    The submission is `submission.csv`, or `submission.parquet` if the sample is of that kind.

    Parameters
    ----------
    competition
        The rows that are wanted, and the files of each image.
    recipe
        All that the competition decides.
    models
        One `MegaModel` per ensemble of the recipe, by its name, as `load_models` gives them. With
        `stores` there may be none: then what these hold is merged and handed in.
    output
        A folder for the submission, the report and the store, which a later run reuses.
    workers
        Reader processes. With 0, this process reads. The submission is the same, byte for byte.
    limit
        Predict only the first images, to try things out. The others get the fallback row.
    strict
        Raise at the end, with the submission written, if any image has only the fallback row, or if
        a map is missing.
    deadline
        When the session ends. None is the recipe's hours from now.
    stores
        Folders with stores of other runs, such as outputs of other notebooks. Their layers are
        merged with those of this run.
    executor
        Who does the work: `DeviceProcesses`, a pool of processes, or one of many machines. Its
        processes load the models for themselves and write to the store in `output`. With None, this
        process does it. The submission is the same, byte for byte, on devices of one kind.

    Raises
    ------
    CheckpointError, CompetitionError, OutputError
        The processes of the executor see other models, images or folders than this one does.
    DeviceError
        The executor is none, or this process is one of its own and runs its script once more.
    OutputError
        The output folder cannot be written to, or a folder of `stores` has no store. With `strict`,
        a map is missing.
    RecipeError
        Recipe, models and images contradict each other, so that no image could be predicted.
    SubmissionError
        No image at all could be predicted. With `strict`, any image has only its fallback row.
    """
    if executor is not None:
        refuse_no_executor(executor)
    begun = time.perf_counter() - sum(model.load_seconds for model in models.values())
    output = Path(output)
    check_writable(output)
    recipe, trained = with_trained(recipe, models)
    weights = {name: sha for model in models.values() for name, sha in model.weights.items()}
    report = Report(recipe.name, recipe.fingerprint, _device(models), weights, notes=trained)
    others = OtherStores(stores)
    checked = preflight(competition, recipe, models, output, limit, only_merges=bool(stores))
    checked.findings[:0] = [
        Finding(subject, problem, True)
        for subject, problem in check_submissions(recipe, models, others)
    ]
    report.notes += [*map(str, checked.findings), *checked.survey.notes]
    if checked.findings:
        _log.warning("%s", findings_table(checked.findings))
    try:
        refuse_errors(checked.findings, recipe)
    except RecipeError:
        _save(report, output)  # what was found is worth more than an old report
        raise
    store = Store(output / "masks")

    tasks = tasks_of(competition, recipe, checked.survey, limit)
    if models:
        deadline = deadline or Deadline(recipe.hours)
        replicas = replicas_for(executor, tasks, recipe, models, store)
        run = Run(recipe, models, store, deadline, tasks, workers, begun=begun, replicas=replicas)
        with closing(run):
            doing = work(tasks, run) if executor is None or replicas else deal(tasks, run, executor)
            by_id = {image.image: image for image in doing}
        report.notes += run.notes
        report.first_tile = run.first_tiles
        report.device = ", ".join(dict.fromkeys(run.hardware.values())) or report.device
    else:
        by_id = {image.image: image for image in merge_stores(tasks, recipe, others)}
    report.images += [by_id[image_id] for image_id in competition.images]

    paths = {image_id: scene.paths for image_id, scene in competition.scenes.items()}
    masks = FinishedMasks(report, paths, recipe, store, others)
    hand_in(report, competition, recipe, masks, output / recipe.competition.submission_name)
    maps = write_maps(masks, competition, recipe, output / "maps")
    with suppress(OutputError):  # what could not be written is said already
        store.close()
    report.notes += [*others.notes, *maps.notes]
    _save(report, output)
    done = _prediction(report, competition, recipe, store, masks, output, maps)
    _judge(done, strict)
    return done


def check_writable(output: Path) -> None:
    """Find out now, not after hours, that nothing can be written. The folder is made.

    Raises
    ------
    OutputError
        It cannot be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputError(
            f"{output}: the output folder cannot be written to ({error.strerror}). Choose another"
        ) from error


def _save(report: Report, output: Path) -> None:
    """Write the report. That it cannot be written is no reason to lose a submission."""
    try:
        report.save(output / "report.json")
    except OSError as error:
        _log.warning("%s cannot be written: %s", output / "report.json", as_sentence(error))


def _device(models: Mapping[str, MegaModel]) -> str:
    return ", ".join(dict.fromkeys(device_name(model.device) for model in models.values()))


def _prediction(
    report: Report,
    competition: CompetitionFolder,
    recipe: Recipe,
    store: Store,
    masks: FinishedMasks,
    output: Path,
    maps: Maps,
) -> Prediction:
    """What the run leaves behind, with the files of each image that has a mask."""
    done = [image for image in report.images if not image.is_fallback]
    path = output / recipe.competition.submission_name
    images = {image.image: competition.scenes[image.image].paths for image in done}
    drawn = done if recipe.disagreement else []
    pictures = {image.image: store.entry_named(image.stored).picture_path for image in drawn}
    return Prediction(
        submission=path,
        submissions=submission_paths(recipe, path),
        report=report,
        images=images,
        masks=masks,
        disagreement={name: path for name, path in pictures.items() if path.is_file()},
        maps=maps,
        recipe=recipe,
    )


def _judge(done: Prediction, strict: bool) -> None:
    """Fail if the submission is valid but worth nothing, or not what `strict` asks for."""
    fallbacks = done.report.fallbacks
    if not done.masks:
        raise SubmissionError(
            f"{done.submission}: not one image could be predicted, so every row is the fallback. "
            f"The first one's reason: {fallbacks[0].notes[-1]}"
        )
    if strict and fallbacks:
        names = ", ".join(report.image for report in fallbacks)
        raise SubmissionError(
            f"{done.submission}: {len(fallbacks)} image(s) have only the fallback row ({names}). "
            "The report says why, and strict = False accepts it"
        )
    if strict and done.maps.missing:
        raise OutputError(
            f"{done.submission.parent}: {len(done.maps.missing)} map(s) are missing "
            f"({', '.join(done.maps.missing)}). The report says why, and strict = False accepts it"
        )
