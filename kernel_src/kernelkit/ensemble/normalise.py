"""From the source's pixels to a network's input, on whatever device the pixels are."""

from functools import lru_cache

import torch
from torch import Tensor

from kernelkit.errors import RecipeError
from kernelkit.recipe import NetworkInput

__all__ = ["normalise"]


def normalise(tiles: Tensor, settings: NetworkInput) -> Tensor:
    """Bands chosen, scaled and normalised: float32 (N, bands, h, w) from any real dtype.

    `(x / divide - mean) / std`, or with `decibel` `(10 log10(x) - mean) / std`, where pixels
    without data (0 and below have no logarithm) become 0, the mean.

    Raises
    ------
    RecipeError
        The tiles have fewer bands than the settings name.
    """
    if tiles.shape[1] < max(settings.bands):
        raise RecipeError(
            f"the recipe's network input takes band {max(settings.bands)}, but the image has only "
            f"{tiles.shape[1]}; correct 'bands', or the 'when' of the ensemble."
        )
    values = tiles.to(torch.float32, copy=True)
    if settings.bands != tuple(range(1, tiles.shape[1] + 1)):
        values = torch.stack([values[:, band - 1] for band in settings.bands], dim=1)
    mean = _on_device(settings.mean, tiles.device)
    std = _on_device(settings.std, tiles.device)
    if not settings.decibel:
        return values.div_(settings.divide).sub_(mean).div_(std)  # in one array, not three
    normalised = (10 * values.log10() - mean) / std
    return torch.where(values > 0, normalised, 0.0)


@lru_cache
def _on_device(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """One number a band, kept on the device: bringing them up anew would make the GPU wait."""
    return torch.tensor(numbers, device=device)[:, None, None]
