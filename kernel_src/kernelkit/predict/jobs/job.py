"""A job: some images for one process, whichever it is and wherever it runs."""

import logging
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from kernelkit.console import bars_hidden
from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError, CompetitionError, OutputError, as_sentence
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.jobs.forked import in_fresh_process, is_forked
from kernelkit.predict.jobs.messages import messages_kept
from kernelkit.predict.jobs.seat import Seat, own_seat, tick
from kernelkit.predict.jobs.stored import Telling
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Store
from kernelkit.predict.work.keys import code_sha256
from kernelkit.predict.work.progress import RunProgress
from kernelkit.predict.work.tasks import Run, Task
from kernelkit.predict.work.work import predict_tasks
from kernelkit.recipe import Recipe

__all__ = ["Done", "Job", "do", "forget"]


@dataclass(frozen=True)
class Job:
    """Some images of a run, and all that a process must know to predict them.

    Attributes
    ----------
    run
        Unlike that of all other runs. It is also the name of a file in the store. A process that
        sees the file shares the folder.
    recipe
        With what the run folders of its models say.
    models
        What each ensemble's `MegaModel` is made with, by its name.
    weights
        The SHA-256 of each member's weights, or of those that its engine was made of. A process
        whose models have others refuses. An engine need not load everywhere.
    code
        The SHA-256 of kernelkit.
    device
        What a process takes that has no device of its own: `auto` or a name.
    store
        The folder of the store.
    ends
        When work has to stop, in seconds since the epoch. `folder_clock` of the store counts it,
        since the clocks of two machines may differ.
    workers
        Reader processes on a machine.
    images
        Some files of images. A process has to see one of them.
    tasks
        The images.
    others
        How much more work this process may expect after them, as `Pace` counts it.
    avoids
        The device whose process died of it.
    level
        Of the messages that are wanted, as logging has it.
    """

    run: str
    recipe: Recipe
    models: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, str]
    code: str
    device: str
    store: Path
    ends: float
    workers: int
    images: tuple[Path, ...] = ()
    tasks: tuple[Task, ...] = ()
    others: int = 0
    avoids: str = ""
    level: int = logging.WARNING


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes
    ----------
    device
        Who did it.
    reports
        One per image.
    notes
        What went otherwise in the process so far, one sentence each.
    messages
        What it logged, each with its level.
    hardware
        What the device is, in words.
    first_tiles
        Seconds until the process had its first answers, by the device. Empty if it has none yet.
    """

    device: str
    reports: list[ImageReport]
    notes: list[str] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)
    hardware: str = ""
    first_tiles: dict[str, float] = field(default_factory=dict)


def do(job: Job) -> Done:
    """Predict the images of a job. Models stay loaded for the next job of the same run.

    A job without images makes the process ready.

    Raises
    ------
    CheckpointError, CompetitionError, OutputError
        What this process sees is not what the run's own process sees.
    DeviceError
        The device does not work.
    """
    if is_forked():
        return in_fresh_process(do, job)
    with _one_at_a_time, bars_hidden(), messages_kept(job.level) as messages:
        run, telling = _desk.run_for(job)
        amounts = {task.image_id: task.amount for task in job.tasks}
        run.pace.expect(amounts, job.others)
        is_whole = job.recipe.tiles.whole
        run.progress.expect(dict.fromkeys(amounts, 1) if is_whole else amounts)
        reports = []
        for report in predict_tasks(job.tasks, run):
            telling.tell()
            reports.append(report)
        try:
            run.store.flush()
        except OutputError as error:  # what it could not write falls back when it is handed in
            run.said.append(as_sentence(error))
        return Done(
            run.device,
            reports,
            run.notes,
            messages,
            run.hardware[run.device],
            dict(run.first_tiles),
        )


class _Ticking(RunProgress):
    """Progress of which the parent has the bar."""

    def advance(self, amount: int) -> None:
        super().advance(amount)
        tick(amount)


class _Desk:
    """What a process keeps between two jobs of a run."""

    def __init__(self) -> None:
        self._run: tuple[Run, Telling] | None = None
        self._of = ""

    def run_for(self, job: Job) -> tuple[Run, Telling]:
        """The run of a job, and what tells its keys. That of an earlier run is closed."""
        if self._run is None or self._of != job.run:
            self.clear()
            run = _begin(job, _refuse_strangers(job))
            self._run, self._of = (run, Telling(run, job.store / job.run)), job.run
            self._run[1].tell()
        return self._run

    def forget(self, run: str) -> None:
        """Close a run, if it is here."""
        if self._of == run:
            self.clear()

    def clear(self) -> None:
        """Close the run that is here, and forget its models."""
        held, self._run = self._run, None
        if held is not None:
            held[0].close()


_desk = _Desk()
# Threads of one process share its models.
_one_at_a_time = Lock()


def forget(run: str) -> None:
    """Close a run that is over, if this process did jobs of it: its models take much memory.

    One that still does a job goes on, since nobody can stop it.
    """
    if _one_at_a_time.acquire(blocking=False):
        try:
            _desk.forget(run)
        finally:
            _one_at_a_time.release()


def _readers(job: Job, seat: Seat | None) -> int:
    """How many reader processes this one may have. A daemon, as of dask, can start none."""
    if multiprocessing.current_process().daemon:
        return 0
    return seat.readers(job.workers) if seat else job.workers


def folder_clock(folder: Path) -> float:
    """What time it is for a folder, in seconds since the epoch. Machines that share it agree.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _begin(job: Job, clock: float) -> Run:
    """Load the models of a run.

    Parameters
    ----------
    clock
        What time it was for the store's folder, a moment ago.
    """
    begun = time.perf_counter()
    seat = own_seat()
    if seat is not None:
        torch.set_num_threads(seat.threads)
    device = seat.device if seat else job.device
    models = {name: MegaModel(**made, device=device) for name, made in job.models.items()}
    _refuse_other_weights(job, models)
    hours = (job.ends - clock - (time.perf_counter() - begun)) / 3600
    run = Run(
        job.recipe,
        models,
        Store(job.store),
        Deadline(hours, reserve=0),
        [],
        _readers(job, seat),
        begun=begun,
        device=seat.name if seat else f"{next(iter(models.values())).device} of {_place()}",
    )
    run.progress = _Ticking({}, "tile")
    return run


