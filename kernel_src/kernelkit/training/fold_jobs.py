"""The folds of a run that are to be trained, and all that the process of each must know."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelkit.errors import TrainingError
from kernelkit.training.asked import forget_changed
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.fold_result import FoldResult

if TYPE_CHECKING:
    from kernelkit.training.folds import Folds
    from kernelkit.training.recipe import RunRecipe, TrainingRecipe
    from kernelkit.vocabulary import Blend

__all__ = ["FoldJob", "fold_jobs"]


@dataclass(frozen=True)
class FoldJob:
    """A fold, and all that its process must know.

    Attributes
    ----------
    run, fold
        The run, with mean and std, and which of its folds.
    folder
        Where it is written.
    cuts, pseudo
        The folders of the cuts, and those of pseudo-labels by the names of their sources.
    folds
        Which images validate.
    blend
        How tiles become one picture.
    asked
        What a finished fold must have been asked for: the recipe, and hashes of the data.
    steps
        The steps of an epoch.
    """

    run: "RunRecipe"
    fold: int
    folder: FoldFolder
    cuts: Path
    pseudo: Mapping[str, Path]
    folds: "Folds"
    blend: "Blend"
    asked: Mapping[str, Any]
    steps: int

    def result_before(self) -> FoldResult | None:
        """The result of a fold that is finished, or None. A fold that was not begun is begun.

        Raises
        ------
        TrainingError
            There are checkpoints, and nothing says how they were trained.
        """
        from kernelkit.training.loop.files import FoldFiles

        files = FoldFiles(self.folder.path)
        record = files.read_record()
        if record is None and files.has_weights:
            raise TrainingError(
                f"{files.models}: found checkpoints, and no {files.record.name} that says how they "
                "were trained. Remove the folder, or choose another output"
            )
        found = record and record["result"]
        if found and (not found["checkpoint"] or (files.models / found["checkpoint"]).is_file()):
            return FoldResult.of_record(found)
        if record is None or found:
            files.begin(self.asked)
        return None


def fold_jobs(
    training: "TrainingRecipe",
    run: "RunRecipe",
    *,
    competition: Path,
    output: Path,
    cuts: Path,
    folds: Sequence[int] = (),
    workers: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[FoldJob]:
    """Make the cuts of a run, begin its folder, and say what each of its folds needs.

    The parameters are those of `train`.
    """
    from kernelkit.training.crops import CropData, make_pseudo_cuts
    from kernelkit.training.cuts import make_cuts
    from kernelkit.training.run_folder import begin_run
    from kernelkit.training.statistics import odd_statistics, with_found_statistics

    made = make_cuts(run, competition, cuts, workers, progress=progress)
    pseudo = make_pseudo_cuts(run, competition, cuts, workers, progress=progress)
    for note in (note for each in (made, *pseudo.values()) for note in each.notes):
        say(note)
    numbers = sorted(set(folds)) or range(made.folds.count)
    steps = {}
    for fold in numbers:
        data = CropData(run, made, made.folds, fold, pseudo)
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
        "folds": _hash(made.folds.folds),
        "pseudo-labels": _hash({name: each.index.images for name, each in pseudo.items()}),
    }
    forget_changed(output / run.name, asked, say)
    folder = begin_run(run, output, made.folds)
    return [
        FoldJob(
            run=run,
            fold=fold,
            folder=FoldFolder(folder, fold),
            cuts=made.folder,
            pseudo={name: each.folder for name, each in pseudo.items()},
            folds=made.folds,
            blend=training.recipe.stitching.blend,
            asked=asked,
            steps=steps[fold],
        )
        for fold in numbers
    ]


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
