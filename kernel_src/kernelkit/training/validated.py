"""Out-of-fold predictions of what a training recipe trained, and the truth beside them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from kernelkit.competition import CompetitionFolder, Scene
from kernelkit.competition.rows import rows_of_images
from kernelkit.errors import EvaluationError
from kernelkit.evaluation.held_out import HeldOut
from kernelkit.evaluation.out_of_fold import OutOfFold, predict_out_of_fold
from kernelkit.evaluation.scored import MasksOf, truth_reader, with_data
from kernelkit.labels import open_labels
from kernelkit.predict.deadline import Deadline
from kernelkit.recipe import Recipe
from kernelkit.training.cuts.scenes import training_scenes
from kernelkit.training.folds import Folds
from kernelkit.training.recipe import TrainingRecipe

__all__ = ["Validated", "predict_held_out"]


@dataclass(frozen=True)
class Validated:
    """Out-of-fold predictions, and the truth beside them.

    Attributes
    ----------
    found
        The predictions.
    again
        Predicts by another recipe, into the same store.
    truth
        Gives the true masks of an image, without the pixels that hold no data. A recipe that says
        `nodata: keep` counts these too.
    classes
        The names of the classes. A single class without a name is "".
    notes
        What went otherwise, a sentence each.
    """

    found: OutOfFold
    again: Callable[[Recipe], OutOfFold]
    truth: MasksOf
    classes: Sequence[str]
    notes: Sequence[str]


def predict_held_out(
    training: TrainingRecipe,
    competition: Path,
    models: Path,
    output: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    deadline: Deadline | None = None,
    executor: Executor | None = None,
) -> Validated:
    """Predict each training image by the members whose fold held it out.

    Parameters
    ----------
    training
        Which images there are, with which labels, and which recipe predicts.
    competition, models, output
        The competition's folder, the models folder, and a folder for the store.
    device, workers, deadline, executor
        As for `predict_out_of_fold`.

    Raises
    ------
    RecipeError, TrainingError, LabelError
        The recipe, the folds or the labels cannot be read, or do not fit each other.
    EvaluationError
        An image has no honest prediction.
    """
    scenes: dict[str, Scene] = {}
    sources: dict[str, MasksOf] = {}
    notes: list[str] = []
    for run in training.runs.values():
        found, said = training_scenes(run, competition)
        labels = open_labels(run.labels, competition, run.competition, found)
        notes += [*said, *labels.notes]
        for image in labels.ids:
            scenes[image] = found[image]
            sources.setdefault(image, truth_reader(labels, found))
    first = next(iter(training.runs.values()))
    folder = CompetitionFolder(competition, rows_of_images(scenes, first.competition), scenes)
    held = HeldOut(_folds(models))

    def by(recipe: Recipe) -> OutOfFold:
        return predict_out_of_fold(
            recipe,
            models,
            folder,
            held,
            output,
            device=device,
            workers=workers,
            deadline=deadline,
            executor=executor,
        )

    predicted = by(training.recipe)
    return Validated(
        predicted,
        by,
        with_data(lambda image: sources[image](image), predicted.masks.held),
        training.recipe.competition.classes or ("",),
        tuple(dict.fromkeys([*notes, *predicted.notes])),
    )


def _folds(models: Path) -> dict[str, Mapping[str, int]]:
    """The fold of each image, by the runs of a models folder."""
    if not models.is_dir():
        raise EvaluationError(
            f"{models}: there is no such models folder. Name that of a training, or train first"
        )
    tables = sorted(models.glob("[!.]*/folds.csv"))
    if not tables:
        raise EvaluationError(
            f"{models}: found no run with a folds.csv, which says what each fold held out. Train "
            "with kernelkit, or write the table: image, fold"
        )
    return {path.parent.name: Folds.read(path).folds for path in tables}
