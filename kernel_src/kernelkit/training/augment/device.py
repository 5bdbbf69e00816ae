"""`OnDevice`: from a batch of crops to what a network is trained on, on the device of the batch."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kernelkit.ensemble.normalise import normalise
from kernelkit.recipe import NetworkInput
from kernelkit.training.augment.colour import AUGMENTATIONS
from kernelkit.training.augment.plan import Leaf, Plan, plan_of

if TYPE_CHECKING:
    from kernelkit.training.crops import CropBatch
    from kernelkit.training.recipe import RunRecipe

__all__ = ["OnDevice"]


class OnDevice:
    """Colour augmentation and the normalisation of inference.

    Parameters
    ----------
    run
        Says how crops are augmented.
    wanted
        What the networks take. None is what the run says.
    """

    def __init__(self, run: "RunRecipe", wanted: NetworkInput | None = None) -> None:
        self._augment = run.augment
        self._input = wanted or run.input
        self._plan = cache(self._plan_for)

    def __call__(self, batch: "CropBatch") -> tuple[Tensor, Tensor, Tensor | None]:
        """Make a network's input and its targets.

        Pixels without data are seen as in inference. Nothing changes their colour.

        Returns
        -------
        The pixels, float32 (N, bands, S, S). The targets, float32 (N, K, S, S) from 0 to 1. Where
        there is data, bool (N, S, S), or None if everywhere.
        """
        plan = self._plan(batch.pixels.shape[1])
        draws = batch.draws.cpu()
        pixels = _coloured(batch.pixels, plan.of("source"), draws, self._input.divide)
        values = normalise(pixels, self._input)
        for leaf in plan.of("normalised"):
            _apply(leaf, values, draws)
        if batch.held is not None and len(plan.moves) < len(plan.leaves):
            plain = normalise(batch.pixels, self._input)
            values = torch.where(batch.held[:, None], values, plain)
        return values, batch.labels.to(torch.float32).div_(255), batch.held

    def _plan_for(self, bands: int) -> Plan:
        return plan_of(self._augment, bands, len(self._input.bands))


def _coloured(pixels: Tensor, leaves: Sequence[Leaf], draws: Tensor, divide: float) -> Tensor:
    """Pixels with other colours, in the values of the source. Crops that get none stay as is."""
    chosen = [leaf.chosen(draws.numpy()) for leaf in leaves]
    touched = torch.from_numpy(np.logical_or.reduce(chosen).nonzero()[0]) if chosen else None
    if touched is None or not len(touched):
        return pixels
    greatest = 1.0
    if not pixels.is_floating_point():
        most = torch.iinfo(pixels.dtype).max
        greatest = float(most) if most == 255 or divide <= 1 else divide
    values = pixels.to(torch.float32, copy=True)
    at = touched.to(pixels.device)
    some = values[at] / greatest
    for leaf in leaves:
        _apply(leaf, some, draws[touched])
    values[at] = some * greatest
    return values


def _apply(leaf: Leaf, values: Tensor, draws: Tensor) -> None:
    """Do a step to those crops that get it, in their place."""
    chosen = torch.from_numpy(leaf.chosen(draws.numpy()).nonzero()[0])
    if len(chosen):
        at = chosen.to(values.device)
        change = AUGMENTATIONS[leaf.name]
        values[at] = change(values[at], leaf.values, leaf.numbers(draws[chosen]))
