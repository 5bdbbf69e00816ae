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
        if self.how in ("gmean", "tsharpen", "vote") and self.of == "logits":
            raise ValueError(f"{self.how} is defined for probabilities, not for logits")
        return self


class Merge(Section):
    """How answers become one, level by level.

    Attributes
    ----------
    views
        The TTA views of one member.
    folds
        The folds of one model.
    models
        The models at one scale of the pyramid.
    scales
        The scales of the pyramid.
    """

    views: MergeStep = MergeStep(of="logits")
    folds: MergeStep = MergeStep(of="probabilities")
    models: MergeStep = MergeStep(of="probabilities")
    scales: MergeStep = MergeStep(of="probabilities")

    @model_validator(mode="after")
    def _sharpened_once(self) -> Self:
        steps = {name: getattr(self, name) for name in Merge.model_fields}
        sharpened = {name: step for name, step in steps.items() if step.temperature}
        if len(sharpened) > 1:
            exponent = math.prod(step.temperature for step in sharpened.values())
            raise ValueError(
                f"found tsharpen at {len(sharpened)} levels ({', '.join(sharpened)}), which"
                f" together is p^{exponent:g}. Write it at one level, and the mean at the others"
            )
        return self
