"""One image: its tiles are read, the models asked, their answers stitched."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kernelkit.canvas import Canvas
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.disagreement import DisagreementMap
from kernelkit.ensemble.replicas import Replicas
from kernelkit.ensemble.transfer import Pending
from kernelkit.errors import DeadlineError
from kernelkit.grid import Tile
from kernelkit.predict.report import ImageReport, Stopwatch
from kernelkit.predict.work.image_tiles import ImageTiles
from kernelkit.predict.work.stitching import Stitching
from kernelkit.predict.work.tasks import Run
from kernelkit.reader import Batch

__all__ = ["predict_image"]


def predict_image(
    tiles: ImageTiles,
    replicas: Replicas,
    stitching: Stitching,
    run: Run,
    report: ImageReport,
) -> NDArray[np.float32] | None:
    """Predict one image: read its tiles, merge the models' answers, stitch them.

    If the session ends before the image is finished, the tiles that are left count as background.

    Parameters
    ----------
    replicas
        Copies of the model that looks at this image.
    stitching
        Takes the answers.
    run
        Its pace has less be asked of the model if the time runs short.
    report
        Takes the number of tiles, where the time went, and what went otherwise.

    Returns
    -------
    float32 (classes, h, w): where the members disagree, as of a `DisagreementMap`. None if the
    recipe does not ask for it.

    Raises
    ------
    DeadlineError
        The session ends before any tile is finished.
    """
    disagreement = None
    if run.recipe.disagreement:
        disagreement = DisagreementMap(tiles.grid, replicas.model.classes)
    conversation = _Conversation(replicas, stitching, disagreement)
    for index in tiles.skipped:
        stitching.canvas.skip(tiles.grid[index])
    asked = 0
    with closing(tiles.batches()) as batches, closing(conversation):
        # devices work on some batches while the one before them is stitched here
        for batch in conversation.watch.each("waited", batches):
            if run.deadline.is_over:
                break
            conversation.ask(batch)
            asked += len(batch.tiles)
            _count(conversation.stitch(leave=replicas.in_flight), replicas, stitching, run)
        _count(conversation.stitch(leave=0), replicas, stitching, run)
    seconds = conversation.watch.seconds
    report.waited, report.network = seconds["waited"], seconds.get("network", 0.0)
    _leave_out(tiles.wanted[asked:], stitching.canvas, report)
    return None if disagreement is None else disagreement.image


def _count(stitched: int, replicas: Replicas, stitching: Stitching, run: Run) -> None:
    """Count finished tiles, and have less be asked if the rest does not fit."""
    run.progress.advance(stitched)
    if stitched:
        run.advance(stitched, replicas, stitching.keeps)


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
class _Sent:
    """What is on its way down from a model: answers, and how far its members lie apart."""

    model: MegaModel
    answers: Pending
    deviations: Pending | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Tiles that a copy of the model is asked about, and what it sends down.

    The question is kept if another copy could answer it, too.
    """

    tiles: Sequence[Tile]
    sent: Future[_Sent]
    question: Callable[[MegaModel], _Sent] | None


@dataclass(frozen=True, slots=True)
class _Conversation:
    """Batches of one image go to copies of the model, and answers to the canvas in order."""

    replicas: Replicas
    stitching: Stitching
    disagreement: DisagreementMap | None
    watch: Stopwatch = field(default_factory=Stopwatch)
    in_flight: deque[_Asked] = field(default_factory=deque)

    def ask(self, batch: Batch) -> None:
        """Ask the model about a batch, and have its answers sent down."""
        tiles = batch.tiles

        def question(model: MegaModel) -> _Sent:
            answers = model.predict(
                batch.pixels,
                [tile.index for tile in tiles],
                with_spread=self.disagreement is not None,
                level=self.stitching.level,
            )
            deviations = None
            if self.disagreement is not None and answers.spread is not None:
                deviations = self.disagreement.send(answers.spread)
            return _Sent(model, self.stitching.send(answers, tiles), deviations)

        with self.watch.phase("network"):
            again = question if len(self.replicas.copies) > 1 else None
            self.in_flight.append(_Asked(tiles, self.replicas.ask(question), again))

    def stitch(self, leave: int) -> int:
        """Hand answers to the canvas until `leave` batches are in flight. Count their tiles."""
        stitched = 0
        while len(self.in_flight) > leave:
            asked = self.in_flight.popleft()
            with self.watch.phase("network"):
                answers, deviations = self._arrived(asked)
            for tile, answer in zip(asked.tiles, answers, strict=True):
                self.stitching.add(tile, answer)
            if self.disagreement is not None and deviations:
                for tile, deviation in zip(asked.tiles, deviations, strict=True):
                    self.disagreement.add(tile, deviation)
            stitched += len(answers)
        return stitched

    def _arrived(self, asked: _Asked) -> tuple[list[NDArray], list[NDArray]]:
        """Answers and deviations. If their GPU fails before they arrive, another one is asked."""
        while True:
            sent = asked.sent.result()
            try:
                deviations = [] if sent.deviations is None else sent.deviations.result()
                return sent.answers.result(), deviations
            except torch.AcceleratorError as error:
                if asked.question is None or not self.replicas.give_up(sent.model, error):
                    raise
                asked = replace(asked, sent=self.replicas.ask(asked.question))

    def close(self) -> None:
        """Wait until no copy is busy with this image. What is still in flight is not needed."""
        for asked in self.in_flight:
            asked.sent.cancel()
        wait([asked.sent for asked in self.in_flight])
