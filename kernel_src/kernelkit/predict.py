"""The pipeline, for one image and for all: here every module meets, and nowhere else.

Slide -> TileReader -> MegaModel -> Canvas -> BitMask -> Submission. A bad image, a dead reader or
the end of the session costs at most its own image: the others keep their rows, and the report
names what happened.
"""

import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from kernelkit.canvas import Canvas
from kernelkit.competition import CompetitionFolder
from kernelkit.deadline import Deadline
from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeadlineError, ReaderError, RecipeError, SubmissionError
from kernelkit.foreground import foreground_tiles
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask
from kernelkit.mask_store import MaskStore
from kernelkit.postprocess import apply_steps, check_steps
from kernelkit.reader import Batch, ReaderPool, TileReader
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide
from kernelkit.submission import Submission, check_submission, open_atomically
from kernelkit.timing import ImageReport, RunReport, Stopwatch
from kernelkit.transfer import Pending

__all__ = ["Prediction", "load_models", "predict", "predict_image"]


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
    """

    submission: Path
    report: RunReport
    images: dict[str, Path]
    masks: dict[str, Path]


def load_models(recipe: Recipe, folder: str | Path, device: str = "auto") -> dict[str, MegaModel]:
    """Load the members of every ensemble of `recipe` from `folder` into the device's memory."""
    return {
        ensemble.name: MegaModel.from_recipe(
            Path(folder),
            ensemble,
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
    deadline = deadline or Deadline(recipe.hours)
    store = MaskStore(output / "masks")
    submission = Submission(competition.ids, recipe.competition)
    done = Prediction(output / "submission.csv", RunReport(), {}, {})
    with ReaderPool(workers, kind="process") as readers:
        for number, image_id in enumerate(competition.ids):
            report = ImageReport(image_id)
            done.report.images.append(report)
            try:
                if limit is not None and number >= limit:
                    raise SubmissionError(f"left out, since only {limit} image(s) were asked for")
                if image_id not in competition.files:
                    raise SubmissionError(f"no image file of this id is in {competition.folder}")
                path = competition.files[image_id]
                mask_path, mask = _finished_mask(
                    path, recipe, models, store, report, readers=readers, deadline=deadline
                )
                submission.set(image_id, mask)
                done.images[image_id], done.masks[image_id] = path, mask_path
            except Exception as error:  # whatever it was, it may cost no other image its row
                report.status, report.note = "fallback", _sentence(error)
                print(f"{image_id}: fallback row, because: {report.note}", flush=True)
    submission.write(done.submission)
    _check_what_was_written(done, competition, recipe)
    _judge(done, strict)
    return done


def predict_image(
    slide: Slide,
    recipe: Recipe,
    ensemble: EnsembleRecipe,
    model: MegaModel,
    *,
    readers: ReaderPool | None = None,
    deadline: Deadline | None = None,
    report: ImageReport | None = None,
) -> list[BitMask]:
    """Predict one image: read its tiles, merge the models' answers, stitch, postprocess.

    Parameters
    ----------
    readers
        Who reads the tiles; None reads in this process.
    report
        Where to note tiles, skipped tiles and what became of the time.

    Returns
    -------
    One mask of the slide's size for each class.

    Raises
    ------
    DeadlineError
        The session ends before the image is finished.
    """
    report = report or ImageReport(slide.name)
    watch = Stopwatch()
    tiles = recipe.tiles
    grid = TileGrid(
        slide.height,
        slide.width,
        core=tiles.core,
        pad=tiles.pad,
        scale=tiles.scale,
        edges=tiles.edges,
    )
    canvas = Canvas(
        grid,
        classes=model.classes,
        blend=recipe.stitching.blend,
        upsample=recipe.stitching.upsample,
        thresholds=ensemble.thresholds,
    )
    wanted = foreground_tiles(slide, grid, recipe.foreground)
    for index in sorted(set(range(len(grid))) - set(wanted)):
        canvas.skip(grid[index])
    report.tiles, report.skipped = len(wanted), len(grid) - len(wanted)

    # the device works on one batch while the one before it is stitched here
    in_flight: deque[_Asked] = deque()
    progress = tqdm(total=len(wanted), desc=slide.name, unit="tile", file=sys.stdout, mininterval=2)
    batches = _read_batches(slide, grid, wanted, recipe, readers or ReaderPool(0), report)
    with progress, closing(batches):
        for batch in watch.each("waited", batches):
            if deadline is not None and deadline.is_over:
                raise DeadlineError("the session's time was over before this image was finished")
            with watch.phase("network"):
                in_flight.append(_ask(model, batch, recipe))
            if len(in_flight) > 1:
                progress.update(_stitch(canvas, in_flight.popleft(), recipe, watch))
        while in_flight:
            progress.update(_stitch(canvas, in_flight.popleft(), recipe, watch))
    report.waited, report.network = watch.seconds["waited"], watch.seconds.get("network", 0.0)
    report.note = "; ".join(filter(None, [report.note, *model.notes]))
    return [
        apply_steps(mask, ensemble.postprocess, label) for label, mask in enumerate(canvas.finish())
    ]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Tiles that a model was asked about, and its answers, which may still be on their way."""

    tiles: Sequence[Tile]
    pending: Pending


def _ask(model: MegaModel, batch: Batch, recipe: Recipe) -> _Asked:
    """Ask for bits of the cores where tiles are only cut, else for probabilities to blend."""
    tiles, pixels = batch.tiles, batch.pixels
    if recipe.stitching.is_crop:
        return _Asked(tiles, model.predict_bits(pixels, tiles, recipe.tiles.scale))
    return _Asked(tiles, model.predict_bytes(pixels, [tile.index for tile in tiles]))


def _stitch(canvas: Canvas, asked: _Asked, recipe: Recipe, watch: Stopwatch) -> int:
    """Hand the answers for a batch to the canvas; returns how many tiles that were."""
    with watch.phase("network"):
        answers = asked.pending.result()
    for tile, answer in zip(asked.tiles, answers, strict=True):
        if recipe.stitching.is_crop:
            canvas.add_bits(tile, answer)
        else:
            canvas.add(tile, answer)
    return len(answers)


def _finished_mask(
    path: Path,
    recipe: Recipe,
    models: Mapping[str, MegaModel],
    store: MaskStore,
    report: ImageReport,
    *,
    readers: ReaderPool,
    deadline: Deadline,
) -> tuple[Path, BitMask]:
    """The mask of one image: from an earlier run of the same recipe and weights, or made now."""
    start = time.perf_counter()
    with Slide(path) as slide:
        report.layout, report.height, report.width = slide.layout, slide.height, slide.width
        ensemble = recipe.ensemble_for(slide.bands, str(slide.dtype))
        model = models[ensemble.name]
        report.ensemble = ensemble.name
        mask_path = store.path(report.image, path, recipe.fingerprint, model.fingerprint)
        mask = store.load(mask_path)
        if mask is not None:
            report.status = "kept"
        else:
            if deadline.is_over:
                raise DeadlineError("the session's time was over before this image was begun")
            masks = predict_image(
                slide, recipe, ensemble, model, readers=readers, deadline=deadline, report=report
            )
            mask = _only_class(masks, recipe)
            store.save(mask_path, mask)
    report.area, report.seconds = mask.area, time.perf_counter() - start
    return mask_path, mask


def _read_batches(
    slide: Slide,
    grid: TileGrid,
    wanted: Sequence[int],
    recipe: Recipe,
    readers: ReaderPool,
    report: ImageReport,
) -> Generator[Batch]:
    """Batches of tiles in grid order; a dead reader process makes way for reading in this one.

    Batches are cut from the list of tiles, never by what happens to be ready, so that they, and
    with them the submission, do not depend on the number of workers.
    """
    delivered = 0
    while delivered < len(wanted):
        remaining = wanted[delivered:]
        reader = TileReader(slide, grid, workers=readers, indices=remaining, fill=recipe.tiles.fill)
        try:
            with reader, closing(reader.batches(recipe.batch)) as batches:
                for batch in batches:
                    yield batch
                    delivered += len(batch.tiles)
            if reader.bad_tiles:
                report.note = f"{len(reader.bad_tiles)} tile(s) have blocks that would not decode"
        except ReaderError as error:
            if readers.workers == 0:
                raise
            report.note = f"went on without reader processes, because: {_sentence(error)}"
            print(f"{slide.name}: {report.note}", flush=True)
            readers = ReaderPool(0)


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


def _sentence(error: Exception) -> str:
    """An error as one line; its type stands before it where it is not one of ours."""
    text = " ".join(str(error).split()) or "no message"
    known = type(error).__module__.startswith("kernelkit")
    return text if known else f"{type(error).__name__}: {text}"
