"""`train_fold`: one fold in this process, from its first epoch or from where it was killed."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.fold_result import FoldResult

if TYPE_CHECKING:
    from kernelkit.training.folds import Folds
    from kernelkit.training.loop.machine import Share
    from kernelkit.training.loop.rounds import Progress
    from kernelkit.training.recipe import RunRecipe
    from kernelkit.vocabulary import Blend

__all__ = ["train_fold"]


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
