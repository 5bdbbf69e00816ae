"""The sections about merging: how many answers become one."""

import math
import re
from typing import Annotated, Any, Self, get_args

from pydantic import Field, model_validator

from kernelkit.recipe.section import Section
from kernelkit.vocabulary import Domain, MergeMethod, choices

__all__ = ["Merge", "MergeStep"]

# "mean of logits", or "tsharpen(0.5) of probabilities"
_MERGE_SENTENCE = re.compile(
    rf"(?P<how>{'|'.join(get_args(MergeMethod))})(?:\((?P<temperature>[0-9.]+)\))?"
    rf" of (?P<of>{'|'.join(get_args(Domain))})"
)

# Methods that are defined for probabilities alone.
_OF_PROBABILITIES = ("gmean", "tsharpen", "vote")
# The levels above the views.
_LEVELS = ("folds", "models", "scales")


class MergeStep(Section):
    """One level of merging: how, and of what. In YAML it is a phrase.

    The phrase is `mean of logits`, `gmean of probabilities`, `max of probabilities`,
    `vote of probabilities` or `tsharpen(0.5) of probabilities`.

    Attributes
    ----------
    how
        The method: "mean", "gmean" (geometric), "max", "vote" or "tsharpen" (p^t, then the mean).
    of
        What is merged: "logits" or "probabilities".
    temperature
        The t of "tsharpen".
    """

    how: MergeMethod = "mean"
    of: Domain
    temperature: Annotated[float, Field(ge=0)] | None = None

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of the phrases."""
        phrases = [
            f"{how} of {of}"
            for how in get_args(MergeMethod)
            for of in get_args(Domain)
            if how != "tsharpen" and (of == "probabilities" or how not in _OF_PROBABILITIES)
        ]
        sharpened = r"tsharpen\([0-9.]+\) of probabilities"
        any_phrase = rf"^\s*({'|'.join(phrases)}|{sharpened})\s*$"
        known: dict[str, Any] = {"enum": phrases}
        return (
            Annotated[str, Field(json_schema_extra=known)]
            | Annotated[str, Field(pattern=any_phrase)]
        )

    def __str__(self) -> str:
        temperature = "" if self.temperature is None else f"({self.temperature:g})"
        return f"{self.how}{temperature} of {self.of}"

    @model_validator(mode="before")
    @classmethod
    def _from_sentence(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _MERGE_SENTENCE.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                f'"{value}" is no way to merge. Write {choices(MergeMethod)}, then "of", then '
                f'{choices(Domain)}, such as "mean of logits" or "tsharpen(0.5) of probabilities"'
            )
        return match.groupdict()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.how == "tsharpen") != (self.temperature is not None):
            raise ValueError('only tsharpen takes a temperature. Write "tsharpen(0.5) of ..."')
        if self.how in _OF_PROBABILITIES and self.of == "logits":
            raise ValueError(f"{self.how} is defined for probabilities, not for logits")
        return self


class Merge(Section):
    """How answers become one, level by level, or all members at once.

    Attributes
    ----------
    views
        The TTA views of one member.
    folds
        The members of one run: its folds, and their checkpoints if there are several.
    models
        The models at one scale of the pyramid.
    scales
        The scales of the pyramid.
    members
        All members of all runs and scales, in one step. It stands instead of folds, models and
        scales.
    """

    views: MergeStep = MergeStep(of="logits")
    folds: MergeStep = MergeStep(of="probabilities")
    models: MergeStep = MergeStep(of="probabilities")
    scales: MergeStep = MergeStep(of="probabilities")
    members: MergeStep | None = None

    @model_validator(mode="after")
    def _flat_or_by_level(self) -> Self:
        levels = [name for name in _LEVELS if name in self.model_fields_set]
        if self.members is not None and levels:
            raise ValueError(
                f"found members beside {', '.join(levels)}. Write members, which merges all at"
                f" once, or {', '.join(_LEVELS)}"
            )
        return self

    @model_validator(mode="after")
    def _sharpened_once(self) -> Self:
        sharpened = {name: step for name, step in self.steps.items() if step.temperature}
        if len(sharpened) > 1:
            exponent = math.prod(step.temperature or 1.0 for step in sharpened.values())
            raise ValueError(
                f"found tsharpen at {len(sharpened)} levels ({', '.join(sharpened)}), which"
                f" together is p^{exponent:g}. Write it at one level, and the mean at the others"
            )
        return self

    @property
    def steps(self) -> dict[str, MergeStep]:
        """The steps that are taken, by their names and in their order."""
        if self.members is not None:
            return {"views": self.views, "members": self.members}
        return {name: getattr(self, name) for name in ("views", *_LEVELS)}

    @property
    def of_members(self) -> MergeStep:
        """The first step after the views, which takes the members' answers."""
        return self.members or self.folds
