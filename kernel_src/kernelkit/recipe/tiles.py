"""The sections about tiles: where they lie, which are read, how they become an image."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from kernelkit.recipe.section import Section
from kernelkit.vocabulary import Blend, Edges, Fill, Upsample

__all__ = ["ForegroundRule", "Stitching", "Tiles"]


class Tiles(Section):
    """The tile grid, in pixels of the source image.

    Attributes
    ----------
    core
        The side of the square that counts.
    pad
        The context on each of its sides.
    scale
        The whole factor by which a window is averaged down before the network sees it.
    edges
        With "pad", tiles at the border reach outside of the image. With "shift" they are moved
        inward.
    fill
        What stands outside of the image: "zero", "reflect" or "edge".
    """

    core: PositiveInt
    pad: NonNegativeInt = 0
    scale: PositiveInt = 1
    edges: Edges = "pad"
    fill: Fill = "zero"

    @model_validator(mode="after")
    def _scale_divides(self) -> Self:
        if self.core % self.scale or self.pad % self.scale:
            raise ValueError(
                f"found core {self.core} and pad {self.pad}, wanted multiples of scale {self.scale}"
            )
        return self

    @property
    def tile(self) -> int:
        """The side of the window that is read: core and both pads."""
        return self.core + 2 * self.pad

    @property
    def overlap(self) -> int:
        """How many pixels two neighbouring windows share."""
        return 2 * self.pad


class ForegroundRule(Section):
    """Which tiles are worth reading, judged on a thumbnail.

    Attributes
    ----------
    rule
        With "saturation", a pixel counts if its HSV saturation is above `above`. With "grey", it
        counts if it lies between `above` and `below`.
    above, below
        The limits of the rule.
    fraction
        A tile is kept if more than this share of it counts.
    scale
        The thumbnail is this many times smaller than the image.
    """

    rule: Literal["saturation", "grey"]
    above: float = 40
    below: float = 255
    fraction: Annotated[float, Field(ge=0, lt=1)] = 0.015
    scale: PositiveInt = 16

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        highest = 255.0 if self.rule == "saturation" else self.below
        if self.above >= highest:
            raise ValueError(
                f"found above {self.above:g}, wanted less than {highest:g}. Else no pixel counts"
            )
        return self


class Stitching(Section):
    """How tiles become an image.

    Attributes
    ----------
    blend
        How overlapping tiles become one picture: "crop", "mean", "linear", "hann" or "gaussian".
    upsample
        With "tile", each tile's probabilities are enlarged and then thresholded (HuBMAP). With
        "band", tiles are blended at the network's scale and finished rows enlarged (deepflash2).
    """

    blend: Blend = "crop"
    upsample: Upsample = "tile"

    @property
    def is_crop(self) -> bool:
        """Whether each tile's core is final by itself and can be thresholded at once."""
        return self.blend == "crop" and self.upsample == "tile"
