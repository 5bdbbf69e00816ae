"""What every section of a recipe refuses, and how sections are merged."""

from collections.abc import Mapping, ValuesView
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Section", "merged"]


class Section(BaseModel):
    """A frozen section of a recipe that refuses keys it does not know, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of what may be written instead of the section's keys, or None."""
        return None

    @model_validator(mode="before")
    @classmethod
    def _truth_values_are_no_numbers(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name, given in value.items():
                field = cls.model_fields.get(name) if isinstance(name, str) else None
                kind = str(field.annotation) if field else "Any"
                parts = given.values() if _is_of_names(kind, given) else given
                if "bool" not in kind and "Any" not in kind and _has_truth_value(parts):
                    raise ValueError(f"found a truth value as {name}, wanted numbers or words")
        return value


def _is_of_names(kind: str, value: Any) -> bool:
    return kind.startswith("dict[") and isinstance(value, dict)


def _has_truth_value(value: Any) -> bool:
    many = isinstance(value, list | tuple | ValuesView)
    return isinstance(value, bool) or (many and any(isinstance(part, bool) for part in value))


def merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with the values of `changes`, section by section.

    Lists are replaced as a whole.

    >>> merged({"model": {"arch": "Unet", "classes": 1}}, {"model": {"arch": "FPN"}})
    {'model': {'arch': 'FPN', 'classes': 1}}
    """
    result = dict(content)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)
        result[key] = value
    return result
