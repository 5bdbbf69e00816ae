"""A run over all images of a competition, from the models to a checked submission.

*Work* (`work.py`) is the way from an image to its mask in the store: Slide, TileReader, MegaModel,
Canvas. *Hand in* (`hand_in.py`) is the way from the store to the rows. This is where they meet.
"""

import logging
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.errors import OutputError, SubmissionError, as_sentence
from kernelkit.mask import BitMask
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.hand_in import FinishedMasks, hand_in
from kernelkit.predict.preflight import findings_table, preflight, refuse_errors
from kernelkit.predict.report import Report
from kernelkit.predict.store import Store
from kernelkit.predict.tasks import Run, Task
from kernelkit.predict.work import work
from kernelkit.recipe import Recipe

__all__ = ["Prediction", "load_models", "predict"]

_log = logging.getLogger(__name__)

# times as many tiles as the median image has
_FAR_LARGER = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a run leaves behind.

    Attributes
    ----------
    submission
        The checked CSV file.
    report
        What happened to each image, in the submission's order.
    images
        The files of each image that has masks.
    masks
        The submitted masks of each, one per class, read from the store when they are asked for.
    disagreement
        A PNG of where the members differ, for each image that has one.
    """

    submission: Path
    report: Report
    images: dict[str, tuple[Path, ...]]
    masks: Mapping[str, list[BitMask]]
    disagreement: dict[str, Path]


def load_models(recipe: Recipe, folder: str | Path, device: str = "auto") -> dict[str, MegaModel]:
    """Load the members of every ensemble of `recipe` from `folder` into the device's memory."""
    return {
        ensemble.name: MegaModel(
            folder,
            recipe=ensemble,
            precision=recipe.precision,
            device=device,
            batch=recipe.batch,
            execution=recipe.execution,
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
) -> Prediction:
    """Predict every image of a competition, and write `submission.csv` and `report.json`.

    Parameters
    ----------
    models
        One `MegaModel` per ensemble of the recipe, by its name, as `load_models` gives them.
    output
        A folder for the submission, the report and the store, which a later run reuses.
    workers
        Reader processes. With 0, this process reads. The submission is the same, byte for byte.
    limit
        Predict only the first images, to try things out. The others get the fallback row.
    strict
        Raise at the end, with the submission written, if any image has only the fallback row.

    Raises
    ------
    OutputError
        The output folder cannot be written to.
    RecipeError
        Recipe, models and images contradict each other, so that no image could be predicted.
    SubmissionError
        No image at all could be predicted. With `strict`, any image has only its fallback row.
    """
    output = Path(output)
    _check_writable(output)
    checked = preflight(competition, recipe, models, output)
    if checked.findings:
        _log.warning("%s", findings_table(checked.findings))
    refuse_errors(checked.findings, recipe)
    store = Store(output / "masks")
    report = Report(recipe.name, recipe.fingerprint, _device(models))
    report.notes += map(str, checked.findings)

    tasks = _tasks(competition, recipe, checked.sizes, limit)
    deadline = deadline or Deadline(recipe.hours)
    with closing(Run(recipe, models, store, deadline, tasks, workers)) as run:
        by_id = {image.image: image for image in work(tasks, run)}
    report.images += [by_id[image_id] for image_id in competition.images]
    report.notes += run.notes

    hand_in(report, competition, recipe, store, output / "submission.csv")
    try:
        report.save(output / "report.json")
    except OSError as error:  # the submission is proved, and a report is no reason to lose it
        _log.warning("%s cannot be written: %s", output / "report.json", as_sentence(error))
    done = _prediction(report, competition, recipe, store, output)
    _judge(done, strict)
    return done


def _check_writable(output: Path) -> None:
    """Find out now, not after hours, that nothing can be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputError(
            f"{output}: the output folder cannot be written to ({error.strerror}). Choose another"
        ) from error


def _tasks(
    competition: CompetitionFolder,
    recipe: Recipe,
    sizes: Mapping[str, tuple[int, int]],
    limit: int | None,
) -> list[Task]:
    """What is to be done, in order: images that are far larger than most come last.

    If the time runs short, such an image would take the time of many.
    """
    tasks = []
    for number, image_id in enumerate(competition.images):
        scene = competition.scenes.get(image_id)
        left_out = ""
        if limit is not None and number >= limit:
            left_out = f"left out, since only {limit} image(s) were asked for"
        elif image_id in competition.problems:
            left_out = competition.problems[image_id]
        elif scene is None:
            left_out = f"no image file of this id is in {competition.folder}"
        tiles = prod(-(-side // recipe.tiles.core) for side in sizes.get(image_id, (0, 0)))
        tasks.append(Task(image_id, scene.paths if scene else (), tiles, left_out=left_out))
    usual = median([task.amount for task in tasks if task.amount] or [0])
    return sorted(tasks, key=lambda task: task.amount > _FAR_LARGER * usual)


def _device(models: Mapping[str, MegaModel]) -> str:
    return ", ".join(dict.fromkeys(device_name(model.device) for model in models.values()))


def _prediction(
    report: Report, competition: CompetitionFolder, recipe: Recipe, store: Store, output: Path
) -> Prediction:
    """What the run leaves behind, with the files of each image that has a mask."""
    done = [image for image in report.images if not image.is_fallback]
    pictures = {image.image: store.entry_named(image.stored).picture_path for image in done}
    return Prediction(
        submission=output / "submission.csv",
        report=report,
        images={image.image: competition.scenes[image.image].paths for image in done},
        masks=FinishedMasks(report, recipe, store),
        disagreement={name: path for name, path in pictures.items() if path.is_file()},
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
