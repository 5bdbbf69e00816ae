"""What is wrong with a recipe, as a sentence that names the key."""

import difflib
import re
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

__all__ = ["first_problem"]

# What pydantic puts into a location that is no key of a recipe.
_INTERNAL = re.compile(r"str$|\[key\]$|[a-z-]+\[")
# By how pydantic calls a problem.
_WANTED = {
    ("tuple_", "list_"): "a list, such as [one, two]",
    ("dict_", "model_"): "keys with values",
    ("int_",): "a whole number",
    ("float_",): "a number",
    ("finite_",): "a finite number",
    ("bool_",): "true or false",
    ("string_type",): "text. Put it in quotes",
    ("string_too_short",): "text that is not empty",
    ("too_short",): "at least one value",
}


def first_problem(model: type[BaseModel], error: ValidationError) -> str:
    """Return one finding of a failed validation, as a sentence that names the key.

    A misspelt key comes first. Often it is the reason why another key seems to be missing.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    location = [part for part in problem["loc"] if not _INTERNAL.match(str(part))]
    place = ".".join(str(part) for part in location) or "the recipe"
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        known = _keys_at(model, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        remedy = f"Did you mean {close[0]}?" if close else f"Known here are {', '.join(known)}"
        return f"the key {place:.80} does not exist. {remedy}"
    if problem["type"] == "missing":
        return f"the key {place} is missing. Add it"
    if problem["type"] == "value_error":  # ours say what was found
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    message = problem["msg"]
    for kinds, wanted in _WANTED.items():
        if problem["type"].startswith(kinds):
            message = f"wanted {wanted}"
    return f"{place}: {message} (found {_shown(problem['input'])}){_near(problem)}"


def _near(problem: Any) -> str:
    """The word that was meant, if a choice of words is misspelt."""
    if problem["type"] != "literal_error":
        return ""
    words = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
    close = difflib.get_close_matches(str(problem["input"]), words, n=1)
    return f". Did you mean {close[0]}?" if close else ""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"the keys {', '.join(map(str, value))}"[:60] if value else "no keys"
    if value is None:
        return "nothing"
    return f"{value!r:.60}"


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `location` of a recipe may have."""
    names_follow = False
    for part in location:
        if isinstance(part, int) or names_follow:  # a place in a list, or a name of the user's own
            names_follow = False
            continue
        annotation = _fields_by_key(model)[part].annotation
        names_follow = get_origin(annotation) is dict
        model = next(kind for kind in _models_in(annotation))
    return sorted(_fields_by_key(model))


def _fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
