"""`normalise`: from the source's pixels to a network's input, on the pixels' own device."""

import torch
from torch import Tensor

from kernelkit.ensemble.device import on_device
from kernelkit.errors import RecipeError
from kernelkit.recipe import NetworkInput

__all__ = ["normalise", "refuse_decibels"]


def normalise(tiles: Tensor, wanted: NetworkInput) -> Tensor:
    """Choose the bands, scale them and normalise them.

    A value becomes `(x / divide - mean) / std`, or with `decibel` `(10 log10(x) - mean) / std`.
    Pixels without data become 0, which is the mean: what is no number or not finite, and with
    `decibel` what is 0 or less, because it has no logarithm.

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
    if wanted.decibel:
        normalised = (10 * values.log10() - mean) / std
        return torch.where((values > 0) & values.isfinite(), normalised, 0.0)
    normalised = values.div_(wanted.divide).sub_(mean).div_(std)  # in one array, not three
    if tiles.is_floating_point():
        normalised = normalised.nan_to_num_(0.0, 0.0, 0.0)
    return normalised


def refuse_decibels(tiles: Tensor, wanted: NetworkInput) -> bool:
    """Refuse values that are decibels already. Return whether that could be judged.

    Decibels of radar images are mostly negative, and powers never are. One negative value that
    stands everywhere, such as -9999, is no data.

    Raises
    ------
    RecipeError
        More than half of the values have no logarithm, and they differ from each other.
    """
    values = torch.stack([tiles[:, band - 1] for band in wanted.bands]).float()
    values = values[values.isfinite()]
    if len(values) == 0:
        return False
    below = values < 0
    nodata = values.min()
    varied = below & (values != nodata)
    if 2 * int(varied.sum()) > int((values != nodata).sum()):
        raise RecipeError(
            f"the input's 'decibel' takes logarithms, but most values are below 0 (from "
            f"{nodata:g} to {values.max():g}), as decibels are. Set 'decibel' to false, "
            "and 'divide' to 1"
        )
    return bool((values > 0).any())
