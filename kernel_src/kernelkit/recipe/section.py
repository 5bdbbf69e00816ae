"""What every section of a recipe refuses."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Section"]


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
                if field and "bool" not in str(field.annotation) and _has_truth_value(given):
                    raise ValueError(f"found a truth value as {name}, wanted numbers or words")
        return value


def _has_truth_value(value: Any) -> bool:
    many = isinstance(value, list | tuple)
    return isinstance(value, bool) or (many and any(isinstance(part, bool) for part in value))
