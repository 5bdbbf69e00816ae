"""The section about folds: which images validate, and which train."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Word, no_doubles

__all__ = ["FoldsRecipe"]

_WAYS = ("lists", "count", "table")
Images = Annotated[tuple[Word, ...], Field(min_length=1), AfterValidator(no_doubles)]


class FoldsRecipe(Section):
    """Which images validate in each fold. All others of it train.

    Attributes
    ----------
    lists
        The ids of the images that validate, or patterns of them, a list per fold. Images of no list
        always train.
    count
        Into how many folds the images are divided.
    by
        What may not be in two folds, with `count`: `group`, or a column of `groups`. Left out,
        each image is by itself.
    groups
        A table with the columns `image` and `by`, below the competition's folder.
    stratify
        Whether the folds get about the same share of labelled pixels, with `count`.
    seed
        Where the division begins, with `count`.
    table
        A table with the columns `image` and `fold`, below the competition's folder. In the fold -1
        an image always trains.
    """

    lists: tuple[Images, ...] | None = None
    count: Annotated[int, Field(ge=2)] | None = None
    by: Word | None = None
    groups: Word | None = None
    stratify: bool = False
    seed: NonNegativeInt = 0
    table: Word | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [way for way in _WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'no way to divide images'}, wanted one of lists,"
                " count and table"
            )
        foreign = sorted(self.model_fields_set & {"by", "groups", "stratify", "seed"})
        if self.count is None and foreign:
            raise ValueError(
                f"found {' and '.join(foreign)} with {given[0]}, which does not use it. Leave it"
                " out"
            )
        return self

    @model_validator(mode="after")
    def _each_image_validates_once(self) -> Self:
        names = [name for fold in self.lists or () for name in fold]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"found {twice[0]} in two folds, wanted each image once")
        if self.lists is not None and not self.lists:
            raise ValueError("found no list, wanted the ids of at least one fold")
        return self
