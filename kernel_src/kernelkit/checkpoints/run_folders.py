"""Where the runs, folds and checkpoints lie below a models folder."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from kernelkit.checkpoints.checkpoint_files import SUFFIXES, is_unpacked
from kernelkit.checkpoints.descriptions import DESCRIPTIONS, from_folder_name
from kernelkit.errors import CheckpointError

__all__ = ["checkpoints_of", "folds_of", "matching_runs"]

_FOLD = re.compile(r"(?:fold_?)?(\d+)")
# No checkpoints: a part of one that was unpacked, and what an unfinished training goes on from.
_OTHERS = ("data.pkl", "resume.ckpt")


def matching_runs(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The folders of the runs whose names match a pattern, by their names.

    Names that begin with a dot are those of unfinished folders, and of no run.

    Raises
    ------
    CheckpointError
        There is no such models folder, or a pattern matches no run in it.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: found a file, wanted the models folder. Check the path")
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such models folder. Check the path")
    named = [child for child in folder.iterdir() if not child.name.startswith(".")]
    runs = sorted(child for child in named if _is_run(child))
    if _is_described(folder) or (not runs and _is_run(folder)):
        runs = [folder.absolute()]
    if patterns and not runs:
        raise CheckpointError(
            f"{folder}: found no run in it, wanted run folders with checkpoints. Train one, or "
            "choose another models folder"
        )
    unmatched = [p for p in patterns if not any(fnmatchcase(run.name, p) for run in runs)]
    if unmatched:
        found = ", ".join(run.name for run in runs)
        raise CheckpointError(
            f"{folder}: no run matches {', '.join(unmatched)} (the runs are {found}). "
            "Correct the recipe's 'runs', or choose another models folder"
        )
    return [run for run in runs if any(fnmatchcase(run.name, p) for p in patterns)]


def _is_run(folder: Path) -> bool:
    """Whether a folder looks like a training run, finished or not."""
    if not folder.is_dir():
        return False
    return _is_described(folder) or bool(_numbered(folder) or checkpoints_of(folder))


def _is_described(folder: Path) -> bool:
    named = from_folder_name(folder.name) is not None
    return named or any((folder / name).exists() for name in DESCRIPTIONS)


def _numbered(run: Path) -> list[Path]:
    folds = [(m, child) for child in run.iterdir() if (m := _FOLD.fullmatch(child.name))]
    return [fold for _, fold in sorted((int(m[1]), fold) for m, fold in folds if fold.is_dir())]


def folds_of(run: Path) -> list[Path]:
    """The folders of a run's folds. A run without folds is its own only fold."""
    return _numbered(run) or [run]


def checkpoints_of(fold: Path) -> list[Path]:
    """The checkpoints of a fold, from the first of its possible folders that has any."""
    for folder in (fold / "models", fold / "model", fold):
        if folder.is_dir():
            children = sorted(folder.iterdir())
            found = [c for c in children if c.is_file() and _is_checkpoint(c)]
            found += [c for c in children if is_unpacked(c)]
            if found:
                return found
    return []


def _is_checkpoint(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and path.name not in _OTHERS
