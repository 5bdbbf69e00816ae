"""The lane of large images: each is read in tiles, and its tiles share batches.

While one image is predicted, the readers go on to the next.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import replace

from kernelkit.errors import DeadlineError, SlideError, as_sentence
from kernelkit.predict.image import ImageTiles, predict_image
from kernelkit.predict.keys import content_of, state_of
from kernelkit.predict.pictures import save_disagreement
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store import Entry, Stored
from kernelkit.predict.tasks import Run, Task, at_own_cost
from kernelkit.slide import Slide

__all__ = ["predict_tiled"]


def predict_tiled(tasks: Iterable[Task], run: Run) -> Iterator[ImageReport]:
    """Put the result of each image into the store, and say what happened to it, in order."""
    images = (_ImageWork(task, run) for task in tasks)
    for image, following in _with_next(images):
        if image.tiles and following and following.tiles:
            image.tiles.then(following.tiles)
        with closing(image):
            image.finish()
        yield image.report


class _ImageWork:
    """The work on one image: it is opened first, and finished when its turn comes.

    Attributes
    ----------
    report
        What happened so far.
    tiles
        What is to be read. None if the store has the mask, or if the image cannot be predicted.
    """

    def __init__(self, task: Task, run: Run) -> None:
        self.report = ImageReport(task.image_id)
        self.tiles: ImageTiles | None = None
        self._paths = task.paths
        self._run = run
        if task.left_out:
            self.report.fall_back(task.left_out)
            return
        with at_own_cost(self.report):
            self._open()

    def finish(self) -> None:
        """Predict the image, if that is left to do, and put its mask into the store."""
        run, report = self._run, self.report
        run.pace.take(report.image)
        run.progress.begin(report.image, None if self.tiles is None else len(self.tiles.grid))
        if self.tiles is not None:
            with at_own_cost(report):
                self._predict(self.tiles)
        run.pace.end()
        run.progress.end()

    def close(self) -> None:
        """Give up the file, and what was read ahead of it."""
        if self.tiles is not None:
            self.tiles.close()

    def _open(self) -> None:
        """Open the image and choose its ensemble and tiles, or find its mask in the store."""
        run, report = self._run, self.report
        self._state = state_of(self._paths)
        self._content: Future[str] = run.hashing.submit(content_of, self._paths)
        with ExitStack() as opened:
            slide = opened.enter_context(Slide(self._paths))
            self._ensemble = run.recipe.ensemble_for(slide.bands, str(slide.dtype))
            self._model = run.models[self._ensemble.name]
            report.ensemble = self._ensemble.name
            report.layout, report.height, report.width = slide.layout, slide.height, slide.width
            report.notes += slide.notes
            stored = self._found() if run.store.has_any(report.image) else None
            if stored is not None:
                run.pace.take(report.image)
                # the figures are those of the run that predicted it, but for the time
                self.report = replace(
                    stored.report,
                    ensemble=self._ensemble.name,
                    status="kept",
                    seconds=0.0,
                    waited=0.0,
                    network=0.0,
                )
                return
            if run.deadline.is_over:
                raise DeadlineError("the session's time was over before this image was begun")
            self.tiles = ImageTiles(slide, run.recipe, run.readers, self._model)
            opened.pop_all()  # now the tiles close it

    def _predict(self, tiles: ImageTiles) -> None:
        """Predict the image, and put its mask into the store."""
        run, report = self._run, self.report
        found = predict_image(
            tiles,
            run.recipe,
            self._ensemble,
            self._model,
            deadline=run.deadline,
            pace=run.pace,
            progress=run.progress,
            report=report,
        )
        report.asked = self._model.cost
        if report.asked < 1:
            report.notes.append(f"asked {report.asked:.0%} of it, because the time ran short")
        if state_of(self._paths) != self._state:
            raise SlideError(
                f"{self._paths[0]}: the file was changed while it was read. Leave it alone "
                "while a run lasts"
            )
        entry = self._entry(self._model.fingerprint, report.unfinished)
        if found.disagreement is not None:
            try:
                save_disagreement(entry.picture_path, found.disagreement)
            except Exception as error:  # a picture is no reason to lose the mask
                report.notes.append(f"no picture of the disagreement ({as_sentence(error)})")
        report.stored = entry.name
        entry.save(Stored(report, found.masks))

    def _found(self) -> Stored | None:
        """The best that the store has of this image.

        What was asked in full is better than what is asked now that the time runs short. What an
        earlier session left unfinished is better than nothing, once this one is over.
        """
        full = self._run.keys.full[self._ensemble.name]
        states = (False, True) if self._run.deadline.is_over else (False,)
        entries = (
            self._entry(fingerprint, unfinished)
            for unfinished in states
            for fingerprint in dict.fromkeys((full, self._model.fingerprint))
        )
        return next(filter(None, (entry.load() for entry in entries)), None)

    def _entry(self, fingerprint: str, unfinished: bool) -> Entry:
        """Where the masks belong, under a key of all that they depend on."""
        content, ensemble = self._content.result(), self._ensemble.name
        return self._run.keys.entry(self.report.image, content, ensemble, fingerprint, unfinished)


def _with_next[T](items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Pass on each item once the one after it is made, together with that. None ends the list."""
    iterator = iter(items)
    item = next(iterator, None)
    while item is not None:
        following = next(iterator, None)
        yield item, following
        item = following
