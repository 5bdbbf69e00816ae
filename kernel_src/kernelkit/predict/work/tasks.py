"""What is to be done in a run, and what the work on all of its images has in common."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.ensemble.replicas import Replicas
from kernelkit.errors import OutputError, as_sentence
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.pictures import save_disagreement
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Entry, Store
from kernelkit.predict.work.keys import Keys
from kernelkit.predict.work.pace import Asked, Pace
from kernelkit.predict.work.progress import RunProgress
from kernelkit.predict.work.regions import drawn_regions
from kernelkit.predict.work.survey import PictureKind, Survey
from kernelkit.reader import ReaderPool
from kernelkit.recipe import Recipe
from kernelkit.vocabulary import GiveUp

__all__ = [
    "Run",
    "Task",
    "asked_note",
    "at_own_cost",
    "draw_disagreement",
    "kept",
    "tasks_of",
]

_log = logging.getLogger(__name__)
# times as many tiles as the median image has
_FAR_LARGER = 4


@dataclass(frozen=True, slots=True)
class Task:
    """One image to be predicted.

    Attributes
    ----------
    image_id
        Its id.
    paths
        Its files.
    amount
        How much work it is, as `Pace` counts it: its tiles, or the pixels of a whole picture. It
        is an estimate if the image was not opened yet.
    ensemble
        The ensemble that predicts it. Empty if the image was not opened yet.
    drawn
        The file of polygons that say where to look. None if there is none.
    left_out
        Why it is not to be predicted, as a sentence. Empty if it is.
    """

    image_id: str
    paths: tuple[Path, ...]
    amount: int = 0
    ensemble: str = ""
    drawn: Path | None = None
    left_out: str = ""


def tasks_of(
    competition: CompetitionFolder, recipe: Recipe, survey: Survey, limit: int | None
) -> list[Task]:
    """What is to be done, in order: images that are far larger than most come last.

    If the time runs short, such an image would take the time of many.
    """
    amounts = {image: _amount(recipe, kind) for image, kind in survey.kinds.items()}
    # of an image that was not opened or cannot be, a guess
    usual = round(median(amounts.values())) if amounts else 0
    tasks = []
    for number, image_id in enumerate(competition.images):
        scene = competition.scenes.get(image_id)
        left_out = ""
        if limit is not None and number >= limit:
            left_out = f"left out, since only {limit} image(s) were asked for"
        elif image_id in competition.problems:
            left_out = competition.problems[image_id]
        elif scene is None:
            left_out = f"no image file of this id is in {competition.folder}"
        unknown = 0 if image_id in survey.refused else usual
        kind = survey.kinds.get(image_id)
        tasks.append(
            Task(
                image_id,
                scene.paths if scene else (),
                amounts.get(image_id, unknown),
                kind.ensemble if kind else "",
                drawn_regions(competition, recipe, image_id),
                left_out,
            )
        )
    return sorted(tasks, key=lambda task: task.amount > _FAR_LARGER * usual)


def _amount(recipe: Recipe, kind: PictureKind) -> int:
    """How much work an image is: its tiles, or the pixels of a whole picture."""
    if recipe.tiles.whole:
        return kind.height * kind.width
    return prod(-(-side // recipe.tiles.core) for side in (kind.height, kind.width))


class Run:
    """What the work on all images of a run has in common.

    Parameters
    ----------
    recipe, models, store
        The recipe, one model per ensemble of it by name, and where results are put.
    deadline
        When work has to stop.
    tasks
        All images.
    workers
        Reader processes.
    begun
        When the models began to load, as `time.perf_counter` has it. None is now.
    device
        What reports call the device. By default it is that of the models.
    replicas
        Copies of each model, to which the tiles of an image are dealt. By default there is one.

    Attributes
    ----------
    first_tiles
        Seconds from `begun` until the first answers were there, by the device.
    hardware
        What each device is, in words.
    keys
        Under which results are stored.
    readers
        Who reads images.
    pace
        Whether the rest of the run still fits.
    progress
        The run's progress bar.
    said
        What went otherwise in no image alone, one sentence each.
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
        *,
        begun: float | None = None,
        device: str = "",
        replicas: Mapping[str, Replicas] | None = None,
    ) -> None:
        self.replicas = replicas or {name: Replicas([model]) for name, model in models.items()}
        for copies in self.replicas.values():
            copies.ask_all()  # an earlier run may have been short of time
        amounts = {task.image_id: task.amount for task in tasks if not task.left_out}
        self.recipe = recipe
        self.models = models
        self.store = store
        self.deadline = deadline
        self.keys = Keys(recipe, self.replicas, store)
        self.readers = ReaderPool(workers, kind="process")
        self.pace = Pace(deadline, recipe.give_up, self.replicas, amounts)
        self.progress = (
            RunProgress(dict.fromkeys(amounts, 1), "picture")
            if recipe.tiles.whole
            else RunProgress(amounts, "tile")
        )
        self._named = device
        self.hardware = {self.device: ", ".join(dict.fromkeys(map(device_name, self._devices)))}
        self.first_tiles: dict[str, float] = {}
        self._begun = time.perf_counter() if begun is None else begun
        self.said: list[str] = []
        self.hashing = ThreadPoolExecutor(1)

    @property
    def device(self) -> str:
        """What reports call the devices that work now."""
        return self._named or ", ".join(map(str, self._devices))

    @property
    def unit(self) -> str:
        """What the amounts of tasks are counted in."""
        return "pixels" if self.recipe.tiles.whole else "tiles"

    @property
    def _devices(self) -> list[torch.device]:
        copies = (copy for replicas in self.replicas.values() for copy in replicas.copies)
        return list(dict.fromkeys(copy.device for copy in copies))

    @property
    def notes(self) -> list[str]:
        """What went otherwise in the run as a whole, one sentence each."""
        models = [note for copies in self.replicas.values() for note in copies.notes]
        return [*models, *self.readers.notes, *self.store.notes, *self.said]

    def advance(self, done: int, model: Asked, keeps: frozenset[GiveUp] = frozenset()) -> None:
        """Count work that is done, as `Pace.advance` does. Say when the first of it was done."""
        if not self.first_tiles:
            seconds = time.perf_counter() - self._begun
            self.first_tiles[self.device] = round(seconds, 2)
            load = sum(model.load_seconds for model in self.models.values())
            _log.info(
                "%s: the first answers came after %.1f s, of which %.1f s loaded the models",
                self.device,
                seconds,
                load,
            )
        self.pace.advance(done, model, keeps)

    def close(self) -> None:
        """Write what was saved, and end the readers and the thread that hashes files."""
        self.progress.close()
        for copies in self.replicas.values():
            copies.close()
        self.readers.close()
        self.hashing.shutdown(cancel_futures=True)
        try:
            self.store.close()
        except OutputError as error:  # what it could not write falls back when it is handed in
            self.said.append(as_sentence(error))


@contextmanager
def at_own_cost(report: ImageReport) -> Iterator[None]:
    """Count the seconds of a `with` block. An error in it costs this image, and no other."""
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        report.fall_back(as_sentence(error))
    finally:
        report.seconds += time.perf_counter() - start


def kept(report: ImageReport, ensemble: str) -> ImageReport:
    """The report of an image that is in the store. Its figures are old, but for the time."""
    return replace(report, ensemble=ensemble, status="kept", seconds=0.0, waited=0.0, network=0.0)


def asked_note(report: ImageReport) -> list[str]:
    """One sentence that says so if less was asked about an image than the recipe wants."""
    if report.asked >= 1:
        return []
    return [f"asked {report.asked:.0%} of it, because the time ran short"]


def draw_disagreement(entry: Entry, disagreement: NDArray[np.float32]) -> list[str]:
    """Write the picture of where the members disagree, or one sentence that says why there is none.

    Parameters
    ----------
    disagreement
        float32 (classes, h, w).
    """
    try:
        save_disagreement(entry.picture_path, disagreement)
    except Exception as error:  # a picture is no reason to lose the mask
        return [f"no picture of the disagreement ({as_sentence(error)})"]
    return []
