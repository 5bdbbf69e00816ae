"""The reference for tests of ensembles: networks called one by one, in float32."""

import numpy as np
import torch

from kernelkit.mask import BitMask
from kernelkit.recipe import EnsembleRecipe
from tests.made.networks import answer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ensemble(**section):
    return EnsembleRecipe.model_validate({"name": "test", **section})


def normalised(pixels):
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (MEAN, STD))
    return torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std)


def sequential(networks, pixels, turns=(lambda x: x,), backs=(lambda x: x,)):
    """Ask every network alone, in every view, in float32. The logits are by run, fold and view."""
    inputs = normalised(pixels)
    return {
        run: [
            [back(answer(module, turn(inputs))) for turn, back in zip(turns, backs, strict=True)]
            for module in folds
        ]
        for run, folds in networks.items()
    }


def dice(first, second):
    """Dice of two arrays of masks (..., h, w)."""
    one, other = (BitMask.from_array(a.reshape(-1, a.shape[-1])) for a in (first, second))
    return one.dice(other)
