"""`normalise`: from the source's pixels to a network's input, on the pixels' own device."""

import torch
from torch import Tensor

from kernelkit.ensemble.device import on_device
from kernelkit.errors import RecipeError
from kernelkit.recipe import NetworkInput
from kernelkit.recipe.bands import BandExpression
from kernelkit.recipe.network import Decibel

__all__ = ["normalise", "refuse_decibels"]


def normalise(tiles: Tensor, wanted: NetworkInput) -> Tensor:
    """Make the network's bands of the image's, scale them and normalise them.

    A value becomes `(x / divide - mean) / std`, or with `decibel` `(10 log10(x) - mean) / std`.
    Pixels without data become 0, which is the mean, unless `decibel` gives them a value. They are
    what is no number or not finite. With `decibel` they are also what is 0 or below the floor.

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
    if tiles.shape[1] < wanted.highest_band:
        raise RecipeError(
            f"the recipe's network input takes band {wanted.highest_band}, but the image has only "
            f"{tiles.shape[1]}. Correct the input's 'bands', or the ensemble's 'when'"
        )
    mean = on_device(wanted.mean, tiles.device)[:, None, None]
    std = on_device(wanted.std, tiles.device)[:, None, None]
    decibel = wanted.decibel if isinstance(wanted.decibel, Decibel) else None
    values = tiles.to(torch.float32, copy=True)
    if decibel and decibel.of == "image":
        values = _in_decibels(values, decibel)
        if decibel.nodata is not None:
            values = values.nan_to_num_(decibel.nodata)
    values = _bands(values, wanted)
    if decibel and decibel.of == "bands":
        values = _in_decibels(values, decibel)
    if wanted.minmax:
        values = _stretched(values, wanted.minmax.power)
    if not decibel and not wanted.minmax:
        normalised = values.div_(wanted.divide).sub_(mean).div_(std)  # in one array, not three
        has_no_data = tiles.is_floating_point() or _calculates(wanted)
        return normalised.nan_to_num_(0.0, 0.0, 0.0) if has_no_data else normalised
    nodata = decibel.nodata if decibel else None
    missing = torch.zeros_like(mean) if nodata is None else (nodata - mean) / std
    return torch.where(values.isfinite(), (values - mean) / std, missing)


def _bands(values: Tensor, wanted: NetworkInput) -> Tensor:
    """The network's bands, of the image's (N, C, h, w)."""
    if wanted.bands == tuple(range(1, values.shape[1] + 1)):
        return values

    def band(number: int) -> Tensor:
        return values[:, number - 1]

    chosen = [
        band(each) if isinstance(each, int) else BandExpression.parse(each).value(band, torch)
        for each in wanted.bands
    ]
    return torch.stack(chosen, dim=1)


def _calculates(wanted: NetworkInput) -> bool:
    """Whether bands are divided or have logarithms, so that even integers give no number."""
    return any(isinstance(band, str) for band in wanted.bands)


def _in_decibels(values: Tensor, decibel: Decibel) -> Tensor:
    """Decibels of powers. They are NaN where there is no data."""
    held = (values > 0) & (values >= decibel.floor) & values.isfinite()
    return torch.where(held, 10 * values.log10(), torch.nan)


def _stretched(values: Tensor, power: float) -> Tensor:
    """Each band of each tile from 0 to 1, raised to a power. What is no number does not count."""
    held = values.isfinite()
    least = torch.where(held, values, torch.inf).amin((-2, -1), keepdim=True)
    greatest = torch.where(held, values, -torch.inf).amax((-2, -1), keepdim=True)
    spread = (greatest - least).clamp_min(torch.finfo(torch.float32).tiny)
    return torch.where(held, ((values - least) / spread) ** power, torch.nan)


def refuse_decibels(tiles: Tensor, wanted: NetworkInput) -> bool:
    """Refuse values that are decibels already. Return whether that could be judged.

    Decibels of radar images are mostly negative, and powers never are. One negative value that
    stands everywhere, such as -9999, is no data.

    Raises
    ------
    RecipeError
        More than half of the values have no logarithm, and they differ from each other.
    """
    values = torch.stack([tiles[:, band - 1] for band in sorted(wanted.image_bands)]).float()
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
