"""A recipe: everything that one competition decides, in one YAML file with checked keys.

A recipe says what to read, which models look at it, how their answers are merged and what is
written. It holds no paths of a machine: those are the notebook's parameters.

>>> recipe = Recipe.load("hubmap")
>>> recipe.tiles.core, recipe.tiles.pad, recipe.tiles.scale
(1536, 384, 3)
>>> str(recipe.ensembles[0].merge.views)
'mean of logits'
"""

import difflib
import hashlib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, field_validator

from kernelkit.errors import RecipeError
from kernelkit.recipe.sections import (
    Competition,
    EnsembleRecipe,
    Execution,
    ForegroundRule,
    Section,
    Stitching,
    Tiles,
)
from kernelkit.vocabulary import Precision

__all__ = ["Recipe"]


class Recipe(Section):
    """One competition's settings; read it with `Recipe.load`.

    `disagreement` asks for a thumbnail an image of where the ensemble's members differ.
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
    disagreement: bool = False

    @field_validator("ensembles")
    @classmethod
    def _names_differ(cls, ensembles: tuple[EnsembleRecipe, ...]) -> tuple[EnsembleRecipe, ...]:
        names = [ensemble.name for ensemble in ensembles]
        if len(set(names)) < len(names):
            raise ValueError(f"two ensembles have the same name: {', '.join(names)}")
        return ensembles

    @classmethod
    def names(cls) -> list[str]:
        """The names of the recipes that come with kernelkit."""
        folder = resources.files("kernelkit") / "recipe"
        return sorted(Path(file.name).stem for file in folder.iterdir() if ".yaml" in file.name)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a recipe by its name among kernelkit's own, or from a YAML file.

        Raises
        ------
        RecipeError
            No such recipe, not YAML, or a key or value that a recipe cannot have.
        """
        path = Path(name_or_path)
        if path.suffix in (".yaml", ".yml"):
            if not path.is_file():
                raise RecipeError(f"{path}: there is no such recipe file; check the path.")
            text = path.read_text(encoding="utf-8")
        elif str(name_or_path) in cls.names():
            own = resources.files("kernelkit") / "recipe" / f"{name_or_path}.yaml"
            text = own.read_text(encoding="utf-8")
        else:
            raise RecipeError(
                f"{name_or_path}: there is no such recipe; name one of {', '.join(cls.names())}, "
                "or give the path of a .yaml file."
            )
        return cls.parse(text, source=str(name_or_path))

    @classmethod
    def parse(cls, text: str, source: str = "recipe") -> Self:
        """Read a recipe from YAML text; `source` is what error messages call it."""
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            where = getattr(error, "problem_mark", None)
            line = f" at line {where.line + 1}" if where else ""
            raise RecipeError(f"{source}: this is not valid YAML{line}; correct it.") from error
        if not isinstance(content, dict):
            raise RecipeError(f"{source}: a recipe is a mapping of keys, not {content!r}.")
        return cls._validated(content, source)

    @classmethod
    def _validated(cls, content: dict[str, Any], source: str) -> Self:
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(f"{source}: {_first_problem(cls, error)}") from error

    def override(self, **settings: Any) -> Self:
        """A copy with some settings replaced; a key reaches into sections with `__`.

        `recipe.override(tiles__core=1024, batch=4)`; None leaves a setting as it is.
        """
        content = self.model_dump()
        for dotted, value in settings.items():
            if value is None:
                continue
            *sections, key = dotted.split("__")
            section = content
            for name in sections:
                section = section.get(name, {})
            if key not in section:
                raise RecipeError(f"{self.name}: there is no setting {dotted} to override.")
            section[key] = value
        return self._validated(content, self.name)

    def with_tiles(self, tile: int | None, overlap: int | None) -> Self:
        """A copy with another tile side and overlap in source pixels; None keeps the recipe's."""
        tile = self.tiles.tile if tile is None else tile
        overlap = self.tiles.overlap if overlap is None else overlap
        if overlap < 0 or overlap % 2 or overlap >= tile:
            raise RecipeError(
                f"{self.name}: an overlap of {overlap} does not go with tiles of {tile}; "
                "give an even number from 0 up to less than the tile."
            )
        return self.override(tiles__core=tile - overlap, tiles__pad=overlap // 2)

    def ensemble_for(self, bands: int, dtype: str) -> EnsembleRecipe:
        """The first ensemble that is for images with `bands` bands of `dtype`."""
        for ensemble in self.ensembles:
            if ensemble.when.fits(bands, dtype):
                return ensemble
        kinds = "; ".join(f"{e.name}: {e.when}" for e in self.ensembles)
        raise RecipeError(
            f"{self.name}: no ensemble is for an image with {bands} band(s) of {dtype} ({kinds}); "
            "add one, or widen a 'when'."
        )

    def describe(self) -> str:
        """The recipe in a few sentences, as its authors would say it."""
        tiles = self.tiles
        lines = [
            f"{self.name}: {self.summary}",
            f"tiles of {tiles.tile} px, {tiles.core} px of them core, read at scale {tiles.scale}; "
            f"stitched by {self.stitching.blend}; batches of {self.batch}",
        ]
        return "\n".join([*lines, *(ensemble.describe() for ensemble in self.ensembles)])

    @property
    def fingerprint(self) -> str:
        """A short hash of all that a mask depends on: masks are reused only under the same one."""
        settings = self.model_dump_json(exclude={"name", "summary", "competition", "hours"})
        return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    """One finding of a failed validation, as a sentence that names the key.

    A misspelt key comes first: it is often the reason why another seems to be missing.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the recipe"
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}."
        return f"the key {place} does not exist; {remedy}"
    if problem["type"] == "missing":
        return f"the key {place} is missing; add it."
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict):
        return f"{place}: {message}."
    return f"{place}: {message} (found {problem['input']!r})."


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at `location` of a recipe may have."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next(kind for kind in _models_in(annotation))
    return sorted(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
