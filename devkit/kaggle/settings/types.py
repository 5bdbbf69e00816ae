"""The kinds of values that `kaggle.toml` may hold: names on Kaggle, parameters, times.

Each says in words what it wants.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

__all__ = [
    "CompetitionSlug",
    "DatasetSlug",
    "Hours",
    "KernelSlug",
    "Limit",
    "ModelReference",
    "Parameter",
    "Pause",
    "Reference",
    "UserName",
]

_SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)*"
# no pause and no limit is longer than a month
_LONGEST = 30 * 24 * 3600
_INF = float("inf")


def _form(pattern: str, wanted: str) -> AfterValidator:
    """Refuse text of another form, and say in words which is wanted."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(wanted)
        return text

    return AfterValidator(check)


def _slug(shortest: int, longest: int, empty: str = "") -> AfterValidator:
    wanted = f"{shortest} to {longest} small letters and digits, in words with single hyphens"
    pattern = rf"(?=.{{{shortest},{longest}}}$){_SLUG}"
    return _form(f"|{pattern}" if empty else pattern, f"{wanted}{empty}")


def _seen(pattern: str) -> Any:
    """The form as editors check it. They know fewer patterns than Python."""
    return Field(json_schema_extra={"pattern": f"^{pattern}$"})


def _check_parameter(value: Any) -> Any:
    if not isinstance(value, str | int | float) or value != value or value in (_INF, -_INF):
        raise ValueError("text, a finite number, true or false")
    return value


UserName = Annotated[
    str,
    _form(f"|{_SLUG}", "a user name as in its address on kaggle.com, in small letters"),
    _seen(f"({_SLUG})?"),
]
KernelSlug = Annotated[str, _slug(5, 50), _seen(_SLUG)]
DatasetSlug = Annotated[str, _slug(6, 50, ", or nothing"), _seen(f"({_SLUG})?")]
CompetitionSlug = Annotated[
    str,
    _form("[A-Za-z0-9_-]*", "a competition's name as in its address on kaggle.com"),
    _seen("[A-Za-z0-9_-]*"),
]
Reference = Annotated[str, _form(r"[\w-]+/[\w-]+", "owner/slug"), _seen("[^/]+/[^/]+")]
ModelReference = Annotated[
    str,
    _form(r"[\w-]+/[\w-]+/[\w-]+/[\w.-]+/\d+", "owner/model/framework/variation/version"),
    _seen("[^/]+(/[^/]+){4}"),
]
Parameter = Annotated[str | int | float | bool, BeforeValidator(_check_parameter)]
# true is no number
Pause = Annotated[float, Field(gt=0, le=_LONGEST, allow_inf_nan=False, strict=True)]
Limit = Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False, strict=True)]
Hours = Annotated[float, Field(gt=0, le=12, allow_inf_nan=False, strict=True)]
