"""The section about labels: in which form they come, and where they lie."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Below, Word, no_doubles

__all__ = ["LabelsRecipe"]

_PLACES = re.compile(r"\{.*?\}")
_FORMS = ("rle", "masks", "soft", "polygons")
# Which other keys each form uses.
_KEYS = {
    "rle": ("id_column", "rle_column", "class_column", "size"),
    "masks": ("values",),
    "soft": (),
    "polygons": ("names", "all_touched"),
}
_Value = Annotated[int, Field(ge=1, le=65535)]
_Size = tuple[PositiveInt, PositiveInt]


class LabelsRecipe(Section):
    """Where the labels of the training images lie. One of the first four keys says the form.

    Paths lie below the competition's folder. `{image}`, `{group}` and `{class}` stand in the
    patterns, and the wildcards of a shell.

    Attributes
    ----------
    rle
        A table of run-length encodings, CSV or Parquet. They are written as the submission's, with
        an id per row as the competition's `rows` says. An image without a row is left out.
    masks
        A file of pixels per image, such as PNG or TIFF. It has one band per class, or one band with
        a value per class. With `{class}` there is a file per class. An image without a file is left
        out. If only files of some classes are missing, these classes are empty.
    soft
        As `masks`, but a value is the share of the pixel that is labelled, from 0 to 255.
    polygons
        A Shapefile, a GeoPackage or a GeoJSON, per image or per group. With `{class}` there is a
        file per class. An image that no polygon touches is empty. One without a file is left out.
    id_column, rle_column
        Columns of the table. Left out, they are those of the submission. Others are not read.
    class_column
        A column with the name of the class. Then an id is that of an image.
    size
        Height and width of the encoded masks, or "image" for those of each image. Left out, it is
        the size of the submitted masks.
    values
        The value of each class in a band of values. Left out, they are counted from 1. Other
        values than these and 0 are refused.
    names
        The name of each class among the polygons of a GeoJSON. If there is one class, its polygons
        have any of these names. Left out, they are the competition's classes. With one class, all
        polygons count then.
    all_touched
        Whether a pixel is labelled if a polygon touches it. If not, its centre must be inside.
    """

    rle: Below | None = None
    masks: Below | None = None
    soft: Below | None = None
    polygons: Below | None = None
    id_column: Word | None = None
    rle_column: Word | None = None
    class_column: Word | None = None
    size: _Size | Literal["image"] | None = None
    values: Annotated[tuple[_Value, ...], AfterValidator(no_doubles)] | None = None
    names: Annotated[tuple[Word, ...], Field(min_length=1), AfterValidator(no_doubles)] | None = (
        None
    )
    all_touched: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [form for form in _FORMS if getattr(self, form) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'no form of labels'}, wanted one of"
                f" {', '.join(_FORMS[:-1])} and {_FORMS[-1]}"
            )
        foreign = sorted(self.model_fields_set - {*_FORMS, *_KEYS[given[0]]})
        if foreign:
            raise ValueError(
                f"found {' and '.join(foreign)} with {given[0]}, which does not use it. Leave it"
                " out"
            )
        return self

    @model_validator(mode="after")
    def _pattern_tells_images_apart(self) -> Self:
        found = set(_PLACES.findall(self.files))
        known = set() if self.rle is not None else {"{image}", "{group}", "{class}"}
        if unknown := sorted(found - known):
            raise ValueError(
                f"found {unknown[0]} in {self.form} {self.files!r:.60}, which nothing fills. Known"
                f" here are {', '.join(sorted(known)) or 'no places'}"
            )
        if self.form in ("masks", "soft") and "{image}" not in found:
            raise ValueError(
                f"found {self.form} {self.files!r:.60}, which several images would share. Write"
                " {image} into it"
            )
        return self

    @property
    def form(self) -> str:
        """The form of the labels: "rle", "masks", "soft" or "polygons"."""
        return next(form for form in _FORMS if getattr(self, form) is not None)

    @property
    def files(self) -> str:
        """The path or the pattern of the labels' files."""
        return str(getattr(self, self.form))

    @property
    def has_file_per_class(self) -> bool:
        """Whether each class has files of its own."""
        return "{class}" in self.files
