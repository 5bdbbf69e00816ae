"""`normalise`: from the source's pixels to a network's input, on the pixels' own device."""

import torch
from torch import Tensor

from kernelkit.ensemble.device import on_device
from kernelkit.errors import RecipeError
from kernelkit.recipe import NetworkInput

__all__ = ["normalise"]


def normalise(tiles: Tensor, wanted: NetworkInput) -> Tensor:
    """Choose the bands, scale them and normalise them.

    A value becomes `(x / divide - mean) / std`, or with `decibel` `(10 log10(x) - mean) / std`.
    Pixels without data have no logarithm (they are 0 or less). They become 0, which is the mean.

    Parameters
    ----------
    tiles
        (N, C, h, w) of any real dtype.
    wanted
        What the networks take.

    Returns
    -------
    float32 (N, bands, h, w).

    Raises
    ------
    RecipeError
        The tiles have fewer bands than the recipe names.
    """
    if tiles.shape[1] < max(wanted.bands):
        raise RecipeError(
            f"the recipe's network input takes band {max(wanted.bands)}, but the image has only "
            f"{tiles.shape[1]}. Correct the input's 'bands', or the ensemble's 'when'"
        )
    values = tiles.to(torch.float32, copy=True)
    if wanted.bands != tuple(range(1, tiles.shape[1] + 1)):
        values = torch.stack([values[:, band - 1] for band in wanted.bands], dim=1)
    mean = on_device(wanted.mean, tiles.device)[:, None, None]
    std = on_device(wanted.std, tiles.device)[:, None, None]
    if not wanted.decibel:
        return values.div_(wanted.divide).sub_(mean).div_(std)  # in one array, not three
    normalised = (10 * values.log10() - mean) / std
    return torch.where(values > 0, normalised, 0.0)
