"""The pipeline for one image: its tiles are read, the models asked, their answers stitched."""

import sys
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from kernelkit.canvas import Canvas
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.disagreement import DisagreementMap
from kernelkit.ensemble.transfer import Pending
from kernelkit.errors import DeadlineError, ReaderError, as_sentence
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.postprocess import apply_steps
from kernelkit.predict.report import ImageReport, Stopwatch
from kernelkit.reader import Batch, ReaderPool, TileReader
from kernelkit.reader.foreground import foreground_tiles
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["ImagePrediction", "ImageTiles", "predict_image"]


class ImageTiles:
    """The tiles of one image that are worth reading, in batches, read by whoever can.

    Batches are cut from the list of tiles, never by what happens to be ready, so that they, and
    with them the submission, do not depend on the number of workers. What a dead reader process
    owed is read in this one.

    `readers` reads the tiles; None reads in this process. Attributes: `grid`; `wanted`, the indices
    of the tiles that the recipe's foreground rule keeps; `note`, what went wrong, as a sentence.
    """

    def __init__(self, slide: Slide, recipe: Recipe, readers: ReaderPool | None = None) -> None:
        tiles = recipe.tiles
        self.slide = slide
        self.grid = TileGrid(
            slide.height,
            slide.width,
            core=tiles.core,
            pad=tiles.pad,
            scale=tiles.scale,
            edges=tiles.edges,
        )
        self.wanted: Sequence[int] = foreground_tiles(slide, self.grid, recipe.foreground)
        self.note = ""
        self._fill = tiles.fill
        self._size = recipe.batch
        self._readers = readers or ReaderPool(0)
        self._reader = self._new_reader()

    def then(self, following: "ImageTiles") -> None:
        """Have the readers begin with the `following` image as soon as they are done with this."""
        self._reader.then(following._reader)

    def batches(self) -> Generator[Batch]:
        """Iterate over the wanted tiles' batches, in the grid's order."""
        delivered = 0
        while delivered < len(self.wanted):
            try:
                with self._reader as reader, closing(reader.batches(self._size)) as batches:
                    for batch in batches:
                        yield batch
                        delivered += len(batch.tiles)
                if reader.bad_tiles:
                    self.note = f"{len(reader.bad_tiles)} tile(s) have blocks that would not decode"
            except ReaderError as error:
                if self._readers.workers == 0:
                    raise
                self.note = f"went on without reader processes, because: {as_sentence(error)}"
                print(f"{self.slide.name}: {self.note}", flush=True)
                self._readers = ReaderPool(0)
                self._reader = self._new_reader(delivered)

    def close(self) -> None:
        """Stop reading ahead, if that was begun."""
        self._reader.close()

    def _new_reader(self, delivered: int = 0) -> TileReader:
        remaining = self.wanted[delivered:]
        return TileReader(self.slide, self.grid, self._readers, indices=remaining, fill=self._fill)


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """One mask of the image's size for each class; where the members disagree, if asked for.

    `disagreement` is float32 (classes, h, w), as of a `DisagreementMap`.
    """

    masks: list[BitMask]
    disagreement: NDArray[np.float32] | None


def predict_image(
    tiles: ImageTiles,
    recipe: Recipe,
    ensemble: EnsembleRecipe,
    model: MegaModel,
    *,
    deadline: Deadline | None = None,
    report: ImageReport | None = None,
) -> ImagePrediction:
    """Predict one image: read its tiles, merge the models' answers, stitch, postprocess.

    `report` is where to note tiles, skipped tiles and what became of the time. Raises DeadlineError
    where the session ends before the image is finished.
    """
    grid = tiles.grid
    report = report or ImageReport(tiles.slide.name)
    report.tiles, report.skipped = len(tiles.wanted), len(grid) - len(tiles.wanted)
    canvas = Canvas(
        grid,
        classes=model.classes,
        blend=recipe.stitching.blend,
        upsample=recipe.stitching.upsample,
        thresholds=ensemble.thresholds,
    )
    for index in sorted(set(range(len(grid))) - set(tiles.wanted)):
        canvas.skip(grid[index])
    disagreement = DisagreementMap(grid, model.classes) if recipe.disagreement else None
    asker = _Asker(model, recipe, ensemble, disagreement)

    # the device works on one batch while the one before it is stitched here
    watch = Stopwatch()
    in_flight: deque[_Asked] = deque()
    progress = tqdm(
        total=report.tiles, desc=report.image, unit="tile", file=sys.stdout, mininterval=2
    )
    with progress, closing(tiles.batches()) as batches:
        for batch in watch.each("waited", batches):
            if deadline is not None and deadline.is_over:
                raise DeadlineError("the session's time was over before this image was finished")
            with watch.phase("network"):
                in_flight.append(asker.ask(batch))
            if len(in_flight) > 1:
                progress.update(_stitch(canvas, in_flight.popleft(), watch))
        while in_flight:
            progress.update(_stitch(canvas, in_flight.popleft(), watch))
    report.waited, report.network = watch.seconds["waited"], watch.seconds.get("network", 0.0)
    report.note = "; ".join(filter(None, [tiles.note, *model.notes]))
    masks = [
        apply_steps(mask, ensemble.postprocess, label) for label, mask in enumerate(canvas.finish())
    ]
    return ImagePrediction(masks, None if disagreement is None else disagreement.image)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Tiles that a model was asked about, and its answers, which may still be on their way."""

    tiles: Sequence[Tile]
    answers: Pending
    packed: bool


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks a model about batches of one image, and notes where its members disagree."""

    model: MegaModel
    recipe: Recipe
    ensemble: EnsembleRecipe
    disagreement: DisagreementMap | None

    def ask(self, batch: Batch) -> _Asked:
        """Ask for bits of the cores where tiles are only cut, else for probabilities to blend."""
        tiles = batch.tiles
        indices = [tile.index for tile in tiles]
        answers = self.model.predict(
            batch.pixels, indices, with_spread=self.disagreement is not None
        )
        if self.disagreement is not None and answers.spread is not None:
            self.disagreement.add(tiles, answers.spread)
        if self.recipe.stitching.is_crop:
            bits = answers.bits(tiles, self.recipe.tiles.scale, self.ensemble.thresholds)
            return _Asked(tiles, bits, packed=True)
        return _Asked(tiles, answers.bytes(), packed=False)


def _stitch(canvas: Canvas, asked: _Asked, watch: Stopwatch) -> int:
    """Hand the answers for a batch to the canvas; returns how many tiles that were."""
    with watch.phase("network"):
        answers = asked.answers.result()
    add = canvas.add_bits if asked.packed else canvas.add
    for tile, answer in zip(asked.tiles, answers, strict=True):
        add(tile, answer)
    return len(answers)
