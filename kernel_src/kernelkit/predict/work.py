"""Work, the first half of a run: each image becomes a mask in the store, and a report.

What becomes of an image depends on its file, the recipe and the weights alone. Whatever fails costs
only its own image.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

import kernelkit
from kernelkit.ensemble import MegaModel
from kernelkit.errors import DeadlineError, SlideError, as_sentence
from kernelkit.files import file_sha256
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.image import ImageTiles, predict_image
from kernelkit.predict.pace import Pace
from kernelkit.predict.pictures import save_disagreement
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store import Entry, Store, Stored
from kernelkit.reader import ReaderPool
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["Run", "Task", "work"]

_log = logging.getLogger(__name__)

# packages whose version may change a mask
_COMPUTING = (
    *("torch", "numpy", "numba", "rasterio", "timm", "segmentation-models-pytorch"),
    *("opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One image to be predicted.

    Attributes
    ----------
    image_id
        Its id.
    paths
        Its files.
    tiles
        How many tiles it has at most.
    left_out
        Why it is not to be predicted, as a sentence. Empty if it is.
    """

    image_id: str
    paths: tuple[Path, ...]
    tiles: int = 0
    left_out: str = ""


class Run:
    """What the work on all images of a run has in common.

    Parameters
    ----------
    recipe, models, store
        The recipe, one model per ensemble of it by name, and where masks are put.
    deadline
        When work has to stop.
    tasks
        All images.
    workers
        Reader processes.

    Attributes
    ----------
    fingerprints
        Of each model as it is asked in full.
    readers
        Who reads tiles.
    pace
        Whether the rest of the run still fits.
    hashing
        A thread. A file's hash is needed late, and reading the file warms the page cache.
    """

    def __init__(
        self,
        recipe: Recipe,
        models: Mapping[str, MegaModel],
        store: Store,
        deadline: Deadline,
        tasks: Sequence[Task],
        workers: int = 0,
    ) -> None:
        for model in models.values():
            model.ask_all()  # an earlier run may have been short of time
        wanted = {task.image_id: task.tiles for task in tasks if not task.left_out}
        self.fingerprints = {name: model.fingerprint for name, model in models.items()}
        self.recipe = recipe
        self.models = models
        self.store = store
        self.deadline = deadline
        self.readers = ReaderPool(workers, kind="process")
        self.pace = Pace(deadline, recipe.give_up, models, wanted)
        self.hashing = ThreadPoolExecutor(1)

    @property
    def notes(self) -> list[str]:
        """What went otherwise in the run as a whole, one sentence each."""
        return [note for model in self.models.values() for note in model.notes] + self.readers.notes

    def close(self) -> None:
        """End the readers and the thread that hashes files."""
        self.readers.close()
        self.hashing.shutdown(cancel_futures=True)


def work(tasks: Iterable[Task], run: Run) -> Iterator[ImageReport]:
    """Put the mask of each image into the store, and say what happened to it.

    While one image is predicted, the readers go on to the next.
    """
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
        with self._at_own_cost():
            self._open()

    def finish(self) -> None:
        """Predict the image, if that is left to do, and put its mask into the store."""
        run, report = self._run, self.report
        run.pace.take(report.image)
        if self.tiles is None:
            return
        with self._at_own_cost():
            found = predict_image(
                self.tiles,
                run.recipe,
                self._ensemble,
                self._model,
                deadline=run.deadline,
                pace=run.pace,
                report=report,
            )
            report.asked = self._model.cost
            if report.asked < 1:
                report.notes.append(f"asked {report.asked:.0%} of it, because the time ran short")
            if _state(self._paths) != self._state:
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
            report.stored = entry.mask_path.name
            entry.save(found.masks, report)

    def close(self) -> None:
        """Give up the file, and what was read ahead of it."""
        if self.tiles is not None:
            self.tiles.close()

    def _open(self) -> None:
        """Open the image and choose its ensemble and tiles, or find its mask in the store."""
        run, report = self._run, self.report
        self._state = _state(self._paths)
        self._content: Future[str] = run.hashing.submit(_content, self._paths)
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
            self.tiles = ImageTiles(slide, run.recipe, run.readers)
            opened.pop_all()  # now the tiles close it

    def _found(self) -> Stored | None:
        """The best that the store has of this image.

        What was asked in full is better than what is asked now that the time runs short. What an
        earlier session left unfinished is better than nothing, once this one is over.
        """
        full = self._run.fingerprints[self._ensemble.name]
        states = (False, True) if self._run.deadline.is_over else (False,)
        entries = (
            self._entry(fingerprint, unfinished)
            for unfinished in states
            for fingerprint in dict.fromkeys((full, self._model.fingerprint))
        )
        return next(filter(None, (entry.load() for entry in entries)), None)

    def _entry(self, fingerprint: str, unfinished: bool) -> Entry:
        """Where the masks belong, under a key of all that they depend on."""
        return self._run.store.entry(
            self.report.image,
            self._content.result(),
            _recipe_part(self._run.recipe, self._ensemble),
            fingerprint,
            self._model.device.type,
            _versions(),
            # what the session left no time for is predicted anew by the next one
            "unfinished" if unfinished else "",
        )

    @contextmanager
    def _at_own_cost(self) -> Iterator[None]:
        """Count the seconds of a `with` block. An error in it costs this image, and no other."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.report.fall_back(as_sentence(error))
            _log.warning("%s: fallback row, because: %s", self.report.image, as_sentence(error))
        finally:
            self.report.seconds += time.perf_counter() - start


def _state(paths: Iterable[Path]) -> list[tuple[int, int, int]]:
    """What changes if somebody writes to one of the files, or replaces it."""
    states = [path.stat() for path in paths]
    return [(state.st_size, state.st_mtime_ns, state.st_ino) for state in states]


def _content(paths: Iterable[Path]) -> str:
    """The hashes of whole files."""
    return " ".join(file_sha256(path) for path in paths)


def _recipe_part(recipe: Recipe, ensemble: EnsembleRecipe) -> str:
    """What of a recipe decides on the mask in the store, beside what its models know."""
    elsewhere = {"name", "summary", "competition", "ensembles", "hours", "give_up"}
    part = recipe.model_dump(mode="json", exclude=elsewhere)
    return json.dumps(part | {"thresholds": ensemble.thresholds}, sort_keys=True)


@cache
def _versions() -> str:
    """What computes: kernelkit's own code, and the packages that read pixels and run networks."""
    package = Path(kernelkit.__file__).parent
    sources = sorted(package.rglob("*.py"))
    code = hashlib.sha256("".join(map(file_sha256, sources)).encode()).hexdigest()
    found = {name: _version(name) for name in _COMPUTING}
    return json.dumps({"kernelkit": code, **found})


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _with_next[T](items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Pass on each item once the one after it is made, together with that. None ends the list."""
    iterator = iter(items)
    item = next(iterator, None)
    while item is not None:
        following = next(iterator, None)
        yield item, following
        item = following
