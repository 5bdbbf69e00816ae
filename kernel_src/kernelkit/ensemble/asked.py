"""The images that a model is asked about, as they come from their reader.

They become questions batch by batch: a part is brought onto the device and normalised.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.ensemble.questions import PictureQuestion, Question, TileQuestion
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe

__all__ = ["Asked", "AskedPictures", "AskedTiles", "Pixels", "gate_place", "input_sizes"]

# A batch (N, C, h, w) of tiles, or a list of N tiles (C, h, w), in the source's dtype.
Pixels = NDArray | Sequence[NDArray]
# Brings pixels onto the device, and makes the networks' float32 input of them.
_Prepare = Callable[[Pixels], Tensor]


class Asked(Protocol):
    """Images of one shape."""

    @property
    def shapes(self) -> Hashable:
        """What a memory plan for them depends on."""

    def __len__(self) -> int:
        """How many images there are."""

    def question(self, batch: slice) -> Question:
        """The question about some of the images."""

    def empty(self, count: int) -> Self:
        """As many images of zeros, of the same shapes."""


@dataclass(frozen=True, eq=False)
class AskedTiles:
    """Tiles of one size.

    Attributes
    ----------
    pixels
        One tile or more, in the source's dtype.
    indices
        The tiles' indices in their grid.
    prepare
        Makes the networks' input of pixels.
    """

    pixels: Pixels
    indices: Sequence[int]
    prepare: _Prepare

    @property
    def shapes(self) -> Hashable:
        """Bands, height and width of a tile."""
        return self.pixels[0].shape

    def __len__(self) -> int:
        """How many tiles there are."""
        return len(self.pixels)

    def question(self, batch: slice) -> Question:
        """The question about some of the tiles."""
        return TileQuestion((self.prepare(self.pixels[batch]),), self.indices[batch])

    def empty(self, count: int) -> Self:
        """As many tiles of zeros, of the same size."""
        tile = self.pixels[0]
        return replace(
            self, pixels=np.zeros((count, *tile.shape), tile.dtype), indices=range(count)
        )


@dataclass(frozen=True, eq=False)
class AskedPictures:
    """Whole pictures of one size, once per size at which they are looked at.

    Attributes
    ----------
    inputs
        One array (N, C, h, w) per size (see `input_sizes`), in the source's dtype.
    indices
        The pictures' numbers.
    prepare
        Makes the networks' input of pixels.
    pads
        The pixels before and after the picture, on both axes, at the source's size.
    source
        Height and width of the source without pads.
    size
        Height and width of the answers.
    """

    inputs: Sequence[NDArray]
    indices: Sequence[int]
    prepare: _Prepare
    pads: tuple[int, int]
    source: tuple[int, int]
    size: tuple[int, int]

    @property
    def shapes(self) -> Hashable:
        """The shape of a picture at each size, and that of the answers."""
        return tuple(images.shape[1:] for images in self.inputs), self.size

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.inputs[0])

    def question(self, batch: slice) -> Question:
        """The question about some of the pictures."""
        height, width = (side + sum(self.pads) for side in self.source)
        return PictureQuestion(
            inputs=tuple(self.prepare(images[batch]) for images in self.inputs),
            indices=self.indices[batch],
            pads=self.pads,
            padded=(height, width),
            wanted=self.size,
        )

    def empty(self, count: int) -> Self:
        """As many pictures of zeros, of the same sizes."""
        inputs = [np.zeros((count, *images.shape[1:]), images.dtype) for images in self.inputs]
        return replace(self, inputs=inputs, indices=range(count))

    @classmethod
    def of(
        cls,
        recipe: EnsembleRecipe,
        inputs: Sequence[NDArray],
        indices: Sequence[int] | None,
        prepare: _Prepare,
        *,
        crop: tuple[int, int],
        source: tuple[int, int] | None,
        size: tuple[int, int] | None,
    ) -> Self:
        """The pictures, if they are what the recipe's ensemble looks at.

        Parameters
        ----------
        source
            With None, the first input has the source's size and its pads.
        size
            With None, it is that of the first input without its pads.

        Raises
        ------
        RecipeError
            There are more or fewer inputs than sizes, their numbers differ, or the pads are as
            large as a picture.
        """
        wanted = len(input_sizes(recipe, 1, 1))
        if len(inputs) != wanted:
            raise RecipeError(
                f"{recipe.name}: found pictures at {len(inputs)} sizes, wanted {wanted}, one per "
                "scale of the pyramid. Resize them to what 'sizes' gives"
            )
        counts = {len(images) for images in inputs}
        if len(counts) > 1:
            raise RecipeError(
                f"{recipe.name}: found {', '.join(map(str, sorted(counts)))} pictures at the sizes "
                "of one batch, wanted as many at each"
            )
        height, width = inputs[0].shape[-2:]
        high, wide = source or (height - sum(crop), width - sum(crop))
        if min(high, wide) < 1:
            raise RecipeError(
                f"{recipe.name}: found pads of {crop[0]} and {crop[1]} on pictures of {height} x "
                f"{width}, wanted pads that leave something. Correct the tiles' 'pad'"
            )
        if size is None:
            size = _inner(height, high, crop), _inner(width, wide, crop)
        indices = range(len(inputs[0])) if indices is None else indices
        return cls(inputs, indices, prepare, crop, (high, wide), size)


def _inner(side: int, source: int, pads: tuple[int, int]) -> int:
    """The side of a picture without its pads, as a network sees it."""
    return max(1, round(side * source / (source + sum(pads))))


def input_sizes(recipe: EnsembleRecipe, height: int, width: int) -> list[tuple[int, int]]:
    """The sizes at which whole pictures of `height` x `width` are looked at.

    There is one per scale of the pyramid, in its order. A gate's own size comes last, if no scale
    has it.
    """
    sizes = [scale.size_of(height, width) for scale in recipe.pyramid]
    if gate_place(recipe) == len(sizes) and recipe.gate and recipe.gate.size:
        high, wide = recipe.gate.size
        sizes.append((high, wide))
    return sizes


def gate_place(recipe: EnsembleRecipe) -> int:
    """Which of the inputs the gate sees: that of its own size, or else the first."""
    size = recipe.gate.size if recipe.gate else None
    if size is None:
        return 0
    sizes = [scale.size for scale in recipe.pyramid]
    return sizes.index(size) if size in sizes else len(sizes)