def _refuse_strangers(job: Job) -> float:
    """Refuse a job if this process sees other folders or other code than who made it.

    Returns
    -------
    What time it is for the store's folder.
    """
    if job.code != code_sha256():
        raise OutputError(
            f"{_place()}: kernelkit is of another version there. Install the same on all machines"
        )
    if not (job.store / job.run).is_file():
        raise OutputError(
            f"{job.store}: {_place()} does not see what the run wrote there. Choose an output "
            "folder that all machines share, under one path"
        )
    try:
        clock = folder_clock(job.store)
    except OSError as error:
        raise OutputError(
            f"{job.store}: {_place()} cannot write to the store ({error.strerror}). Choose an "
            "output folder that all machines can write to"
        ) from error
    if job.images and not any(path.exists() for path in job.images):
        raise CompetitionError(
            f"{job.images[0]}: {_place()} does not have this image. Put the competition where all "
            "machines see it, under one path"
        )
    return clock


def _refuse_other_weights(job: Job, models: Mapping[str, MegaModel]) -> None:
    found = {name: sha for model in models.values() for name, sha in model.origins.items()}
    if found == job.weights:
        return
    others = sorted(name for name in job.weights if found.get(name) != job.weights[name])
    folders = ", ".join(dict.fromkeys(str(made["folder"]) for made in job.models.values()))
    what = f"other weights of {others[0]}" if others else f"{len(found)} members"
    raise CheckpointError(
        f"{folders}: {_place()} found {what} there, wanted the {len(job.weights)} members that the "
        "run began with. Copy the same models to all machines"
    )


def _place() -> str:
    """This process in words."""
    seat = own_seat()
    return f"the process of {seat.name}" if seat else f"{platform.node()}, {os.getpid()}"
