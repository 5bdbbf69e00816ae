"""What a run was asked for when it was begun, and whether that is what is asked for now."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kernelkit.errors import TrainingError, listed
from kernelkit.training.fold_folder import folds_in

__all__ = ["forget_changed"]

# How many differences of two recipes a message names.
_SHOWN = 3
# What is asked for as a hash, which says nothing to anybody.
_HASHED = ("images and labels", "folds", "pseudo-labels")


def forget_changed(run_folder: Path, asked: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Begin a run's folder anew, if its folds were asked for otherwise and none has an epoch.

    Parameters
    ----------
    run_folder
        The run's folder. It need not be there.
    asked
        The recipe, and the hashes of what it is trained on.
    say
        Takes the line about what changed.

    Raises
    ------
    TrainingError
        A fold is finished or has a checkpoint, which would be lost.
    """
    from kernelkit.training.loop.files import FoldFiles

    if not run_folder.is_dir():
        return
    folds = {fold.path.name: FoldFiles(fold.path) for fold in folds_in(run_folder)}
    records = {name: files.read_record() for name, files in folds.items()}
    found = (_differences(record["asked"], asked) for record in records.values() if record)
    differences = next(filter(None, found), [])
    if not differences:
        return
    changed = listed(differences, _SHOWN)
    trained = [
        name
        for name, files in folds.items()
        if files.has_weights or (records[name] or {}).get("result")
    ]
    if trained:
        raise TrainingError(
            f"{run_folder}: it holds what was trained otherwise ({', '.join(trained)}). Since then "
            f"this changed: {changed}. Choose another output, or remove this folder"
        )
    say(f"{run_folder.name}: begun anew, because this changed: {changed}")
    for files in folds.values():
        files.forget()
    for name in ("cfg.yaml", "folds.csv"):
        (run_folder / name).unlink(missing_ok=True)


def _differences(before: Any, now: Any, place: str = "") -> list[str]:
    """What differs between two plain values, each with what it was and is."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys((*before, *now))
        return [
            difference
            for key in keys
            for difference in _differences(
                before.get(key), now.get(key), f"{place}.{key}" if place else str(key)
            )
        ]
    if before == now or (isinstance(now, tuple) and before == list(now)):
        return []
    if place in _HASHED:
        return [place]
    place = place.removeprefix("recipe.")
    return [f"{place} was {_shown(before)} and is {_shown(now)}"]


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
