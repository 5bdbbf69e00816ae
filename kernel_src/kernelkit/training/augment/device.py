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

# On a processor so many values are made at a time, since they stay in its cache.
_CACHED = 1 << 20


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
        draws = batch.draws.cpu()
        targets = batch.labels.to(torch.float32).div_(255)
        if batch.pixels.device.type != "cpu":
            return self._made(batch.pixels, batch.held, draws), targets, batch.held
        count, _, height, width = batch.pixels.shape
        bands = len(self._input.bands)
        values = torch.empty(count, bands, height, width)
        step = max(1, _CACHED // (bands * height * width))
        for start in range(0, count, step):
            part = slice(start, start + step)
            held = None if batch.held is None else batch.held[part]
            values[part] = self._made(batch.pixels[part], held, draws[part])
        return values, targets, batch.held

    def _made(self, pixels: Tensor, held: Tensor | None, draws: Tensor) -> Tensor:
        """Augment and normalise crops."""
        plan = self._plan(pixels.shape[1])
        coloured = _coloured(pixels, plan.of("source"), draws, self._input.divide)
        values = normalise(coloured, self._input)
        for leaf in plan.of("normalised"):
            values = _applied(leaf, values, draws)
        if held is None or len(plan.moves) == len(plan.leaves):
            return values
        return torch.where(held[:, None], values, normalise(pixels, self._input))

    def _plan_for(self, bands: int) -> Plan:
        return plan_of(self._augment, bands, len(self._input.bands))


def _coloured(pixels: Tensor, leaves: Sequence[Leaf], draws: Tensor, divide: float) -> Tensor:
    """Pixels with other colours, in the values of the source. Crops that get none stay as is."""
    chosen = [leaf.chosen(draws.numpy()) for leaf in leaves]
    is_touched = np.logical_or.reduce(chosen) if chosen else np.zeros(len(pixels), np.bool_)
    if not is_touched.any():
        return pixels
    greatest = 1.0
    if not pixels.is_floating_point():
        most = torch.iinfo(pixels.dtype).max
        greatest = float(most) if most == 255 or divide <= 1 else divide
    values = pixels.to(torch.float32)
    at = _places(is_touched, values)
    some = (values if at is None else values[at]) / greatest
    for leaf in leaves:
        some = _applied(leaf, some, draws[torch.from_numpy(is_touched)])
    some = some * greatest
    return some if at is None else values.index_copy(0, at, some)


def _applied(leaf: Leaf, values: Tensor, draws: Tensor) -> Tensor:
    """Do a step to those crops that get it."""
    is_chosen = leaf.chosen(draws.numpy())
    if not is_chosen.any():
        return values
    at = _places(is_chosen, values)
    numbers = leaf.numbers(draws[torch.from_numpy(is_chosen)])
    changed = AUGMENTATIONS[leaf.name](values if at is None else values[at], leaf.values, numbers)
    return changed if at is None else values.index_copy(0, at, changed)


def _places(is_chosen: np.ndarray, values: Tensor) -> Tensor | None:
    """The numbers of some crops, on the device of `values`. None if they are all of them."""
    if is_chosen.all():
        return None
    return torch.from_numpy(is_chosen.nonzero()[0]).to(values.device)
