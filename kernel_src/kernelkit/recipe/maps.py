"""The sections about maps: scenes of one ground that vote, and files that lie on the map."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Word

__all__ = ["Groups", "Output"]

_RULE = re.compile(r"all|all but one|majority|at least ([1-9][0-9]{0,3})")
_POLYGONS = (".shp", ".gpkg", ".geojson")
_GEOTIFF = (".tif", ".tiff")


def _is_rule(rule: str) -> str:
    if not _RULE.fullmatch(rule):
        raise ValueError(f"found {rule!r:.60}, wanted all, all but one, majority, or at least 2")
    return rule


class Groups(Section):
    """How the scenes of a group become one mask. They must lie on one grid of pixels.

    Attributes
    ----------
    vote
        How many scenes have to agree on a pixel: "all", "all but one", "majority", or "at least n".
        Scenes without data there do not count. Of a single scene its own mask is taken.
    """

    vote: Annotated[str, AfterValidator(_is_rule)] = "all but one"

    def needed(self, voters: int) -> int:
        """How many of so many voters have to agree."""
        match self.vote.split():
            case ["all"]:
                return voters
            case ["majority"]:
                return voters // 2 + 1
            case ["at", "least", number]:
                return min(int(number), voters)
            case _:
                return max(1, voters - 1)


class Output(Section):
    """Files beside the submission. `{group}`, `{image}` and `{class}` stand in their names.

    Attributes
    ----------
    polygons
        Polygons of each mask: a Shapefile, a GeoPackage or a GeoJSON, by the suffix.
    field
        The column with the number of each polygon.
    geotiff
        Each mask as a GeoTIFF.
    """

    polygons: Word | None = None
    field: Word = "id"
    geotiff: Word | None = None

    @model_validator(mode="after")
    def _names_of_files(self) -> Self:
        for key, suffixes in (("polygons", _POLYGONS), ("geotiff", _GEOTIFF)):
            name = getattr(self, key)
            if name is None:
                continue
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in suffixes:
                raise ValueError(
                    f"found {key} {name!r:.60}, wanted a relative path that ends in "
                    f"{' or '.join(suffixes)}"
                )
        if self.polygons is None and self.geotiff is None:
            raise ValueError("found an output without polygons and geotiff, wanted one of them")
        return self

    def names(self) -> tuple[str, ...]:
        """The names of files that are asked for."""
        return tuple(name for name in (self.polygons, self.geotiff) if name is not None)

    def check(self, known: set[str], needed: set[str]) -> None:
        """Refuse names with places that nothing fills, or that several masks would share.

        Parameters
        ----------
        known
            The places that can stand in a name.
        needed
            Those in which two masks may differ.

        Raises
        ------
        ValueError
            With what was found, and what to do.
        """
        for name in self.names():
            found = set(re.findall(r"\{.*?\}", name))
            if unknown := sorted(found - known):
                raise ValueError(
                    f"found {unknown[0]} in the output {name!r:.60}, which nothing fills. Known "
                    f"here are {', '.join(sorted(known))}"
                )
            if missing := sorted(needed - found):
                raise ValueError(
                    f"found the output {name!r:.60}, which several masks would share. Write "
                    f"{' and '.join(missing)} into it"
                )
