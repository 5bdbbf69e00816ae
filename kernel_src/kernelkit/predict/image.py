"""One image: its tiles are read, the models asked, their answers stitched."""

import logging
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas import Canvas
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.disagreement import DisagreementMap
from kernelkit.ensemble.transfer import Pending
from kernelkit.errors import DeadlineError, ReaderDiedError, ReaderError, as_sentence
from kernelkit.grid import Tile, TileGrid, Window
from kernelkit.mask import BitMask
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.nodata import clear_missing, clear_undecodable
from kernelkit.predict.pace import Pace
from kernelkit.predict.progress import RunProgress
from kernelkit.predict.report import ImageReport, Stopwatch
from kernelkit.reader import Batch, ReaderPool, TileReader
from kernelkit.reader.foreground import foreground_tiles
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["ImagePrediction", "ImageTiles", "predict_image"]

_log = logging.getLogger(__name__)


class ImageTiles:
    """The tiles of one image that are worth reading, in batches.

    Reader processes read them, or this process if there are none. What a dead reader process owed
    is read by one new process. If that dies too, the image is given up.

    Batches are cut from the list of tiles, never by what happens to be ready. So they do not depend
    on the number of workers, and neither does the submission.

    Parameters
    ----------
    slide
        The image. It is closed with the tiles.
    recipe
        Its tiles, foreground rule and batch size.
    readers
        Who reads the tiles. With None, this process does.
    model
        Says whether its networks take the smaller tiles that a narrow image needs. With None, tiles
        are squares.

    Attributes
    ----------
    grid
        All tiles of the image.
    wanted
        The indices of the tiles that the foreground rule keeps.
    notes
        What went otherwise, one sentence each.
    undecodable
        Windows of the image that could not be decoded.
    """

    def __init__(
        self,
        slide: Slide,
        recipe: Recipe,
        readers: ReaderPool | None = None,
        model: MegaModel | None = None,
    ) -> None:
        tiles = recipe.tiles
        self.slide = slide
        self.grid = _grid(slide, recipe, model)
        self.wanted: Sequence[int] = foreground_tiles(slide, self.grid, recipe.foreground)
        self.notes: list[str] = []
        self.undecodable: list[Window] = []
        self._fill = tiles.fill
        self._size = recipe.batch
        self._readers = readers or ReaderPool(0)
        # readers of this image alone, after those of the run failed
        self._own_readers: ReaderPool | None = None
        self._reader = self._new_reader()

    @property
    def skipped(self) -> list[int]:
        """The indices of the tiles that the foreground rule leaves out."""
        return sorted(set(range(len(self.grid))) - set(self.wanted))

    def then(self, following: "ImageTiles") -> None:
        """Have the readers begin with the `following` image as soon as they are done with this."""
        self._reader.then(following._reader)

    def batches(self) -> Generator[Batch]:
        """Iterate over the batches of the wanted tiles, in the grid's order."""
        delivered = 0
        while delivered < len(self.wanted):
            reader = self._reader
            try:
                with reader, closing(reader.batches(self._size)) as batches:
                    for batch in batches:
                        yield batch
                        delivered += len(batch.tiles)
            except ReaderDiedError as error:
                if self._own_readers is not None:
                    raise  # it is the file: this process would die over it too
                self._read_by(ReaderPool(1, kind="process"), "one new reader process", error)
                self._reader = self._new_reader(delivered)
            except ReaderError as error:
                if self._readers.workers == 0:
                    raise
                self._read_by(ReaderPool(0), "the notebook's own process", error)
                self._reader = self._new_reader(delivered)
            finally:
                new = reader.stats.bad_windows
                self.undecodable += [window for window in new if window not in self.undecodable]

    def close(self) -> None:
        """Give up the file, and what was read ahead of it."""
        self._reader.close()
        self.slide.close()
        if self._own_readers is not None:
            self._own_readers.close()

    def _read_by(self, readers: ReaderPool, whom: str, error: ReaderError) -> None:
        """Have the rest of the image read by others, and say why."""
        note = f"the rest was read by {whom}, because: {as_sentence(error)}"
        _log.warning("%s: %s", self.slide.name, note)
        self.notes.append(note)
        self._readers = self._own_readers = readers

    def _new_reader(self, delivered: int = 0) -> TileReader:
        remaining = self.wanted[delivered:]
        return TileReader(self.slide, self.grid, self._readers, indices=remaining, fill=self._fill)


def _grid(slide: Slide, recipe: Recipe, model: MegaModel | None) -> TileGrid:
    """The tiles of an image. A narrow one has narrow tiles, if all networks take them."""
    tiles = recipe.tiles
    square = TileGrid(
        slide.height,
        slide.width,
        core=tiles.core,
        pad=tiles.pads[0],
        scale=tiles.scale,
        edges=tiles.edges,
    )
    clipped = replace(square, clipped=True)
    if model is None or clipped.net_shape == square.net_shape:
        return square
    takes = model.takes((slide.bands, *clipped.net_shape), slide.dtype)
    return clipped if takes else square


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """What the models say of one image.

    Attributes
    ----------
    masks
        One mask of the image's size per class.
    disagreement
        float32 (classes, h, w): where the members disagree, as of a `DisagreementMap`. None if the
        recipe does not ask for it.
    """

    masks: list[BitMask]
    disagreement: NDArray[np.float32] | None


