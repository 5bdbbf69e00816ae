"""What is wrong with the settings, as one sentence."""

from typing import Any

from pydantic import BaseModel, ValidationError

from devkit.kaggle.settings.sections import EngineSettings, TrainSettings, ValidationSettings
from devkit.kaggle.settings.settings import Settings

__all__ = ["first_problem", "shown"]

# What a key wants, by the kind of pydantic's finding.
_WANTED = {
    "bool_type": "true or false",
    "dict_type": "a table, such as {{workers = 4}}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:.10g} or less",
    "literal_error": "{expected}",
    "path_type": "a path in quotes",
    "string_type": "text in quotes",
    "tuple_type": "a list in brackets",
}
_SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainSettings,
    "validation": ValidationSettings,
    "engine": EngineSettings,
}


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The key that has a problem, and that in a sentence. A key that does not exist comes first."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    key = ".".join(str(part) for part in problem["loc"])
    first = key.partition(".")[0]
    if problem["type"] == "extra_forbidden":
        section = _SECTIONS.get(first, Settings) if "." in key else Settings
        known = ", ".join(section.model_fields)
        return first, f"the key {key} does not exist. The keys are {known}"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return "", message
    wanted = _WANTED.get(problem["type"], message).format_map(problem.get("ctx", {}))
    if problem["type"] == "value_error":
        wanted = message
    return first, f"{key}: found {shown(problem['input'])}, wanted {wanted}"


def shown(value: Any, longest: int = 80) -> str:
    """A value as Python writes it, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."
