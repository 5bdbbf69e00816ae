"""The recipe that reads engines, made of the one that reads their weights."""

import glob
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import yaml

from kernelkit.recipe import EnsembleRecipe, Recipe

__all__ = ["recipe_of_engines"]

# What an engine of a whole ensemble has in its graph.
_IN_GRAPH = ("views", "merge", "weights", "checkpoints")


def recipe_of_engines(
    recipe: Recipe, runs: Mapping[str, Sequence[str]], *, runs_code: bool, as_one: str | None
) -> str:
    """The YAML text of a recipe that reads engines.

    It names each run in full. So engines of other runs that lie in the folder are not loaded.

    Parameters
    ----------
    runs
        The runs of each ensemble and of its gate, by its name.
    runs_code
        Whether loading the engines can run code, so that the recipe has to allow it.
    as_one
        If all members of an ensemble are one engine: what its run's name has behind the ensemble's.
        None if each member is an engine of its own.
    """
    content = recipe.model_dump(mode="json", exclude_unset=True)
    content["ensembles"] = [
        _ensemble(each, runs[each.name], runs_code, as_one) for each in recipe.ensembles
    ]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _ensemble(
    ensemble: EnsembleRecipe, runs: Sequence[str], runs_code: bool, as_one: str | None
) -> dict[str, Any]:
    content = ensemble.model_dump(mode="json", exclude_unset=True)
    content["runs"] = _named(runs, ensemble.runs)
    if ensemble.gate is not None:
        content["gate"]["runs"] = _named(runs, ensemble.gate.runs)
    if runs_code:
        content["programs"] = True
    if as_one is not None:
        content = {key: value for key, value in content.items() if key not in _IN_GRAPH}
        content["runs"] = [f"{ensemble.name}{as_one}"]
        for scale in content.get("pyramid", ()):
            scale.pop("runs", None)
        if content.get("gate"):  # it takes the ensemble's checkpoints, if it names none
            content["gate"].setdefault("checkpoints", ensemble.checkpoints)
    return content


def _named(runs: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names of the runs that match a pattern, as patterns that match nothing else."""
    found = [run for run in runs if any(fnmatchcase(run, pattern) for pattern in patterns)]
    return [glob.escape(run) for run in found]
