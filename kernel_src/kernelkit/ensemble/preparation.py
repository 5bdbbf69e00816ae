"""`Preparation`: pixels in the source's dtype become the networks' input, on the device."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernelkit.ensemble.asked import Pixels
from kernelkit.ensemble.normalise import normalise, refuse_decibels
from kernelkit.ensemble.transfer import Uploader
from kernelkit.errors import RecipeError, kind_of
from kernelkit.recipe import NetworkInput

__all__ = ["Preparation", "Preprocess"]

# Tiles (N, C, h, w) in the source's dtype, on the device -> the networks' float32 input.
Preprocess = Callable[[Tensor], Tensor]


class Preparation:
    """Brings pixels onto the device, and makes the networks' input of them.

    Parameters
    ----------
    device
        Where the networks compute.
    wanted
        What the networks take.
    preprocess
        Stands instead of `wanted`, if it is given.
    """

    def __init__(
        self, device: torch.device, wanted: NetworkInput, preprocess: Preprocess | None
    ) -> None:
        self._upload = Uploader(device)
        self._wanted = wanted
        self._preprocess = preprocess
        self._is_judging = True  # until a batch shows whether its values have logarithms

    def __call__(self, pixels: Pixels) -> Tensor:
        """The networks' input of tiles (N, C, h, w), or of a list of N tiles.

        Raises
        ------
        RecipeError
            The pixels are not what the recipe's input says, or `preprocess` gave no such input.
        """
        images = self._upload(pixels)
        if self._preprocess is not None:
            return _checked(self._preprocess(images), images)
        if self._is_judging and self._wanted.decibel:
            self._is_judging = not refuse_decibels(images, self._wanted)
        return normalise(images, self._wanted)


def _checked(prepared: Any, images: Tensor) -> Tensor:
    """What a function of the user's own made of images, if networks can look at it."""
    wanted = len(images), *images.shape[-2:]
    if not isinstance(prepared, Tensor):
        found = kind_of(prepared)
    elif (
        prepared.is_floating_point()
        and prepared.ndim == 4
        and (len(prepared), *prepared.shape[-2:]) == wanted
    ):
        return prepared.float()
    else:
        found = f"{prepared.dtype} {tuple(prepared.shape)}"
    count, height, width = wanted
    raise RecipeError(
        f"preprocess_fn: it gave {found}, but a float32 tensor ({count}, channels, {height}, "
        f"{width}) was wanted. Correct the function"
    )
