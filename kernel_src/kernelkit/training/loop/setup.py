"""From a run and its cuts to a fold that can be trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.ensemble.gates import emptiness_of
from kernelkit.ensemble.normalise import normalise
from kernelkit.grid import Window
from kernelkit.training.augment import OnDevice
from kernelkit.training.crops import CropBatch, CropData, contact_sheet
from kernelkit.training.cuts import CutImage, Cuts
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.folds import Folds
from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.loop.fold import Fold
from kernelkit.training.loop.machine import Share
from kernelkit.training.loop.module import Parts
from kernelkit.training.loop.rounds import Plan
from kernelkit.training.loop.validation import Look
from kernelkit.training.losses import Objective
from kernelkit.training.networks import build_network, freeze_parts
from kernelkit.training.optimisers import make_optimiser
from kernelkit.training.schedules import make_schedule
from kernelkit.vocabulary import Blend

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["fold_of", "look_of", "sheet_of"]

# Pixels of validation images that are looked at at once, at least.
_LEAST_PIXELS = 1 << 18


def _seed_of(run: "RunRecipe", fold: int) -> int:
    """Where the randomness of a fold begins."""
    return 1000 * run.seed + fold


def fold_of(
    run: "RunRecipe",
    fold: int,
    folder: FoldFolder,
    cuts: Cuts,
    folds: Folds,
    *,
    pseudo: Mapping[str, Cuts] | None = None,
    blend: Blend = "crop",
    workers: int = 0,
    share: Share | None = None,
) -> tuple[Fold, list[str]]:
    """Put a fold together. Notes say where its weights begin, and what went otherwise.

    Parameters
    ----------
    run, fold
        The run, and which of its folds.
    folder
        The fold's folder.
    cuts, folds
        The images, and which of them validate.
    pseudo
        The cuts of pseudo-labels, by the names of their sources.
    blend
        How tiles become one picture, as the recipe says.
    workers
        How many processes read crops.
    share
        Which of several processes that train it this is.

    Raises
    ------
    TrainingError
        The fold has nothing to train on, or no network can be made.
    """
    share = share or Share()
    seed = _seed_of(run, fold)
    crops = CropData(run, cuts, folds, fold, pseudo)
    network, notes = build_network(run, fold)
    made = Fold(
        run=run.name,
        parts=_parts(run, network),
        loader=crops.train_loader(seed, workers, share.rank, share.world),
        pictures={name: cuts.images[name] for name in folds.validation(fold)},
        look=look_of(run, blend),
        plan=_plan(run),
        files=FoldFiles(folder.path),
        seed=seed,
        ema=run.ema,
        accumulate=run.accumulate,
        precision=run.precision,
        clip=run.optimiser.clip,
        is_frozen=bool(run.freeze),
    )
    return made, [*notes, *crops.notes]


def sheet_of(run: "RunRecipe", fold: Fold) -> NDArray[np.uint8]:
    """The first crops as the network sees them, with their labels, as one picture."""
    pixels, targets, held = OnDevice(run)(next(fold.loader.batches(0)))
    return contact_sheet(pixels, targets, held, run.input)


def look_of(run: "RunRecipe", blend: Blend = "crop") -> Look:
    """How the networks of a run look at whole images."""
    whole, scale = run.tiles.whole, run.tiles.scale
    is_softmax = run.activation == "softmax" and run.outputs > 1
    judged = run.validate_
    crop = run.crop_size or (0, 0)

    def inner(picture: CutImage) -> Window:
        before, after = run.tiles.pads
        (top, bottom), (left, right) = (
            (round(before * side / full), round(after * side / full))
            for side, full in zip(
                (picture.height, picture.width),
                (side + before + after for side in picture.source_shape),
                strict=True,
            )
        )
        return Window(top, left, picture.height - top - bottom, picture.width - left - right)

    def present(logits: Tensor) -> Tensor:
        assert run.gate is not None
        return emptiness_of(logits, run.gate) <= run.gate.above

    return Look(
        normalise=lambda pixels: normalise(pixels, run.input),
        activation=run.activation,
        labels=run.class_numbers,
        threshold=None if is_softmax or judged is None else judged.threshold,
        core=0 if whole else run.tiles.core // scale,
        pad=0 if whole else run.tiles.pads[0] // scale,
        edges=run.tiles.edges,
        blend=blend,
        inner=inner if whole and any(run.tiles.pads) else None,
        batch=max(_LEAST_PIXELS, run.batch * crop[0] * crop[1]),
        confuses=judged is not None and judged.metric in ("mean_iou", "mean_f1"),
        present=present if run.task == "classify" else None,
    )


def _parts(run: "RunRecipe", network: nn.Module) -> Parts:
    prepare, objective = OnDevice(run), Objective(run)

    def prepared(batch: CropBatch) -> tuple[Any, ...]:
        return *prepare(batch), batch.weights

    return Parts(
        network=network,
        prepare=prepared,
        lose=objective,
        optimiser=lambda network: make_optimiser(run.optimiser, network),
        schedule=lambda optimiser, updates: make_schedule(
            run.schedule, optimiser, run.epochs, updates
        ),
        freeze=lambda network, epoch: freeze_parts(network, run, epoch),
    )


def _plan(run: "RunRecipe") -> Plan:
    judged = run.validate_
    return Plan(
        epochs=run.epochs,
        every=judged.every if judged else None,
        metric=judged.metric if judged else "",
        floor=judged.floor if judged else 0.0,
        keep=run.keep,
        snapshots=frozenset(run.snapshot_epochs),
        patience=run.patience,
    )
