"""The section about the competition: its folder and its submission."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from kernelkit.recipe.convention import RLEConvention
from kernelkit.recipe.maps import Output
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Below, Word

__all__ = ["Competition"]

_PLACE = re.compile(r"\{.*?\}")
_OF_SIZES = {"{height}", "{width}"}


class Competition(Section):
    """What the competition's folder holds, and the columns that its submission wants.

    A submission has one row per image, or one per image and class.

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
        The sample submission, below the competition's folder, CSV or Parquet. The submission is of
        the same kind, with the columns in the same order.
    classes
        The names of the submitted classes. Leave it out if there is one row per image.
    submitted
        The numbers of these classes among those that the networks answer with, counted from 0.
        Left out, all are submitted, in their order.
    rows
        How a row's id is made of `{image}`, `{group}` and `{class}`. With `{group}`, images of
        different groups may have the same id. Without `{class}`, a row holds all classes, if the
        form of the RLE is "coco".
    size
        Height and width of the submitted masks. Left out, it is each image's own size.
    id_column, rle_column
        The columns of the submission with the rows' ids and with the encoded masks.
    columns
        Its other columns, and what stands in them. `{width}` and `{height}` are those of the mask,
        `{image}`, `{group}` and `{class}` those of the row. All else is written as it is.
    rle
        How its masks become text.
    nodata
        The value of a pixel without data. Left out, it is what each file says of itself.
    output
        Files of each mask beside the submission, such as Shapefiles.
    """

    slug: Word
    images: Below = "test"
    bands: tuple[Word, ...] = ()
    suffixes: Annotated[tuple[Word, ...], Field(min_length=1)] = (".tiff", ".tif")
    sample: Below = "sample_submission.csv"
    classes: tuple[Word, ...] = ()
    submitted: tuple[NonNegativeInt, ...] = ()
    rows: Word = "{image}"
    size: tuple[PositiveInt, PositiveInt] | None = None
    id_column: Word = "id"
    rle_column: Word = "predicted"
    columns: dict[Word, str] = Field(default_factory=dict)
    rle: RLEConvention = RLEConvention()
    nodata: float | None = None
    output: Output | None = None

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if self.id_column == self.rle_column:
            raise ValueError(
                f"found {self.id_column} as id_column and as rle_column, wanted two columns"
            )
        for name, template in self.columns.items():
            if name in (self.id_column, self.rle_column):
                raise ValueError(
                    f"found the column {name} in columns, which is the id_column or the rle_column"
                    " already. Remove it there"
                )
            unknown = sorted(set(_PLACE.findall(template)) - self._places - _OF_SIZES)
            if unknown:
                known = ", ".join(sorted(self._places | _OF_SIZES))
                raise ValueError(
                    f"found {unknown[0]} in the column {name}, which nothing fills. Known here are"
                    f" {known}"
                )
        return self

    @model_validator(mode="after")
    def _rows_name_classes(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"found classes {', '.join(self.classes)}, wanted each name once")
        found = set(_PLACE.findall(self.rows))
        is_per_class = self.classes and not self.shares_fields
        known = {"{image}", "{class}"} if is_per_class else {"{image}"}
        if found - {"{group}"} != known:
            raise ValueError(
                f"found rows {self.rows!r} for {len(self.classes)} classes, wanted a form with "
                f"{' and '.join(sorted(known, reverse=True))}"
            )
        if "{group}" in found and "{group}" not in self.images:
            raise ValueError(
                f"found {{group}} in rows {self.rows!r}, but not in images {self.images!r}. Write "
                "it in both"
            )
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
        places = _PLACE.findall(self.images)
        if not places and self.bands:
            raise ValueError("found bands without {band} in images, wanted a pattern with it")
        if not places:
            return self
        known = {"{image}", "{group}", "{band}"} if self.bands else {"{image}", "{group}"}
        if any("**" in part and part != "**" for part in self.images.split("/")):
            raise ValueError(
                f"found images {self.images!r}, wanted ** between slashes, where it stands for any "
                "folders. Write * for a part of a name"
            )
        if "{image}" not in places or not known.issuperset(places):
            raise ValueError(
                f"found images {self.images!r}, wanted a folder, or a pattern with {{image}} and "
                f"perhaps {{group}}{' and {band}' if self.bands else ''}"
            )
        if self.bands and "{band}" not in places:
            raise ValueError("found bands without {band} in images, wanted a pattern with it")
        return self

    @property
    def labels(self) -> tuple[int, ...]:
        """The number of the networks' class that each row of an image is about."""
        return self.submitted or tuple(range(max(1, len(self.classes))))

    @property
    def submission_name(self) -> str:
        """How the submission's file is called. It is of the sample's kind.

        Without a sample nobody knows what is wanted. Then it is `run_lengths.csv`, and no
        submission.
        """
        if not self.sample:
            return "run_lengths.csv"
        is_parquet = PurePosixPath(self.sample).suffix.lower() == ".parquet"
        return f"submission.{'parquet' if is_parquet else 'csv'}"

    def places_of_output(self, is_voted: bool) -> tuple[set[str], set[str]]:
        """What can stand in the names of the output, and what has to.

        Parameters
        ----------
        is_voted
            Whether the images of a group become one mask.
        """
        classes = {"{class}"} if len(self.classes) > 1 else set()
        if is_voted:
            needed = {"{group}"} | classes
        else:
            needed = {"{image}"} | classes | ({"{group}"} & set(_PLACE.findall(self.rows)))
        group = {"{group}"} if "{group}" in self.images else set()
        return needed | group | ({"{class}"} if self.classes else set()), needed

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of the submission, if no sample says in which order."""
        return (self.id_column, *self.columns, self.rle_column)

    @property
    def shares_fields(self) -> bool:
        """Whether all classes of an image stand in one field. Each of its parts names its class."""
        return self.rle.form == "coco" and "{class}" not in self.rows

    @property
    def _places(self) -> set[str]:
        """What a column may name, apart from sizes."""
        places = {"{image}"}
        if "{group}" in self.images:
            places.add("{group}")
        if "{class}" in self.rows:
            places.add("{class}")
        return places
