"""The section about one scale of the pyramid, and what scales may not have in common."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Patterns, overlap

__all__ = ["PictureSize", "PyramidScale", "refuse_unclear_scales"]


def _height_and_width(size: tuple[int, ...]) -> tuple[int, ...]:
    if len(size) != 2:
        raise ValueError(f"found {len(size)} value(s), wanted height and width, as [320, 480]")
    return size


# Height and width. The validator says so in its own words, and editors in theirs.
PictureSize = Annotated[
    tuple[PositiveInt, ...],
    AfterValidator(_height_and_width),
    Field(json_schema_extra={"minItems": 2, "maxItems": 2}),
]


class PyramidScale(Section):
    """One size at which tiles, or whole pictures, are looked at.

    Attributes
    ----------
    zoom
        How many times the tile is enlarged. Below 1 it is made smaller.
    size
        Height and width to which whole pictures are resized, instead of a zoom. It takes
        `tiles: whole`.
    runs
        Glob patterns of the runs that look at this size.
    weight
        The weight of this size in means and votes.
    """

    zoom: PositiveFloat = 1.0
    size: PictureSize | None = None
    runs: Patterns = ("*",)
    weight: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _zoom_or_size(self) -> Self:
        if self.size is not None and "zoom" in self.model_fields_set:
            raise ValueError(f"found a zoom and the size {list(self.size)}, wanted one of them")
        return self

    @property
    def label(self) -> str:
        """The scale in a word, such as `320x480`, or `0.5` for a zoom."""
        return f"{self.zoom:g}" if self.size is None else "x".join(map(str, self.size))

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of an image at this scale."""
        if self.size is not None:
            return self.size[0], self.size[1]
        return max(1, round(height * self.zoom)), max(1, round(width * self.zoom))


def refuse_unclear_scales(pyramid: Sequence[PyramidScale], runs: Patterns) -> None:
    """Refuse scales that mix zooms and sizes, name runs that are not there, or count twice.

    Raises
    ------
    ValueError
        With what was found, and what to do.
    """
    sized = [scale for scale in pyramid if scale.size is not None]
    if sized and len(sized) < len(pyramid):
        zoom = next(scale.zoom for scale in pyramid if scale.size is None)
        raise ValueError(
            f"found the size {list(sized[0].size or ())} and the zoom {zoom:g} in one pyramid."
            " Give each of its scales a size, or each a zoom"
        )
    for scale in pyramid:
        for run in scale.runs:
            if not set("*?[") & set(run) and not overlap((run,), runs):
                raise ValueError(
                    f"found {run} in a scale of the pyramid, which no pattern of runs names"
                    f" ({', '.join(runs)}). Add it there"
                )
    for number, scale in enumerate(pyramid):
        for other in pyramid[:number]:
            if scale.label == other.label and overlap(scale.runs, other.runs):
                kind = "zoom" if scale.size is None else "size"
                raise ValueError(
                    f"found two scales of the pyramid at {kind} {scale.label} with the same"
                    " runs, which would count twice. Use weight instead"
                )
