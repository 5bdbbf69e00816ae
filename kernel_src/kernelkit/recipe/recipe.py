"""A recipe: everything that one competition decides, in one YAML file with checked keys.

A recipe says what to read, which models look at it, how their answers are merged and what is
written. It holds no paths of a machine. Those are the notebook's parameters.

>>> recipe = Recipe.load("hubmap")
>>> recipe.tiles.core, recipe.tiles.pad, recipe.tiles.scale
(1536, 384, 3)
>>> str(recipe.ensembles[0].merge.views)
'mean of logits'
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from kernelkit.errors import RecipeError
from kernelkit.own_recipes import PREDICTING
from kernelkit.recipe.competition import Competition
from kernelkit.recipe.ensemble import EnsembleRecipe
from kernelkit.recipe.input_memory import refuse_large_tiles, refuse_sizes
from kernelkit.recipe.maps import Groups
from kernelkit.recipe.network import Execution
from kernelkit.recipe.problems import first_problem
from kernelkit.recipe.section import Section, merged
from kernelkit.recipe.shelf import FoundRecipe, RecipeShelf
from kernelkit.recipe.submissions import (
    StorePlan,
    StoreRecipe,
    Variants,
    plan_of,
    refuse_contradictions,
)
from kernelkit.recipe.tiles import ForegroundRule, Stitching, Tiles
from kernelkit.recipe.words import Word
from kernelkit.vocabulary import GiveUp, Nodata, Precision

__all__ = ["Recipe"]

_SHELF = RecipeShelf("recipe", "recipe", PREDICTING)


class Recipe(Section):
    """All that one competition decides. `Recipe.load` reads it.

    Attributes
    ----------
    name
        What the recipe is called. No result depends on it.
    summary
        What the recipe is for, in a sentence. No result depends on it.
    competition
        What the competition's folder holds, and what its submission looks like.
    tiles
        How an image is cut into tiles. `whole` leaves pictures in one piece.
    foreground
        Which tiles are worth reading. Left out, all are read.
    ensembles
        The models for each kind of image. The first ensemble that fits an image predicts it.
    stitching
        How tiles become an image.
    batch
        Tiles, or whole pictures, that the networks see at once. The memory may allow fewer.
    precision
        The arithmetic of the networks: "auto", "fp32", "bf16" or "fp16". "auto" is the fastest that
        is safe on the device.
    execution
        How networks run on the device.
    hours
        How long a session may last. A run ends before, with what it has.
    nodata
        What pixels are that the file declares to be no data. With "background" they are never
        submitted. With "keep" they are pixels like all others.
    give_up
        What is left out of the images that remain if the time runs short, in this order: "views",
        "folds" and "scales". What is not named is never left out.
    disagreement
        Whether to draw one thumbnail per image of where the ensemble's members differ.
    store
        What work puts into the store, of which submissions are made.
    submissions
        Further ways to make masks of what is stored, by name. Each becomes a file
        `submissions/<name>.csv`, and the first is `submission.csv` too. Without any, the ensembles
        alone say how masks are made.
    groups
        How images of one group vote on the maps that `competition.output` asks for. Left out, each
        image has a map.
    steps
        A module of your own code, `package.module`, whose functions are further postprocess steps.
    """

    name: str
    summary: str = ""
    competition: Competition
    tiles: Tiles
    foreground: ForegroundRule | None = None
    ensembles: Annotated[tuple[EnsembleRecipe, ...], Field(min_length=1)]
    stitching: Stitching = Stitching()
    batch: PositiveInt = 8
    precision: Precision = "auto"
    execution: Execution = Execution()
    hours: PositiveFloat = 9.0
    nodata: Nodata = "background"
    give_up: tuple[GiveUp, ...] = ("views", "folds", "scales")
    disagreement: bool = False
    store: StoreRecipe = StoreRecipe()
    submissions: Variants
    groups: Groups | None = None
    steps: Word | None = None

    @field_validator("ensembles")
    @classmethod
    def _names_differ(cls, ensembles: tuple[EnsembleRecipe, ...]) -> tuple[EnsembleRecipe, ...]:
        names = [ensemble.name for ensemble in ensembles]
        if len(set(names)) < len(names):
            raise ValueError(f"found ensembles {', '.join(names)}, wanted names that differ")
        return ensembles

    @field_validator("ensembles")
    @classmethod
    def _each_is_reached(cls, ensembles: tuple[EnsembleRecipe, ...]) -> tuple[EnsembleRecipe, ...]:
        for number, ensemble in enumerate(ensembles):
            for other in ensembles[:number]:
                if other.when.holds(ensemble.when):
                    raise ValueError(
                        f"found that {ensemble.name} ({ensemble.when}) predicts no image, because"
                        f" {other.name} ({other.when}) before it takes them all. Narrow its 'when'"
                        " or put it last"
                    )
        return ensembles

    @model_validator(mode="after")
    def _maps_have_names_of_their_own(self) -> Self:
        wanted, output = self.competition, self.competition.output
        if self.groups is not None and (output is None or "{group}" not in wanted.images):
            missing = "output" if output is None else "{group} in images"
            raise ValueError(
                f"found groups without {missing} in the competition, so nothing would be voted on."
                " Add it, or leave out groups"
            )
        if output is not None:
            output.check(*wanted.places_of_output(self.groups is not None))
        return self

    @model_validator(mode="after")
    def _whole_pictures_have_no_tiles(self) -> Self:
        if self.tiles.whole and self.foreground is not None:
            raise ValueError(
                "found foreground with whole pictures, of which no tile can be left out. Leave out"
                " foreground, or give tiles a core"
            )
        if self.tiles.whole and not self.stitching.is_crop:
            raise ValueError(
                f"found stitching by {self.stitching.blend} with whole pictures, which have no"
                " seams. Leave out stitching, or give tiles a core"
            )
        return self

    @model_validator(mode="after")
    def _inputs_fit_somewhere(self) -> Self:
        for ensemble in self.ensembles:
            refuse_sizes(self.tiles, ensemble)
        if not self.tiles.whole:  # the pictures' size is known once they are opened
            for ensemble in self.ensembles:
                refuse_large_tiles(self.tiles, ensemble, self.batch)
        return self

    @model_validator(mode="after")
    def _store_serves_submissions(self) -> Self:
        refuse_contradictions(
            self.store, self.submissions, self.ensembles, self.tiles, self.stitching
        )
        return self

    @field_validator("give_up")
    @classmethod
    def _each_once(cls, give_up: tuple[GiveUp, ...]) -> tuple[GiveUp, ...]:
        if len(set(give_up)) < len(give_up):
            raise ValueError(f"found {', '.join(give_up)}, wanted each word at most once")
        return give_up

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of kernelkit's own recipes."""
        return _SHELF.names()

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a recipe by its name, or from a YAML file.

        The name is that of a recipe of kernelkit, or of a competition of the user's own.

        Raises
        ------
        RecipeError
            There is no such recipe, it is not YAML, or a key or value of it is wrong.
        """
        found = _SHELF.find(name_or_path)
        return cls._validated(found.content, found.source)

    @classmethod
    def parse(cls, text: str | bytes, source: str = "recipe") -> Self:
        """Read a recipe from YAML text. Error messages call it `source`."""
        return cls._validated(FoundRecipe.parse(text, source).content, source)

    @classmethod
    def _validated(cls, content: dict[str, Any], source: str) -> Self:
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(f"{source}: {first_problem(cls, error)}") from error

    def override(self, **changes: Any) -> Self:
        """Return a copy with other values, written as in the YAML.

        Of a section only the keys that are named change. A list is replaced as a whole.

        >>> changed = Recipe.load("hubmap").override(tiles={"core": 768}, batch=4)
        >>> changed.tiles.core, changed.tiles.pad, changed.batch
        (768, 384, 4)

        Raises
        ------
        RecipeError
            There is no such key, or it cannot have this value.
        """
        # what the recipe leaves out stays left out, so that a run folder may say it
        content = self.model_dump(exclude_unset=True)
        return self._validated(merged(content, changes), self.name)

    def with_tiles(self, tile: int | None, overlap: int | None) -> Self:
        """Return a copy with another tile side and overlap, in source pixels.

        None keeps the recipe's. An overlap is even, because each of two neighbours reads half of it
        beyond its core.

        Raises
        ------
        RecipeError
            The overlap is odd or negative, or not smaller than the tile. The recipe is for whole
            pictures.
        """
        if self.tiles.whole:
            if tile is None and overlap is None:
                return self
            raise RecipeError(
                f"{self.name}: found a tile or an overlap, but the recipe is for whole pictures. "
                "Leave both at None, or give the recipe's tiles a core"
            )
        tile = self.tiles.tile if tile is None else tile
        overlap = self.tiles.overlap if overlap is None else overlap
        for name, value in (("tile", tile), ("overlap", overlap)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise RecipeError(
                    f"{self.name}: found {value!r:.60} as {name}, wanted a whole number of pixels"
                )
        if overlap < 0 or overlap % 2 or overlap >= tile:
            raise RecipeError(
                f"{self.name}: found an overlap of {overlap} with tiles of {tile}. Give an even "
                "number of 0 or more that is less than the tile"
            )
        return self.override(tiles={"core": tile - overlap, "pad": overlap // 2})

    def ensemble_for(self, bands: int, dtype: str) -> EnsembleRecipe:
        """Return the first ensemble for images with `bands` bands of `dtype`.

        Raises
        ------
        RecipeError
            No ensemble is for such images.
        """
        for ensemble in self.ensembles:
            if ensemble.when.fits(bands, dtype):
                return ensemble
        kinds = " or ".join(f"{e.when} ({e.name})" for e in self.ensembles)
        raise RecipeError(
            f"{self.name}: found an image with {bands} band(s) of {dtype}, wanted {kinds}. Add an "
            "ensemble for it, or widen a 'when'"
        )

    def plan_for(self, ensemble: EnsembleRecipe) -> StorePlan:
        """Return what work puts into the store for the images of an ensemble."""
        return plan_of(
            self.store,
            self.submissions,
            ensemble,
            self.tiles,
            self.stitching,
            self.competition.size,
        )

    def describe(self) -> str:
        """Return the recipe in a few sentences, as its authors would say it."""
        lines = [
            f"{self.name}: {self.summary}",
            f"{self.tiles.describe(self.stitching.blend)}, in batches of {self.batch}",
        ]
        lines += [ensemble.describe() for ensemble in self.ensembles]
        if self.submissions:
            lines.append(f"submissions {', '.join(self.submissions)}")
        return "\n".join(lines)

    @property
    def fingerprint(self) -> str:
        """A short hash of all that a mask depends on. Only masks of the same hash are reused."""
        content = self.model_dump_json(
            exclude={"name", "summary", "competition", "hours", "give_up"}
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]
