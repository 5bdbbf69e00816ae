"""A run at home, from images to masks as files: nothing of a notebook, and no end of a session."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from devkit.predict.executors import device_of_parent, readers_of
from devkit.predict.mask_files import Form, write_mask_files
from kernelkit.competition import CompetitionFolder
from kernelkit.console import progress
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.report import ImageReport
from kernelkit.recipe import Recipe

__all__ = ["HomeRun", "predict_at_home"]

# At home there is no session that ends.
_HOURS = 10_000.0


@dataclass(frozen=True, slots=True)
class HomeRun:
    """What a run at home leaves behind.

    Attributes
    ----------
    done
        What any run leaves behind.
    wanted
        The images that were to be predicted.
    masks
        The masks as files.
    is_scored
        Whether a sample submission said which rows are wanted.
    """

    done: Prediction
    wanted: Sequence[str]
    masks: Sequence[Path]
    is_scored: bool

    @property
    def missing(self) -> list[ImageReport]:
        """The images that were to be predicted, and that have no mask."""
        wanted = set(self.wanted)
        return [image for image in self.done.report.fallbacks if image.image in wanted]


def predict_at_home(
    recipe: Recipe,
    images: CompetitionFolder,
    models: Path,
    output: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    limit: int | None = None,
    form: Form | None = None,
    executor: Executor | None = None,
) -> HomeRun:
    """Predict images, and write their masks as files.

    Parameters
    ----------
    models
        The models folder.
    output
        A folder for the store, the submission, the report and the masks. Without a sample
        submission the run lengths are in `run_lengths.csv`, one row per image or class.
    device, workers
        What this process predicts on, and how many processes read for each that predicts.
    limit
        Predict only the first images.
    form
        Of the masks as files. None writes none.
    executor
        Who predicts. None is this process.

    Raises
    ------
    CheckpointError, RecipeError, SubmissionError
        As of `kernelkit.predict.predict`.
    OutputError
        The output cannot be written.
    """
    if images.sample is None:  # what is written is no submission, and is not called one
        unsampled = recipe.competition.model_copy(update={"sample": ""})
        recipe = recipe.model_copy(update={"competition": unsampled})
    own = device_of_parent(device, executor)
    done = predict(
        images,
        recipe,
        load_models(recipe, models.absolute(), own),
        output,
        workers=readers_of(executor, workers),
        limit=limit,
        deadline=Deadline(_HOURS),
        executor=executor,
    )
    files: list[Path] = []
    if form is not None:
        bar = progress(description=f"masks as {form}", unit="image", total=len(done.masks))
        with bar:
            files = write_mask_files(done, output / form, form, bar.update)
    return HomeRun(done, images.images[:limit], files, images.sample is not None)
