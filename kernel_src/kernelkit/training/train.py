"""`train`: from a competition's training images to run folders that inference reads.

The parent makes the cuts and begins run folders (`fold_jobs`). It starts a process per fold
(`fold_processes`), and each trains its own (`train_fold`). Torch is imported late, so that what is
wrong with names is said at once.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.errors import KernelKitError, TrainingError
from kernelkit.training.alone import training_alone
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.fold_jobs import FoldJob, fold_jobs
from kernelkit.training.fold_processes import train_folds
from kernelkit.training.fold_result import FoldResult

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe, TrainingRecipe

__all__ = ["train"]


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
    RecipeError
        There is no such run.
    TrainingError
        Recipe, images and folders contradict each other. What is trained would be lost. Another
        training writes to a run. A training cannot go on. A fold has no checkpoint, because no
        score was above the floor.
    OutputError
        Something cannot be written.
    """
    from kernelkit.training.loop.machine import Machine
    from kernelkit.training.run_folder import finish_run

    chosen = training.chosen_runs(runs)
    for run in chosen:
        _refuse_missing_loggers(run)
    machine = Machine.of(devices)
    jobs: list[FoldJob] = []
    said: set[str] = set()

    def say_once(line: str) -> None:  # runs that share cuts share what was noticed
        if line not in said:
            said.add(line)
            say(line)

    with training_alone(output / run.name for run in chosen):
        for run in chosen:
            jobs += fold_jobs(
                training,
                run,
                competition=competition,
                output=output,
                cuts=cuts,
                folds=folds,
                workers=workers,
                progress=progress,
                say=say_once,
            )
        done = {job.folder: job.result_before() for job in jobs}
        waiting = [job for job in jobs if done[job.folder] is None]
        run_folders = dict.fromkeys(job.folder.run_folder for job in jobs)
        if waiting:
            say(f"starting {len(waiting)} fold{'s' * (len(waiting) > 1)}")
        try:
            for result in train_folds(waiting, machine, devices, workers, progress):
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


def _refuse_missing_loggers(run: "RunRecipe") -> None:
    """Refuse loggers whose packages are not installed."""
    for name in run.loggers:
        if importlib.util.find_spec(name) is None:
            raise TrainingError(
                f"{run.name}: loggers: {name} is asked for, but it is not installed. Install the "
                f"package {name}, or leave it out of 'loggers'"
            )


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
