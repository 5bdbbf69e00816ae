"""The sections about the competition: its folder and its submission."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Word
from kernelkit.vocabulary import Order

__all__ = ["Competition", "RLEConvention"]


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"found {path!r:.60}, wanted a path below the competition's folder")
    return path


Below = Annotated[str, AfterValidator(_below)]


class RLEConvention(Section):
    """How a mask becomes text.

    Attributes
    ----------
    order
        Of the mask's pixels: down the columns, or along the rows.
    base
        The position of the first pixel.
    empty
        What stands for a mask without pixels.
    """

    order: Order = "column"
    base: Literal[0, 1] = 1
    empty: str = ""

    @model_validator(mode="after")
    def _needs_no_quotes(self) -> Self:
        if any(mark in self.empty for mark in ',"\r\n'):
            raise ValueError(
                f"found {self.empty!r} as empty, wanted a text without comma, quote and line end"
            )
        return self


class Competition(Section):
    """What the competition's folder holds, and the columns that its submission wants.

    Attributes
    ----------
    slug
        Kaggle's name of the competition.
    images
        The test images, below the competition's folder: a folder, or a pattern. In a pattern
        `{image}` is the image's id, `{group}` what several images belong to, and `{band}` one of
        `bands`. `*`, `?` and `**` are those of a shell.
    bands
        What `{band}` stands for, in the order of the image's bands.
    suffixes
        In a folder, files with one of these suffixes are images. An image's id is its file's stem.
    sample
        The sample submission, below the competition's folder.
    classes
        The names of the submitted classes. None if there is one row per image.
    submitted
        The numbers of these classes among those that the networks answer with, counted from 0.
        Empty means all, in their order.
    rows
        How a row's id is made of `{image}` and `{class}`.
    id_column, rle_column
        The columns of the submission.
    rle
        How its masks become text.
    """

    slug: Word
    images: Below = "test"
    bands: tuple[Word, ...] = ()
    suffixes: Annotated[tuple[Word, ...], Field(min_length=1)] = (".tiff", ".tif")
    sample: Below = "sample_submission.csv"
    classes: tuple[Word, ...] = ()
    submitted: tuple[NonNegativeInt, ...] = ()
    rows: Word = "{image}"
    id_column: Word = "id"
    rle_column: Word = "predicted"
    rle: RLEConvention = RLEConvention()

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.id_column == self.rle_column:
            raise ValueError(
                f"found {self.id_column} as id_column and as rle_column, wanted two columns"
            )
        return self

    @model_validator(mode="after")
    def _rows_name_classes(self) -> Self:
        known = {"{image}", "{class}"} if self.classes else {"{image}"}
        found = set(re.findall(r"\{.*?\}", self.rows))
        if found != known:
            raise ValueError(
                f"found rows {self.rows!r} for {len(self.classes)} classes, wanted a form with "
                f"{' and '.join(sorted(known, reverse=True))}"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"found classes {', '.join(self.classes)}, wanted each name once")
        return self

    @model_validator(mode="after")
    def _one_number_per_class(self) -> Self:
        if self.submitted and len(self.submitted) != len(self.classes or ("",)):
            raise ValueError(
                f"found {len(self.submitted)} submitted classes for {len(self.classes or ('',))} "
                "row(s) per image, wanted one number per row"
            )
        return self

    @model_validator(mode="after")
    def _pattern_names_an_image(self) -> Self:
        places = re.findall(r"\{.*?\}", self.images)
        if not places and self.bands:
            raise ValueError("found bands without {band} in images, wanted a pattern with it")
        if not places:
            return self
        known = {"{image}", "{group}", "{band}"} if self.bands else {"{image}", "{group}"}
        if "{image}" not in places or not known.issuperset(places):
            raise ValueError(
                f"found images {self.images!r}, wanted a folder, or a pattern with {{image}} and "
                f"perhaps {{group}}{' and {band}' if self.bands else ''}"
            )
        return self

    @property
    def labels(self) -> tuple[int, ...]:
        """The number of the networks' class that each row of an image is about."""
        return self.submitted or tuple(range(max(1, len(self.classes))))
