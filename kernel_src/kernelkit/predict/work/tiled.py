"""The lane of large images: each is read in tiles, and its tiles share batches.

While one image is predicted, the readers go on to the next.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager

from kernelkit.errors import DeadlineError
from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Entry, Stored
from kernelkit.predict.work.image import predict_image
from kernelkit.predict.work.image_tiles import ImageTiles
from kernelkit.predict.work.stitching import LayerStitching, MaskStitching
from kernelkit.predict.work.survey import checked_ensemble
from kernelkit.predict.work.tasks import Run, Task, asked_note, at_own_cost, draw_disagreement, kept
from kernelkit.reader.missing import empty_pixels, empty_pixels_note, undecodable_pixels
from kernelkit.slide import Slide
from kernelkit.slide.content import content_of, refuse_changed, state_of

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
        self._drawn = task.drawn
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
        self._regions = content_of([self._drawn]) if self._drawn else ""
        with ExitStack() as opened:
            nodata = run.recipe.competition.nodata
            slide = opened.enter_context(Slide(self._paths, nodata=nodata))
            self._ensemble = checked_ensemble(run.recipe, slide.bands, str(slide.dtype))
            self._replicas = run.replicas[self._ensemble.name]
            report.ensemble = self._ensemble.name
            report.layout, report.height, report.width = slide.layout, slide.height, slide.width
            report.notes += slide.notes
            stored = self._found() if run.store.has_any(report.image) else None
            if stored is not None:
                run.pace.take(report.image)
                self.report = kept(stored.report, self._ensemble.name)
                return
            if run.deadline.is_over:
                raise DeadlineError("the session's time was over before this image was begun")
            self.tiles = ImageTiles(
                slide, run.recipe, run.readers, self._replicas.model, self._drawn
            )
            opened.pop_all()  # now the tiles close it

    def _predict(self, tiles: ImageTiles) -> None:
        """Predict the image, and put its masks or layers into the store."""
        run, report, replicas = self._run, self.report, self._replicas
        report.tiles, report.skipped = len(tiles.wanted), len(tiles.skipped)
        run.pace.begin(report.tiles, of=len(tiles.grid))
        with self._stitching(tiles) as stitching:
            disagreement = predict_image(tiles, replicas, stitching, run, report)
            report.asked = replicas.cost
            report.notes += [*tiles.notes, *asked_note(report)]
            missing = self._missing(tiles)
            refuse_changed(self._paths, self._state)
            entry = self._entry(run.keys.asked(self._ensemble.name), report.unfinished)
            if disagreement is not None:
                report.notes += draw_disagreement(entry, disagreement)
            report.stored = entry.name
            if isinstance(stitching, LayerStitching):
                layers = stitching.finish(missing)
                entry.save(Stored(report, layers=layers), values_file=stitching.path)
            else:
                entry.save(Stored(report, stitching.finish(missing), missing=missing))
        run.store.flush()  # the next image may take an hour

    @contextmanager
    def _stitching(self, tiles: ImageTiles) -> Iterator[LayerStitching | MaskStitching]:
        """The way to stitch that the recipe's store asks for. What it leaves behind goes."""
        run, model = self._run, self._replicas.model
        plan = run.recipe.plan_for(self._ensemble)
        if plan.what == "masks":
            yield MaskStitching(tiles.grid, run.recipe, self._ensemble, model)
            return
        # what would take a layer away is given up now, or after this image
        run.pace.adjust(self._replicas)
        path = run.store.new_file()
        try:
            yield LayerStitching(tiles.grid, run.recipe, model, plan.level, path)
        finally:
            path.unlink(missing_ok=True)

    def _missing(self, tiles: ImageTiles) -> BitMask | None:
        """The pixels that cannot be decoded or hold no data, or None if there are none."""
        unread, notes = undecodable_pixels(tiles.slide, tiles.undecodable)
        self.report.notes += notes
        if self._run.recipe.nodata == "keep":
            return unread
        empty = empty_pixels(tiles.slide)
        self.report.notes += empty_pixels_note(empty)
        if unread is None or empty is None:
            return empty if unread is None else unread
        return unread | empty

    def _found(self) -> Stored | None:
        """The best that the store has of this image.

        What was asked in full is better than what is asked now that the time runs short. What an
        earlier session left unfinished is better than nothing, once this one is over.
        """
        keys, ensemble = self._run.keys, self._ensemble.name
        fingerprints = dict.fromkeys((keys.full[ensemble], keys.asked(ensemble)))
        states = (False, True) if self._run.deadline.is_over else (False,)
        entries = (
            self._entry(fingerprint, unfinished)
            for unfinished in states
            for fingerprint in fingerprints
        )
        return next(filter(None, (entry.load() for entry in entries)), None)

    def _entry(self, fingerprint: str, unfinished: bool) -> Entry:
        """Where the masks belong, under a key of all that they depend on."""
        content, ensemble = self._content.result(), self._ensemble.name
        return self._run.keys.entry(
            self.report.image, content, ensemble, fingerprint, unfinished, self._regions
        )


def _with_next[T](items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Pass on each item once the one after it is made, together with that. None ends the list."""
    iterator = iter(items)
    item = next(iterator, None)
    while item is not None:
        following = next(iterator, None)
        yield item, following
        item = following
