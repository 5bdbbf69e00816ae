"""The lane of whole pictures: pictures of one shape share batches, whichever they are.

While the device works on one batch, the next is read, and the one before goes into the store. Which
pictures share a batch depends on the pictures alone. What fails costs only its own picture.
"""

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

from kernelkit.errors import as_sentence
from kernelkit.predict.report import ImageReport
from kernelkit.predict.work.ahead import one_ahead
from kernelkit.predict.work.tasks import Run, Task
from kernelkit.predict.work.whole_batch import AskedBatch, BatchAsker, each_alone
from kernelkit.predict.work.whole_picture import Picture
from kernelkit.reader import PictureBatch, PictureReader

__all__ = ["predict_whole"]


def predict_whole(tasks: Iterable[Task], run: Run) -> Iterator[ImageReport]:
    """Put the result of each picture into the store, and say what happened to it.

    Pictures that the store has come first, then those of each ensemble.
    """
    to_do: dict[str, list[Picture]] = defaultdict(list)
    for task in tasks:
        picture = Picture(task, run)
        if picture.is_done:
            yield picture.report
        else:
            to_do[task.ensemble or run.recipe.ensembles[0].name].append(picture)
    for ensemble, pictures in to_do.items():
        yield from _Pass(ensemble, pictures, run).reports()


class _Pass:
    """The pictures of one ensemble on their way through its model."""

    def __init__(self, ensemble: str, pictures: Sequence[Picture], run: Run) -> None:
        self._pictures, self._run = pictures, run
        self._asker = BatchAsker(ensemble, run)
        self._in_flight: deque[AskedBatch] = deque()

    def reports(self) -> Iterator[ImageReport]:
        """Iterate over what happened to the pictures, in the order in which they are finished."""
        run = self._run
        paths = [picture.paths for picture in self._pictures]
        reader = PictureReader(paths, self._asker.preparation, run.readers, run.recipe.batch)
        with one_ahead(iter(reader), run.readers.abandon) as batches:
            start = time.perf_counter()
            for batch in batches:
                waited = time.perf_counter() - start
                if run.deadline.is_over:
                    break
                for number, reason in batch.failed:
                    self._pictures[number].report.fall_back(reason)
                    yield self._pictures[number].end()
                if batch.numbers:
                    self._describe(batch)
                    yield from self._ask(batch, waited)
                yield from self._finish(leave=1)
                start = time.perf_counter()
            yield from self._finish(leave=0)
        run.said += reader.notes
        yield from self._leave_out()

    def _describe(self, batch: PictureBatch) -> None:
        """Let the pictures' reports say what their files hold."""
        for number, info in zip(batch.numbers, batch.pictures, strict=True):
            self._pictures[number].describe(self._asker.name, info)

    def _ask(self, batch: PictureBatch, waited: float) -> Iterator[ImageReport]:
        """Ask the model about a batch. If that fails as a whole, ask about each picture alone."""
        pictures = [self._pictures[number] for number in batch.numbers]
        try:
            asked = self._asker.ask(pictures, batch)
        except Exception as error:  # whatever it is, it costs no other picture
            if len(pictures) == 1:
                pictures[0].report.fall_back(as_sentence(error))
                yield pictures[0].end()
            else:
                for part in each_alone(batch):
                    yield from self._ask(part, waited / len(pictures))
                    yield from self._finish(leave=1)
            return
        asked.waited = waited
        self._in_flight.append(asked)

    def _finish(self, leave: int) -> Iterator[ImageReport]:
        """Store answers until `leave` batches are in flight."""
        run, model = self._run, self._asker.model
        while len(self._in_flight) > leave:
            asked = self._in_flight.popleft()
            yield from asked.finish()
            pixels = sum(info.height * info.width for info in asked.batch.pictures)
            run.pace.begin(pixels, of=pixels)
            run.advance(pixels, model)

    def _leave_out(self) -> Iterator[ImageReport]:
        """Give up the pictures that the session left no time for."""
        for picture in self._pictures:
            if not picture.is_done:
                picture.report.fall_back(
                    "the session's time was over before this picture was begun"
                )
                yield picture.end()
