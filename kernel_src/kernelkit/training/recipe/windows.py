"""The sections about windows: where they lie, which are dropped, and how crops are cut of them."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Below, Word, no_doubles

__all__ = ["BlankRule", "Crop", "Source", "WindowSource"]

Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[Word, ...], Field(min_length=1), AfterValidator(no_doubles)]
# Which keys each kind of window uses, beside `around`.
_KEYS = {
    "objects": {"size"},
    "grid": {"size", "step"},
    "background": {"size", "count"},
    "polygons": {"size", "polygons", "names", "count"},
    "picture": set(),
}


class WindowSource(Section):
    """Windows of one kind, in pixels of the training scale.

    Attributes
    ----------
    around
        What the windows lie around. "objects" is one window per component of the labels, centred on
        its centroid. "grid" covers the image. "background" is random windows without any label.
        "polygons" is one window per polygon of another file. "picture" is the whole picture.
    size
        The side of a window.
    step
        The distance of two windows of a grid. Left out, it is the size.
    count
        How many windows of the background an image gives. For polygons, how many random windows lie
        inside of each. Left out, there is one at the centre.
    polygons
        The files of the polygons, below the competition's folder. `{image}` and `{group}` stand in
        the name.
    names
        Of these classes are the polygons that count. Left out, all count.
    """

    around: Literal["objects", "grid", "background", "polygons", "picture"]
    size: PositiveInt | None = None
    step: PositiveInt | None = None
    count: PositiveInt | None = None
    polygons: Below | None = None
    names: Names | None = None

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> Self:
        foreign = sorted(self.model_fields_set - _KEYS[self.around] - {"around"})
        if foreign:
            raise ValueError(
                f"found {' and '.join(foreign)} with windows around {self.around}, which do not use"
                " it. Leave it out"
            )
        needed = {"background": "count", "polygons": "polygons"}.get(self.around)
        missing = [
            name
            for name in ("size", needed)
            if name in _KEYS[self.around] and getattr(self, name) is None
        ]
        if missing:
            raise ValueError(
                f"found windows around {self.around} without {' and '.join(missing)}. Add it"
            )
        return self


class BlankRule(Section):
    """Which windows are blank, and how many of these are dropped. All limits have to hold.

    Attributes
    ----------
    mean_below, mean_above
        Limits of the mean over all pixels and bands, in the values of the source.
    std_below
        The limit of the standard deviation of the same.
    dark, share_above
        Blank is a window of which more than this share of the pixels is below `dark`. A pixel's
        value is the mean of its bands.
    drop
        The share of the blank windows that is dropped.
    windows
        The names of the windows that are judged. Left out, all are.
    """

    mean_below: float | None = None
    mean_above: float | None = None
    std_below: PositiveFloat | None = None
    dark: float | None = None
    share_above: Share | None = None
    drop: Annotated[float, Field(gt=0, le=1)] = 1.0
    windows: Names | None = None

    @model_validator(mode="after")
    def _says_a_limit(self) -> Self:
        if not self.model_fields_set - {"drop", "windows"}:
            raise ValueError(
                "found a rule without a limit, wanted one of mean_below, mean_above, std_below and"
                " dark"
            )
        if (self.dark is None) != (self.share_above is None):
            raise ValueError("found one of dark and share_above, wanted both of them or none")
        return self


class Source(Section):
    """What crops are drawn from, and how often. A bare number is the weight.

    Attributes
    ----------
    windows
        The name of the windows. Left out, it is the name of the source.
    pseudo
        The folder of a store of probabilities, or of 8-bit pictures called as their images. They
        are the labels. A path that is not absolute begins at the competition's folder.
    files
        The images of the pseudo-labels, as `images` has those with labels. Left out, they are the
        same.
    weight
        How many times each window is drawn per epoch. 0.5 draws every other one.
    images
        Which images count, as shell patterns of their ids. Left out, all do.
    target
        The share of the crops that come from windows with a labelled pixel. `true` is all of them,
        and `false` none. Left out, windows are drawn alike.
    soft
        Whether stored probabilities are labels as they are. Else they are decided at 0.5.
    least
        Pixels count only if the stored probability of their label is at least this. Windows without
        such a pixel are left out.
    loss_weight
        What the loss of a crop is multiplied by.
    """

    windows: Word | None = None
    pseudo: Word | None = None
    files: Below | None = None
    weight: PositiveFloat = 1.0
    images: Names | None = None
    target: bool | Share | None = None
    soft: bool = False
    least: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    loss_weight: PositiveFloat = 1.0

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of a weight."""
        return PositiveFloat

    @model_validator(mode="before")
    @classmethod
    def _from_weight(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"weight": value} if is_number else value

    @model_validator(mode="after")
    def _pseudo_keys(self) -> Self:
        given = sorted(self.model_fields_set & {"files", "soft", "least"})
        if self.pseudo is None and given:
            raise ValueError(
                f"found {' and '.join(given)} without pseudo, wanted the folder of a store there."
                " Add it, or leave that out"
            )
        return self


def _sized(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"size": value} if is_number else value


class Crop(Section):
    """The square that is cut out of a window. A bare number is its size.

    Attributes
    ----------
    size
        Its side, in pixels of the training scale.
    random
        The share of the crops that lie anywhere in the window. The others lie at its centre.
    """

    size: PositiveInt
    random: Share = 1.0


CropOrSize = Annotated[Crop, BeforeValidator(_sized, json_schema_input_type=PositiveInt | Crop)]
