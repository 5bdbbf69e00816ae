"""The sections about tiles: where they lie, which are read, how they become an image."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    model_validator,
)

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Below, Word
from kernelkit.vocabulary import Blend, Edges, Fill, Upsample

__all__ = ["ForegroundRule", "Stitching", "Tiles"]


def _kind_of_pad(value: Any) -> str:
    return _PAIR if isinstance(value, list | tuple) else _NUMBER


def _of_two(value: Any) -> Any:
    if len(value) != 2:
        raise ValueError(
            f"found {len(value)} numbers, wanted one for all sides, or two: [before, after]"
        )
    return value


# In brackets, because what has them is left out of messages.
_NUMBER, _PAIR = "pad[number]", "pad[pair]"
# Pixels on all sides, or those before and those after.
Pad = Annotated[
    Annotated[NonNegativeInt, Tag(_NUMBER)]
    | Annotated[tuple[NonNegativeInt, NonNegativeInt], BeforeValidator(_of_two), Tag(_PAIR)],
    Discriminator(_kind_of_pad),
]


class Tiles(Section):
    """The tile grid, in pixels of the source image. Or whole pictures, written `tiles: whole`.

    Attributes
    ----------
    core
        The side of the square that counts. 0 with whole pictures.
    pad
        The context on each of its sides. With whole pictures it may be `[before, after]`. Before
        are above and left, after are below and right.
    scale
        The whole factor by which a window is averaged down before the network sees it.
    edges
        With "pad", tiles at the border reach outside of the image. With "shift" they are moved
        inward.
    fill
        What stands outside of the image: "zero", "reflect" or "edge".
    whole
        Whether networks see each picture in one piece.
    """

    core: PositiveInt = 0
    pad: Pad = 0
    scale: PositiveInt = 1
    edges: Edges = "pad"
    fill: Fill = "zero"
    whole: bool = False

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of the word for whole pictures."""
        return Literal["whole"]

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != "whole":
                raise ValueError(f'found "{value:.60}", wanted keys with values, or the word whole')
            return {"whole": True}
        return value

    @model_validator(mode="after")
    def _tiles_or_pictures(self) -> Self:
        if self.whole:
            given = [name for name in ("core", "scale", "edges") if name in self.model_fields_set]
            if given:
                raise ValueError(
                    f"found {' and '.join(given)} with whole pictures, which have no tiles. Leave"
                    " that out, or leave out whole"
                )
        elif not self.core:
            raise ValueError("the key tiles.core is missing. Add it, or write tiles: whole")
        elif not isinstance(self.pad, int):
            raise ValueError(
                f"found the pad {list(self.pad)} with tiles, wanted one number for all sides. Two"
                " numbers are for whole pictures"
            )
        elif self.core % self.scale or self.pad % self.scale:
            raise ValueError(
                f"found core {self.core} and pad {self.pad}, wanted multiples of scale {self.scale}"
            )
        return self

    @property
    def pads(self) -> tuple[int, int]:
        """What is added before and after the pixels, on both axes."""
        return (self.pad, self.pad) if isinstance(self.pad, int) else self.pad

    @property
    def tile(self) -> int:
        """The side of the window that is read: core and both pads."""
        return self.core + sum(self.pads)

    @property
    def overlap(self) -> int:
        """How many pixels two neighbouring windows share."""
        return sum(self.pads)

    def describe(self, blend: Blend) -> str:
        """Return how an image is cut, and how tiles are stitched, in words."""
        if not self.whole:
            return (
                f"tiles of {self.tile} px, {self.core} px of them core, read at scale "
                f"{self.scale}, stitched by {blend}"
            )
        before, after = self.pads
        if not before and not after:
            return "whole pictures"
        return f"whole pictures, padded by {before} px before and {after} px after ({self.fill})"


class ForegroundRule(Section):
    """Which tiles are worth reading, judged on a thumbnail, or by polygons beside the images.

    Attributes
    ----------
    rule
        With "saturation", a pixel counts if its HSV saturation is above `above`. With "grey", it
        counts if it lies between `above` and `below`. With "polygons", it counts if a polygon of
        the image's file touches it.
    above, below
        The limits of the first two rules.
    files
        The file of polygons of each image, below the competition's folder. `{image}` and `{group}`
        stand in its name. An image without such a file has all tiles read.
    names
        Of these classes are the polygons that count. Left out, all count.
    fraction
        A tile is kept if more than this share of it counts. With polygons the default is 0.
    scale
        The thumbnail is this many times smaller than the image.
    """

    rule: Literal["saturation", "grey", "polygons"]
    files: Below | None = None
    names: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    above: float = 40
    below: float = 255
    fraction: Annotated[float, Field(ge=0, lt=1)] = 0.015
    scale: PositiveInt = 16

    @model_validator(mode="before")
    @classmethod
    def _one_pixel_of_a_polygon_counts(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("rule") == "polygons":
            return {"fraction": 0} | value
        return value

    @model_validator(mode="after")
    def _keys_of_the_rule(self) -> Self:
        is_drawn = self.rule == "polygons"
        foreign = ("above", "below") if is_drawn else ("files", "names")
        if given := [name for name in foreign if name in self.model_fields_set]:
            raise ValueError(
                f"found {' and '.join(given)} with the rule {self.rule}, which does not use it."
                " Leave it out"
            )
        if is_drawn and self.files is None:
            raise ValueError(
                'found the rule polygons without files. Write files: "test/{image}.json", as the'
                " files are called"
            )
        places = set(re.findall(r"\{.*?\}", self.files or ""))
        if is_drawn and (not places or places - {"{image}", "{group}"}):
            raise ValueError(
                f"found files {self.files!r:.60}, wanted a path with {{image}} or {{group}}, and"
                " no other place"
            )
        return self

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