def predict_image(
    tiles: ImageTiles,
    recipe: Recipe,
    ensemble: EnsembleRecipe,
    model: MegaModel,
    *,
    deadline: Deadline,
    pace: Pace,
    progress: RunProgress,
    report: ImageReport,
) -> ImagePrediction:
    """Predict one image: read its tiles, merge the models' answers, stitch them.

    If the session ends before the image is finished, the tiles that are left count as background.

    Parameters
    ----------
    ensemble, model
        The members that look at this image, as the recipe says and as they are loaded.
    pace
        Has less be asked of the model if the time runs short.
    progress
        Counts the tiles.
    report
        Takes the number of tiles, where the time went, and what went otherwise.

    Raises
    ------
    DeadlineError
        The session ends before any tile is finished.
    """
    canvas = _new_canvas(tiles, recipe, ensemble, model)
    disagreement = DisagreementMap(tiles.grid, model.classes) if recipe.disagreement else None
    conversation = _Conversation(model, recipe, ensemble, canvas, disagreement)
    report.tiles, report.skipped = len(tiles.wanted), len(tiles.skipped)
    pace.begin(report.tiles, of=len(tiles.grid))

    def stitch(leave: int) -> None:
        stitched = conversation.stitch(leave)
        progress.advance(stitched)
        if stitched:
            pace.advance(stitched, model)

    asked = 0
    with closing(tiles.batches()) as batches:
        # the device works on one batch while the one before it is stitched here
        for batch in conversation.watch.each("waited", batches):
            if deadline.is_over:
                break
            conversation.ask(batch)
            asked += len(batch.tiles)
            stitch(leave=1)
        stitch(leave=0)
    seconds = conversation.watch.seconds
    report.waited, report.network = seconds["waited"], seconds.get("network", 0.0)
    _leave_out(tiles.wanted[asked:], canvas, report)
    masks = _finished_masks(canvas, tiles, recipe, report)
    return ImagePrediction(masks, None if disagreement is None else disagreement.image)


def _new_canvas(
    tiles: ImageTiles, recipe: Recipe, ensemble: EnsembleRecipe, model: MegaModel
) -> Canvas:
    """The canvas of an image, on which the tiles that are not wanted are background."""
    canvas = Canvas(
        tiles.grid,
        classes=model.classes,
        blend=recipe.stitching.blend,
        upsample=recipe.stitching.upsample,
        thresholds=ensemble.thresholds,
    )
    for index in tiles.skipped:
        canvas.skip(tiles.grid[index])
    return canvas


def _finished_masks(
    canvas: Canvas, tiles: ImageTiles, recipe: Recipe, report: ImageReport
) -> list[BitMask]:
    """The masks of the canvas, without the pixels that hold no data or could not be read."""
    report.notes += tiles.notes
    masks = canvas.finish()
    report.notes += clear_undecodable(masks, tiles.slide, tiles.undecodable)
    if recipe.nodata == "background":
        report.notes += clear_missing(masks, tiles.slide)
    return masks


def _leave_out(indices: Sequence[int], canvas: Canvas, report: ImageReport) -> None:
    """Count the tiles that the session left no time for as background."""
    if not indices:
        return
    if len(indices) == report.tiles:
        raise DeadlineError("the session's time was over before any of its tiles was finished")
    for index in indices:
        canvas.skip(canvas.grid[index])
    done = report.tiles - len(indices)
    report.notes.append(
        f"the session's time was over after {done} of {report.tiles} tiles. The others count as "
        "background"
    )
    report.unfinished = True


@dataclass(frozen=True, slots=True)
class _Asked:
    """Tiles that the model was asked about, and its answers, which may still be on their way."""

    tiles: Sequence[Tile]
    answers: Pending


@dataclass(frozen=True, slots=True)
class _Conversation:
    """Batches of one image go to the model, and its answers to the canvas."""

    model: MegaModel
    recipe: Recipe
    ensemble: EnsembleRecipe
    canvas: Canvas
    disagreement: DisagreementMap | None
    watch: Stopwatch = field(default_factory=Stopwatch)
    in_flight: deque[_Asked] = field(default_factory=deque)

    def ask(self, batch: Batch) -> None:
        """Ask for bits of the cores if tiles are only cut, else for probabilities to blend."""
        with self.watch.phase("network"):
            tiles = batch.tiles
            answers = self.model.predict(
                batch.pixels,
                [tile.index for tile in tiles],
                with_spread=self.disagreement is not None,
            )
            if self.disagreement is not None and answers.spread is not None:
                self.disagreement.add(tiles, answers.spread)
            if self.recipe.stitching.is_crop:
                scale = self.recipe.tiles.scale
                pending = answers.bits(tiles, scale, self.ensemble.thresholds)
            else:
                pending = answers.bytes()
        self.in_flight.append(_Asked(tiles, pending))

    def stitch(self, leave: int) -> int:
        """Hand answers to the canvas until `leave` batches are in flight. Count their tiles."""
        add = self.canvas.add_bits if self.recipe.stitching.is_crop else self.canvas.add
        stitched = 0
        while len(self.in_flight) > leave:
            asked = self.in_flight.popleft()
            with self.watch.phase("network"):
                answers = asked.answers.result()
            for tile, answer in zip(asked.tiles, answers, strict=True):
                add(tile, answer)
            stitched += len(answers)
        return stitched
