"""What the tests of ensembles compare with: networks called one by one, in float32."""

import numpy as np
import torch

from kernelkit.recipe import EnsembleRecipe
from tests.made.networks import answer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ensemble(**settings):
    return EnsembleRecipe.model_validate({"name": "test", **settings})


def normalised(pixels):
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (MEAN, STD))
    return torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std)


def sequential(networks, pixels, turns=(lambda x: x,), backs=(lambda x: x,)):
    """The reference: every network alone, every view alone, float32; logits by run, fold, view."""
    inputs = normalised(pixels)
    return {
        run: [
            [back(answer(module, turn(inputs))) for turn, back in zip(turns, backs, strict=True)]
            for module in folds
        ]
        for run, folds in networks.items()
    }


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())
