"""`train`: from a competition's training images to run folders that inference reads.

Here stands what the parent does: it makes the cuts, begins run folders and starts a process per
fold. Torch is imported late, so that what is wrong with names is said at once.
"""

import hashlib
import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kernelkit.errors import KernelKitError, TrainingError
from kernelkit.training.alone import training_alone
from kernelkit.training.asked import forget_changed
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.loop.processes import Seat, in_processes

if TYPE_CHECKING:
    from kernelkit.training.folds import Folds
    from kernelkit.training.loop.machine import Machine, Share
    from kernelkit.training.loop.rounds import Progress
    from kernelkit.training.recipe import RunRecipe, TrainingRecipe
    from kernelkit.vocabulary import Blend

__all__ = ["FoldResult", "train", "train_fold"]


@dataclass(frozen=True)
class FoldResult:
    """What came of a fold.

    Attributes
    ----------
    run, fold
        Which.
    metric, score
        What the weights were judged by, and the best score. It is None if none was above the floor.
    weights, epoch
        Which weights reached it, `val` or `ema`, and after which epoch.
    last
        The score of the raw weights when they were judged last.
    highest
        The highest score, above the floor or not.
    epochs, total
        How many epochs were trained, of how many.
    checkpoint
        The name of the best checkpoint, or of the last. Empty if there is none.
    seconds
        How long it took. Of a training that was killed, the last part.
    is_old
        Whether it was finished before.
    notes
        What went otherwise, a sentence each.
    """

    run: str
    fold: int
    metric: str = ""
    score: float | None = None
    weights: str = ""
    epoch: int = 0
    last: float = 0.0
    highest: float = 0.0
    epochs: int = 0
    total: int = 0
    checkpoint: str = ""
    seconds: float = 0.0
    is_old: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The fold in messages, such as `unet/fold_0`."""
        return f"{self.run}/fold_{self.fold}"

    def __str__(self) -> str:
        if self.score is None:
            said = f"{self.epochs} epochs, {self.checkpoint or 'no checkpoint'}"
        else:
            kind = "averaged" if self.weights == "ema" else "raw"
            said = f"best {self.metric} {self.score:.4f}, {kind} weights after epoch {self.epoch}"
        early = f", stopped after {self.epochs} of {self.total}" * (self.epochs < self.total)
        return f"{self.name}: {said}{early}{', finished before' * self.is_old}"


@dataclass(frozen=True)
class _Job:
    """A fold, and all that its process must know."""

    run: "RunRecipe"
    fold: int
    folder: FoldFolder
    cuts: Path
    pseudo: Mapping[str, Path]
    folds: "Folds"
    blend: "Blend"
    asked: Mapping[str, Any]
    steps: int


def train(
    training: "TrainingRecipe",
    competition: Path,
    output: Path,
    *,
    cuts: Path,
    runs: Sequence[str] = (),
    folds: Sequence[int] = (),
    workers: int = 0,
    devices: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[FoldResult]:
    """Train folds of runs, each in a process of its own, and write their run folders.

    A fold that is finished is not trained again. One that was killed goes on after its last whole
    epoch. A run whose recipe or images changed since is refused, once one of its folds has an
    epoch.

    Parameters
    ----------
    training
        What is trained.
    competition
        The competition's folder.
    output
        The models folder.
    cuts
        The folder of the images at the scale of the training.
    runs, folds
        Which of them. Without any, all.
    workers
        How many processes make the cuts, and then the crops of each fold. With 0 its own does.
    devices
        `auto` is all GPUs, or one process per core. Else names such as `cuda:0,cuda:1`. A single
        fold is trained on all GPUs, or on all devices that are named.
    progress
        Whether there is a bar, with a line per fold.
    say
        Takes lines about what happens before that.

    Returns
    -------
    One result per fold, runs and folds in their order.

    Raises
    ------
    TrainingError
        Recipe, images and folders contradict each other. What is trained would be lost. Another
        training writes to a run. A training cannot go on. A fold has no checkpoint, because no
        score was above the floor.
    OutputError
        Something cannot be written.
    """
    from kernelkit.training.loop.machine import Machine
    from kernelkit.training.run_folder import finish_run

    chosen = _chosen(training, runs)
    for run in chosen:
        _refuse_missing_loggers(run)
    machine = Machine.of(devices)
    jobs: list[_Job] = []
    said: set[str] = set()

    def say_once(line: str) -> None:  # runs that share cuts share what was noticed
        if line not in said:
            said.add(line)
            say(line)

    with training_alone(output / run.name for run in chosen):
        for run in chosen:
            places = competition, output, cuts
            jobs += _jobs(training, run, folds, places, workers, progress, say_once)
        done = {job.folder: _finished(job) for job in jobs}
        waiting = [job for job in jobs if done[job.folder] is None]
        run_folders = dict.fromkeys(job.folder.run_folder for job in jobs)
        if waiting:
            say(f"starting {len(waiting)} fold{'s' * (len(waiting) > 1)}")
        try:
            for result in _in_processes(waiting, machine, devices, workers, progress):
                done[FoldFolder(output / result.run, result.fold)] = result
        except BaseException:
            with suppress(KernelKitError):  # what went wrong before is said
                for folder in run_folders:
                    finish_run(folder)
            raise
        for folder in run_folders:
            finish_run(folder)
    results = [result for result in done.values() if result is not None]
    _refuse_without_checkpoint(results, {run.name: run for run in chosen})
    return results


def train_fold(
    run: "RunRecipe",
    fold: int,
    folder: FoldFolder,
    cuts: Path,
    folds: "Folds",
    devices: Sequence[str],
    *,
    pseudo: Mapping[str, Path] = MappingProxyType({}),
    blend: "Blend" = "crop",
    workers: int = 0,
    share: "Share | None" = None,
    advance: Callable[[int], None] = lambda _: None,
) -> FoldResult:
    """Train one fold in this process, from its first epoch or from where it was killed.

    Parameters
    ----------
    run, fold
        The run, with mean and std, and which of its folds.
    folder
        The fold's folder.
    cuts
        The folder of its cuts.
    folds
        Which images validate.
    devices
        The device, or those of all processes that share the fold.
    pseudo
        The folders of the cuts of pseudo-labels, by the names of their sources.
    blend
        How tiles become one picture.
    workers
        How many processes read crops.
    share
        Which of several processes this is.
    advance
        Is given the steps that are done.

    Raises
    ------
    TrainingError, OutputError
        As of `train`.
    """
    import torch

    from kernelkit.training.cuts import Cuts
    from kernelkit.training.loop.fold import fit
    from kernelkit.training.loop.machine import arithmetic
    from kernelkit.training.loop.scribe import FoldScribe
    from kernelkit.training.loop.setup import fold_of, sheet_of

    began = time.monotonic()
    made, notes = fold_of(
        run,
        fold,
        folder,
        Cuts.load(cuts),
        folds,
        pseudo={name: Cuts.load(each) for name, each in pseudo.items()},
        blend=blend,
        workers=workers,
        share=share,
    )

    def scribe(progress: "Progress") -> FoldScribe:
        scribe = FoldScribe(folder, run.loggers, made.pictures, made.look, progress.epoch + 1)
        if not progress.epoch:
            scribe.show_crops(sheet_of(run, made))
        return scribe

    places = [torch.device(name) for name in devices]
    notes += filter(None, arithmetic(run.precision, places[0])[1:])
    reached = fit(made, places, advance, scribe, share=share)
    return FoldResult(
        run=run.name,
        fold=fold,
        metric=made.plan.metric,
        score=reached.best,
        weights=reached.kind,
        epoch=reached.best_epoch,
        last=reached.last,
        highest=reached.highest,
        epochs=reached.epoch,
        total=run.epochs,
        checkpoint=reached.checkpoint,
        seconds=round(time.monotonic() - began, 1),
        notes=tuple(notes),
    )


def _chosen(training: "TrainingRecipe", names: Sequence[str]) -> list["RunRecipe"]:
    """The runs of these names, in the order of the recipe."""
    unknown = [name for name in names if name not in training.runs]
    if unknown:
        raise TrainingError(
            f"{training.name}: found the run {unknown[0]:.60}, which does not exist. The runs are "
            f"{', '.join(training.runs)}"
        )
    return [run for name, run in training.runs.items() if not names or name in names]


def _refuse_missing_loggers(run: "RunRecipe") -> None:
    """Refuse loggers whose packages are not installed."""
    for name in run.loggers:
        if importlib.util.find_spec(name) is None:
            raise TrainingError(
                f"{run.name}: loggers: {name} is asked for, but it is not installed. Install the "
                f"package {name}, or leave it out of 'loggers'"
            )


def _jobs(
    training: "TrainingRecipe",
    run: "RunRecipe",
    wanted: Sequence[int],
    places: tuple[Path, Path, Path],
    workers: int,
    progress: bool,
    say: Callable[[str], None],
) -> list[_Job]:
    """Make the cuts of a run, begin its folder, and say what each of its folds needs."""
    from kernelkit.training.crops import CropData, make_pseudo_cuts
    from kernelkit.training.cuts import make_cuts
    from kernelkit.training.run_folder import begin_run
    from kernelkit.training.statistics import odd_statistics, with_found_statistics

    competition, output, cuts = places
    made = make_cuts(run, competition, cuts, workers, progress=progress)
    pseudo = make_pseudo_cuts(run, competition, cuts, workers, progress=progress)
    for note in (note for each in (made, *pseudo.values()) for note in each.notes):
        say(note)
    folds = made.folds
    numbers = sorted(set(wanted)) or range(folds.count)
    steps = {}
    for fold in numbers:
        data = CropData(run, made, folds, fold, pseudo)
        steps[fold] = data.steps_per_epoch
        for note in data.notes:
            say(f"{run.name}/fold_{fold}: {note}")
    if run.auto_statistics:
        run = with_found_statistics(run, made)
    elif note := odd_statistics(run, made):
        say(note)
    asked = {
        "recipe": run.plain(),
        "images and labels": _hash(made.index.images, made.index.polygons),
        "folds": _hash(folds.folds),
        "pseudo-labels": _hash({name: each.index.images for name, each in pseudo.items()}),
    }
    forget_changed(output / run.name, asked, say)
    folder = begin_run(run, output, folds)
    return [
        _Job(
            run,
            fold,
            FoldFolder(folder, fold),
            made.folder,
            {name: each.folder for name, each in pseudo.items()},
            folds,
            training.recipe.stitching.blend,
            asked,
            steps[fold],
        )
        for fold in numbers
    ]


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _finished(job: _Job) -> FoldResult | None:
    """The result of a fold that is finished, or None. A fold that was not begun is begun.

    Raises
    ------
    TrainingError
        There are checkpoints, and nothing says how they were trained.
    """
    from kernelkit.training.loop.files import FoldFiles

    files = FoldFiles(job.folder.path)
    record = files.read_record()
    if record is None and files.has_weights:
        raise TrainingError(
            f"{files.models}: found checkpoints, and no {files.record.name} that says how they "
            "were trained. Remove the folder, or choose another output"
        )
    known = {field.name for field in fields(FoldResult)}
    found = record and record["result"]
    if found and (not found["checkpoint"] or (files.models / found["checkpoint"]).is_file()):
        kept = {name: value for name, value in found.items() if name in known}
        return FoldResult(**kept | {"is_old": True, "notes": tuple(found["notes"])})
    if record is None or found:
        files.begin(job.asked)
    return None


def _in_processes(
    jobs: Sequence[_Job], machine: "Machine", devices: str, workers: int, progress: bool
) -> list[FoldResult]:
    """Train folds beside each other, or one on all devices."""
    from kernelkit.training.loop.machine import Share, free_port

    if not jobs:
        return []
    world = machine.shares(len(jobs), devices)
    names = tuple(str(device) for device in machine.devices)
    port = free_port() if world > 1 else 0
    tasks = [
        (job, names, workers, Share(rank, world, port)) for job in jobs for rank in range(world)
    ]
    results = in_processes(
        _run,
        tasks,
        workers=len(names),
        steps=sum(-(-job.steps // _ranks(job, world)) * job.run.epochs for job in jobs),
        say=lambda result: str(result) if result is not None else "",
        show=progress,
    )
    return [result for result in results if result is not None]


def _ranks(job: _Job, world: int) -> int:
    """By how much several devices shorten an epoch. They do not if its steps are given."""
    return 1 if job.run.steps else world


def _run(
    job: _Job, devices: Sequence[str], workers: int, share: "Share", seat: Seat
) -> FoldResult | None:
    """Train a fold, or a share of it. It is a process's main function."""
    from kernelkit.training.loop.files import FoldFiles

    result = train_fold(
        job.run,
        job.fold,
        job.folder,
        job.cuts,
        job.folds,
        devices if share.world > 1 else [devices[seat.number]],
        pseudo=job.pseudo,
        blend=job.blend,
        workers=workers,
        share=share,
        advance=seat.advance,
    )
    if share.rank:
        return None
    FoldFiles(job.folder.path).finish(job.asked, asdict(result))
    return result


def _refuse_without_checkpoint(
    results: Sequence[FoldResult], runs: Mapping[str, "RunRecipe"]
) -> None:
    """Refuse to end well with a fold that nothing can be predicted with."""
    without = [result for result in results if not result.checkpoint]
    if not without:
        return
    first = without[0]
    judged = runs[first.run].validate_
    floor = f" {judged.floor:g}" if judged else ""
    raise TrainingError(
        f"{', '.join(result.name for result in without)}: no checkpoint was written, because no "
        f"{first.metric} was above the floor{floor} (the highest of {first.name} is "
        f"{first.highest:.4f}). Train longer, or lower validate.floor, into another output"
    )
