"""Where the runs, folds and checkpoints lie below a models folder."""

import glob
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from kernelkit.checkpoints.checkpoint_files import SUFFIXES, is_unpacked
from kernelkit.checkpoints.descriptions import DESCRIPTIONS, from_folder_name
from kernelkit.errors import CheckpointError

__all__ = ["checkpoints_of", "folds_of", "matching_runs", "refuse_odd_checkpoints"]

_FOLD = re.compile(r"(?:fold_?)?(\d+)")
# One of the files that a large network is saved as.
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.(?!onnx)")
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
        # a bracket in a run's name is one of a pattern
        escaped = [glob.escape(run.name) for run in runs if run.name in unmatched]
        remedy = f"Write {', '.join(escaped)} into" if escaped else "Correct"
        raise CheckpointError(
            f"{folder}: no run matches {', '.join(unmatched)} (the runs are {found}). "
            f"{remedy} the recipe's 'runs', or choose another models folder"
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
            children = _shown(folder)
            found = [c for c in children if c.is_file() and _is_checkpoint(c)]
            found += [c for c in children if is_unpacked(c)]
            if found:
                return found
    return []


def refuse_odd_checkpoints(fold: Path) -> None:
    """Refuse a fold of which another checkpoint would be taken in silence, or a part of one.

    Raises
    ------
    CheckpointError
        What is called like a checkpoint is no file, or one of several parts.
    """
    folders = {path.parent for path in checkpoints_of(fold)} or {
        fold / "models",
        fold / "model",
        fold,
    }
    for path in (path for folder in sorted(folders) if folder.is_dir() for path in _shown(folder)):
        if not _is_checkpoint(path):
            continue
        if part := _PART.search(path.name):
            raise CheckpointError(
                f"{path}: this is part {int(part[1])} of {int(part[2])} of a checkpoint, wanted "
                "one file. Save the state dict of the whole network"
            )
        if not path.is_file() and not is_unpacked(path):
            what = "a folder" if path.is_dir() else "a link that leads nowhere"
            raise CheckpointError(
                f"{path}: found {what}, wanted a checkpoint. Copy it again, or remove it"
            )


def _shown(folder: Path) -> list[Path]:
    """What lies in a folder. Names with a dot first are those of unfinished or foreign files."""
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _is_checkpoint(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and path.name not in _OTHERS
