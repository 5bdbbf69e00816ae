"""What a postprocess step may see beside the mask. Nothing is loaded before a step asks for it."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from numpy.typing import NDArray

from kernelkit.errors import MaskError

__all__ = ["Asked", "Seen", "asked_of"]

# What a step gets if one of its parameters has this name.
Asked = Literal["probabilities", "image", "label"]

_NAMES: tuple[Asked, ...] = ("probabilities", "image", "label")


@cache  # it is asked for each mask
def asked_of(function: Callable[..., Any]) -> frozenset[Asked]:
    """What a step asks for: those of its parameters that a run gives, not the recipe."""
    parameters = list(inspect.signature(function).parameters)[1:]
    return frozenset(name for name in _NAMES if name in parameters)


class Seen:
    """The probabilities and the pixels behind the masks of one image.

    Each is loaded when the first step asks for it, and kept while its masks are postprocessed.

    Parameters
    ----------
    probabilities
        Gives the (height, width) probabilities of the class of a number: uint8, or float32 of 0
        to 1. None if the store holds only masks.
    image
        Gives the pixels (C, height, width) at the mask's size, in the source's dtype. None if
        nobody can read them.
    """

    def __init__(
        self,
        probabilities: Callable[[int], NDArray[Any]] | None = None,
        image: Callable[[], NDArray[Any]] | None = None,
    ) -> None:
        self._load_probabilities = probabilities
        self._load_image = image
        self._image: NDArray[Any] | None = None

    def probabilities(self, label: int) -> NDArray[Any]:
        """The probabilities of class number `label`, (height, width).

        Raises
        ------
        MaskError
            The store holds only masks.
        """
        if self._load_probabilities is None:
            raise MaskError(
                "the step asks for probabilities, but only masks are stored. "
                "Write 'store: {what: probabilities}' in the recipe, and predict again"
            )
        return self._load_probabilities(label)

    def image(self) -> NDArray[Any]:
        """The pixels (C, height, width) at the mask's size.

        Raises
        ------
        MaskError
            Nobody can read them.
        """
        if self._load_image is None:
            raise MaskError(
                "the step asks for the image, but there are no image files here. "
                "Mount the competition's folder"
            )
        if self._image is None:
            self._image = self._load_image()
        return self._image
