"""Trained runs at home beside a dataset that was made of them: which have other weights by now.

A dataset of weights notes the files that it was made from. These are the checkpoints that stand for
each fold, and what says how they were trained. A push compares them with those of now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from filelock import FileLock, Timeout

from devkit.kaggle.marks import FileMark, WeightsSource
from kernelkit.errors import CheckpointError, as_sentence
from kernelkit.vocabulary import Prefer

__all__ = ["Others", "changed_weights", "note_weights", "other_runs", "trained_runs"]


def note_weights(models_folder: Path, checkpoints: Mapping[str, Sequence[Prefer]]) -> WeightsSource:
    """Note the files of some runs as they are now.

    Parameters
    ----------
    models_folder
        The folder of the runs.
    checkpoints
        Which checkpoints of each run are taken, in the words of recipes.

    Raises
    ------
    CheckpointError
        It is not clear which checkpoints of a fold these are.
    """
    runs = _runs(models_folder)
    return WeightsSource(
        folder=models_folder.resolve(),
        files={
            name: {place: FileMark.of(path) for place, path in _taken(runs[name], words).items()}
            for name, words in checkpoints.items()
            if name in runs
        },
    )


def changed_weights(source: WeightsSource, checkpoints: Mapping[str, Sequence[Prefer]]) -> str:
    """Say which file of a packed run is not the same any more, or nothing.

    A run that is gone is none that changed, since the dataset keeps its weights. One that is being
    trained changes all the time, so that is left to whoever pushes.

    Parameters
    ----------
    source
        What was noted when the runs were packed.
    checkpoints
        Which checkpoints of each run were taken.
    """
    runs = _runs(source.folder)
    for name, noted in source.files.items():
        run = runs.get(name)
        if run is None or _is_in_training(run):
            continue
        try:
            taken = _taken(run, checkpoints.get(name, ()))
        except CheckpointError as error:
            return f"{run} has changed ({as_sentence(error)})"
        for place in sorted(noted.keys() | taken.keys()):
            path = run / place
            if place not in noted:
                return f"{path} is new"
            if not path.exists():
                return f"{path} has vanished"
            if place not in taken:
                return f"{path} is no longer taken"
            if not noted[place].is_of(path):
                return f"{path} has changed"
    return ""


@dataclass(frozen=True, slots=True)
class Others:
    """Runs that are not the same at home, and which a push may leave as they are.

    Attributes
    ----------
    gone
        Packed, and no longer there.
    in_training
        Packed, and trained right now.
    not_packed
        Named by the recipe, with a checkpoint, and not packed.
    """

    gone: tuple[str, ...]
    in_training: tuple[str, ...]
    not_packed: tuple[str, ...]


def other_runs(source: WeightsSource, patterns: Sequence[str]) -> Others:
    """Find the runs that differ from what was packed, but for those that changed.

    Parameters
    ----------
    source
        What was noted when the runs were packed.
    patterns
        Of the runs that the recipe names.
    """
    runs, packed = _runs(source.folder), source.files
    busy = {name for name, run in runs.items() if _is_in_training(run)}
    ended = [run.name for run in trained_runs(source.folder) if run.name not in busy]
    named = [name for name in ended if any(fnmatchcase(name, each) for each in patterns)]
    return Others(
        gone=tuple(name for name in packed if name not in runs),
        in_training=tuple(name for name in packed if name in busy),
        not_packed=tuple(name for name in named if name not in packed),
    )


def trained_runs(models_folder: Path) -> list[Path]:
    """The run folders in a models folder with a checkpoint in any fold."""
    from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of

    runs = _runs(models_folder).values()
    return [run for run in runs if any(checkpoints_of(fold) for fold in folds_of(run))]


def _runs(models_folder: Path) -> dict[str, Path]:
    """The run folders by name. None if there is no such folder."""
    if not models_folder.is_dir():
        return {}
    # torch takes seconds to import
    from kernelkit.checkpoints.run_folders import matching_runs

    try:
        return {run.name: run for run in matching_runs(models_folder, ["*"])}
    except CheckpointError:  # there is no run yet
        return {}


def _taken(run: Path, words: Sequence[Prefer]) -> dict[str, Path]:
    """The files of a run that are packed, by their places in it."""
    from kernelkit.checkpoints.checkpoint_files import checkpoint_stem
    from kernelkit.checkpoints.engine_record import ENGINE_SUFFIX
    from kernelkit.checkpoints.run_folders import checkpoints_of, folds_of
    from kernelkit.checkpoints.snapshots import Snapshot, choose_snapshots
    from kernelkit.checkpoints.trained_with import SETTINGS

    found: list[Path] = []
    for fold in folds_of(run):
        snapshots = [Snapshot.read(path, checkpoint_stem(path)) for path in checkpoints_of(fold)]
        if not snapshots:  # its training has just begun
            continue
        for choice in choose_snapshots(fold, snapshots, words):
            path = choice.snapshot.path
            found += sorted(each for each in path.rglob("*") if each.is_file()) or [path]
            above = [folder for folder in path.parents if folder.is_relative_to(run)]
            beside = [folder / name for folder in above for name in SETTINGS]
            beside.append(path.with_name(path.name + ENGINE_SUFFIX))
            found += [each for each in beside if each.is_file()]
    return {path.relative_to(run).as_posix(): path for path in found}


def _is_in_training(run: Path) -> bool:
    """Whether a training holds the lock of a run."""
    lock = run.with_name(f".{run.name}.lock")
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a disk that nobody can train on
        return False
