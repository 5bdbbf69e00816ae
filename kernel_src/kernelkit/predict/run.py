"""The pipeline for all images: here every module meets, and nowhere else.

Slide -> TileReader -> MegaModel -> Canvas -> BitMask -> Submission. A bad image, a dead reader or
the end of the session costs at most its own image: the others keep their rows, and the report
names what happened. While one image is predicted, the readers go on to the next.
"""

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from kernelkit.competition import CompetitionFolder, Submission, check_submission
from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeadlineError, RecipeError, SubmissionError, as_sentence
from kernelkit.files import open_atomically
from kernelkit.mask import BitMask
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.image import ImageTiles, predict_image
from kernelkit.predict.pictures import save_disagreement
from kernelkit.predict.postprocess import check_steps
from kernelkit.predict.report import ImageReport, RunReport
from kernelkit.predict.store import MaskStore
from kernelkit.reader import ReaderPool
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["Prediction", "load_models", "predict"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a run leaves behind.

    Attributes
    ----------
    submission
        The checked CSV file.
    report
        What happened to each image, in the submission's order.
    images, masks
        Image file and finished mask file of each image that was predicted.
    disagreement
        A picture of where the members differ, a PNG, of each image that was predicted, where the
        recipe asks for it.
    """

    submission: Path
    report: RunReport
    images: dict[str, Path]
    masks: dict[str, Path]
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
    """Predict every image of a competition and write `submission.csv` and `report.json`.

    Parameters
    ----------
    models
        A `MegaModel` for each ensemble of the recipe, by its name, as `load_models` gives them.
    output
        Folder for the submission, the report and the finished masks, which a later run reuses.
    workers
        Reader processes; 0 reads in this process. The submission is the same, byte for byte.
    limit
        Predict only the first images, to try things out; the others get the fallback row.
    strict
        Raise at the end, with the submission written, where any image has only the fallback row.

    Raises
    ------
    SubmissionError
        The output folder cannot be written to; no image at all could be predicted; or, with
        `strict`, any image has only its fallback row.
    """
    output = Path(output)
    _check_writable(output)
    for ensemble in recipe.ensembles:
        check_steps(ensemble.postprocess, models[ensemble.name].classes)
    submission = Submission(competition.ids, recipe.competition)
    done = Prediction(output / "submission.csv", RunReport(), {}, {}, {})
    with ReaderPool(workers, kind="process") as readers:
        run = _Run(
            competition,
            recipe,
            models,
            MaskStore(output / "masks"),
            readers,
            deadline or Deadline(recipe.hours),
            limit,
        )
        # the image after this one is made ready before this one is predicted
        for image, following in _with_next(map(run.prepare, count(), competition.ids)):
            report = image.report
            done.report.images.append(report)
            if image.tiles and following and following.tiles:
                image.tiles.then(following.tiles)
            with closing(image):
                try:
                    submission.set(report.image, run.finish(image, done))
                except Exception as error:  # whatever it was, it may cost no other image its row
                    report.status, report.note = "fallback", as_sentence(error)
                    print(f"{report.image}: fallback row, because: {report.note}", flush=True)
    submission.write(done.submission)
    _check_what_was_written(done, competition, recipe)
    _judge(done, strict)
    return done


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image file, what belongs to it, and its mask if an earlier run finished it, else tiles."""

    path: Path
    mask_path: Path
    ensemble: EnsembleRecipe
    model: MegaModel
    work: BitMask | ImageTiles


@dataclass(frozen=True, slots=True)
class _Image:
    """One image of the competition, ready to be predicted, or the reason why it cannot be."""

    report: ImageReport
    opened: _Opened | Exception

    @property
    def tiles(self) -> ImageTiles | None:
        """What is to be read, if anything."""
        work = self.opened.work if isinstance(self.opened, _Opened) else None
        return work if isinstance(work, ImageTiles) else None

    def close(self) -> None:
        """Give up the file, and what was read ahead of it."""
        if self.tiles is not None:
            self.tiles.close()
            self.tiles.slide.close()


@dataclass(frozen=True)
class _Run:
    """What all images of a run have in common, and the steps of each."""

    competition: CompetitionFolder
    recipe: Recipe
    models: Mapping[str, MegaModel]
    store: MaskStore
    readers: ReaderPool
    deadline: Deadline
    limit: int | None

    def prepare(self, number: int, image_id: str) -> _Image:
        """Open an image and choose its ensemble and tiles; whatever fails is kept for later."""
        report = ImageReport(image_id)
        start = time.perf_counter()
        try:
            opened: _Opened | Exception = self._open(number, report)
        except Exception as error:
            opened = error
        report.seconds = time.perf_counter() - start
        return _Image(report, opened)

    def _open(self, number: int, report: ImageReport) -> _Opened:
        if self.limit is not None and number >= self.limit:
            raise SubmissionError(f"left out, since only {self.limit} image(s) were asked for")
        if report.image not in self.competition.files:
            raise SubmissionError(f"no image file of this id is in {self.competition.folder}")
        path = self.competition.files[report.image]
        with ExitStack() as opened:
            slide = opened.enter_context(Slide(path))
            report.layout, report.height, report.width = slide.layout, slide.height, slide.width
            ensemble = self.recipe.ensemble_for(slide.bands, str(slide.dtype))
            report.ensemble = ensemble.name
            model = self.models[ensemble.name]
            mask_path = self.store.path(
                report.image, path, self.recipe.fingerprint, model.fingerprint
            )
            mask = self.store.load(mask_path)
            if mask is not None:
                report.status = "kept"
                return _Opened(path, mask_path, ensemble, model, mask)
            if self.deadline.is_over:
                raise DeadlineError("the session's time was over before this image was begun")
            tiles = ImageTiles(slide, self.recipe, self.readers)
            opened.pop_all()  # now the image closes it
            return _Opened(path, mask_path, ensemble, model, tiles)

    def finish(self, image: _Image, done: Prediction) -> BitMask:
        """Return an image's mask, kept or predicted now, and note its files in `done`."""
        opened, report = image.opened, image.report
        if isinstance(opened, Exception):
            raise opened
        start = time.perf_counter()
        doubts = self.store.picture_path(opened.mask_path)
        mask = opened.work
        if isinstance(mask, ImageTiles):
            found = predict_image(
                mask,
                self.recipe,
                opened.ensemble,
                opened.model,
                deadline=self.deadline,
                report=report,
            )
            mask = _only_class(found.masks, self.recipe)
            if found.disagreement is not None:
                save_disagreement(doubts, found.disagreement)
            self.store.save(opened.mask_path, mask)
        report.area = mask.area
        report.seconds += time.perf_counter() - start
        done.images[report.image], done.masks[report.image] = opened.path, opened.mask_path
        if doubts.is_file():
            done.disagreement[report.image] = doubts
        return mask


def _with_next[T](items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Pass on each item once the one after it is made, together with that; None after the last."""
    iterator = iter(items)
    item = next(iterator, None)
    while item is not None:
        following = next(iterator, None)
        yield item, following
        item = following


def _only_class(masks: Sequence[BitMask], recipe: Recipe) -> BitMask:
    if len(masks) != 1:
        raise RecipeError(
            f"{recipe.name}: the models answer with {len(masks)} classes, but the submission has "
            "one row an image; use models of one class."
        )
    return masks[0]


def _check_writable(output: Path) -> None:
    """Find out now, not after hours, that nothing can be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise SubmissionError(
            f"{output}: the output folder cannot be written to ({error.strerror}); choose another."
        ) from error


def _check_what_was_written(
    done: Prediction, competition: CompetitionFolder, recipe: Recipe
) -> None:
    sizes = {
        report.image: (report.height, report.width)
        for report in done.report.images
        if not report.is_fallback
    }
    check_submission(done.submission, competition.ids, sizes, recipe.competition)
    with open_atomically(done.submission.with_name("report.json")) as file:
        json.dump(done.report.as_json(), file, indent=2)


def _judge(done: Prediction, strict: bool) -> None:
    """Fail where the submission is valid but worth nothing, or not what `strict` asks for."""
    fallbacks = done.report.fallbacks
    if not done.masks:
        raise SubmissionError(
            f"{done.submission}: not one image could be predicted, so every row is the fallback; "
            f"the first one's reason: {fallbacks[0].note}."
        )
    if strict and fallbacks:
        names = ", ".join(report.image for report in fallbacks)
        raise SubmissionError(
            f"{done.submission}: {len(fallbacks)} image(s) have only the fallback row ({names}); "
            "the report says why, and strict = False accepts it."
        )
