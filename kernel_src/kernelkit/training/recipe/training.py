"""A training recipe: what is trained for one competition, in one YAML file with checked keys.

>>> recipe = TrainingRecipe.load("hubmap", ["epochs=3"])
>>> [run.epochs for run in recipe.runs.values()]
[3, 3, 3, 3]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError

from kernelkit.errors import RecipeError
from kernelkit.own_recipes import TRAINING
from kernelkit.recipe import Recipe
from kernelkit.recipe.problems import first_problem
from kernelkit.recipe.section import Section, merged
from kernelkit.recipe.shelf import FoundRecipe, RecipeShelf
from kernelkit.recipe.words import Word
from kernelkit.training.recipe.contradictions import refuse_contradictions
from kernelkit.training.recipe.overrides import Override, spelled_out
from kernelkit.training.recipe.resolve import did_you_mean, resolved
from kernelkit.training.recipe.run import RunRecipe
from kernelkit.training.recipe.settings import RunSettings

__all__ = ["TrainingRecipe"]

_SHELF = RecipeShelf("training recipe", "training/recipe", TRAINING)
# The keys about all runs.
_HEAD = ("name", "summary", "predicts", "runs")
# Keys of a recipe that predicts alone, by which it is known.
_PREDICTING = ("competition", "ensembles")


class TrainingRecipe(Section):
    """What is trained for one competition. `TrainingRecipe.load` reads it.

    Attributes
    ----------
    name, summary
        What the recipe is called, and what it is for. No result depends on them.
    predicts
        The recipe that predicts with these runs: its name, or its path beside this file.
    recipe
        That recipe.
    runs
        The runs by name, each with all that they share.
    """

    name: Word
    summary: str = ""
    predicts: Word
    recipe: Recipe
    runs: Annotated[dict[Word, RunRecipe], Field(min_length=1)]

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of kernelkit's own training recipes."""
        return _SHELF.names()

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a training recipe by its name, or from a YAML file.

        The name is that of a recipe of kernelkit, or of a competition of the user's own.

        Parameters
        ----------
        overrides
            Values instead of those in the file, such as `epochs=3` for all runs, or
            `runs.unet.batch=4` for one of them.

        Raises
        ------
        RecipeError
            There is no such recipe, or it is not YAML. A key or value of it is wrong, or two of
            them contradict each other.
        """
        return cls._made(_SHELF.find(name_or_path), overrides)

    @classmethod
    def parse(
        cls,
        text: str | bytes,
        source: str = "train.yaml",
        folder: Path = Path(),
        overrides: Sequence[str] = (),
    ) -> Self:
        """Read a training recipe from YAML text.

        Parameters
        ----------
        source
            What error messages call it.
        folder
            Where a path in `predicts` begins.
        overrides
            As for `load`.
        """
        return cls._made(FoundRecipe.parse(text, source, folder), overrides)

    @classmethod
    def _made(cls, found: FoundRecipe, overrides: Sequence[str]) -> Self:
        content, source = found.content, found.source
        changes = [Override.parse(text) for text in overrides]
        for change in changes:
            if change.keys[0] in _HEAD and change.keys[0] != "runs":
                content = change.changed(content)
        _check_keys(content, source)
        recipe = _predicting(content, source, found.folder)
        shared = {key: value for key, value in content.items() if key not in _HEAD}
        runs = {}
        for name, own in _own_parts(content, source).items():
            _check_run_keys(own, f"{source}, run {name}")
            runs[name] = merged(spelled_out(shared), spelled_out(own))
        for change in changes:
            runs = _changed(runs, change, source)
        return cls(
            name=str(content["name"]),
            summary=str(content.get("summary", "")),
            predicts=str(content["predicts"]),
            recipe=recipe,
            runs={name: _run(name, parts, recipe, source) for name, parts in runs.items()},
        )

    def chosen_runs(self, names: Sequence[str] = ()) -> list[RunRecipe]:
        """The runs of these names in the order of the recipe, or all runs if there is no name.

        Raises
        ------
        RecipeError
            There is no such run.
        """
        if unknown := [name for name in names if name not in self.runs]:
            raise RecipeError(
                f"{self.name}: there is no run {unknown[0]:.60}. Name one of {', '.join(self.runs)}"
            )
        return [run for name, run in self.runs.items() if not names or name in names]

    def describe(self) -> str:
        """Return the recipe as a table: a line per run."""
        from kernelkit.training.recipe.words import described

        return described(self)


def _known_keys() -> list[str]:
    return [field.alias or name for name, field in RunSettings.model_fields.items()]


def _check_keys(content: Mapping[str, Any], source: str) -> None:
    """Refuse keys that do not exist, and miss those about all runs."""
    known = [*_HEAD, *_known_keys()]
    predicting = [key for key in _PREDICTING if key in content]
    if predicting and "predicts" not in content:
        raise RecipeError(
            f"{source}: found a recipe that predicts (it has {' and '.join(predicting)}), wanted "
            "one that trains. Name the training recipe whose key predicts names this one"
        )
    for key in content:
        if key not in known:
            raise RecipeError(
                f"{source}: the key {key!s:.80} does not exist. {did_you_mean(str(key), known)}"
            )
    for key in ("name", "predicts"):
        if not isinstance(content.get(key), str):
            found = "is missing. Add it" if key not in content else "is no text. Put it in quotes"
            raise RecipeError(f"{source}: the key {key} {found}")


def _check_run_keys(own: Mapping[str, Any], source: str) -> None:
    for key in own:
        if key in _HEAD:
            raise RecipeError(f"{source}: the key {key} is about all runs. Write it above the runs")


def _predicting(content: Mapping[str, Any], source: str, folder: Path) -> Recipe:
    """The recipe that predicts with the runs."""
    name = content["predicts"]
    is_path = Path(name).suffix in (".yaml", ".yml")
    try:
        return Recipe.load(folder / name if is_path else name)
    except RecipeError as error:
        raise RecipeError(f"{source}: predicts: {error}") from error


def _own_parts(content: Mapping[str, Any], source: str) -> dict[str, dict[str, Any]]:
    """What each run says of its own. Without runs, one is named as the recipe."""
    runs = content.get("runs")
    if runs is None:
        return {content["name"]: {}}
    if not isinstance(runs, Mapping) or not runs:
        raise RecipeError(f"{source}: runs: wanted the names of runs, each with its keys")
    parts = {}
    for name, own in runs.items():
        if own is not None and not isinstance(own, Mapping):
            raise RecipeError(f"{source}: runs.{name}: wanted keys with values (found {own!r:.60})")
        if "/" in str(name) or str(name) in ("", ".", ".."):
            raise RecipeError(f"{source}: found {name!r:.60} as a run, wanted the name of a folder")
        parts[str(name)] = dict(own or {})
    return parts


def _changed(
    runs: dict[str, dict[str, Any]], change: Override, source: str
) -> dict[str, dict[str, Any]]:
    """The merged runs with a change of one, or of all of them."""
    head, *below = change.keys
    if head in _HEAD and head != "runs":
        return runs
    if head != "runs":
        return {name: change.changed(parts) for name, parts in runs.items()}
    if len(below) < 2 or below[0] not in runs:
        hint = did_you_mean(below[0], runs) if below else f"Known here are {', '.join(runs)}"
        raise RecipeError(
            f"{source}: the change {change.text:.60} names no run and key, such as"
            f" runs.{next(iter(runs))}.epochs=3. {hint}"
        )
    own = Override(change.text, tuple(below[1:]), change.value)
    return {**runs, below[0]: own.changed(runs[below[0]])}


def _run(name: str, content: Mapping[str, Any], recipe: Recipe, source: str) -> RunRecipe:
    """One run, checked."""
    where = f"{source}, run {name}"
    try:
        settings = RunSettings.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_problem(RunSettings, error)}") from error
    try:
        run = resolved(name, settings, recipe)
        refuse_contradictions(run, recipe)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_problem(RunRecipe, error)}") from error
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error
    return run
