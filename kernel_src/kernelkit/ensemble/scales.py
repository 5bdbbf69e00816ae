"""`Scale`: one scale of a recipe's pyramid, with the members that look at it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from math import lcm
from typing import Protocol

from torch import Tensor

from kernelkit.checkpoints import Member
from kernelkit.ensemble.weights import is_named
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, PyramidScale

__all__ = ["Scale", "ScaleMember", "labels_of_layers", "scales_of"]


class ScaleMember(Protocol):
    """A member as scales and their merging ask it: placed on a device, or a part of a graph."""

    @property
    def member(self) -> Member:
        """Who it is."""

    @property
    def stride(self) -> int:
        """What the sides of its tiles must be multiples of."""

    def __call__(self, tiles: Tensor, /) -> Tensor:
        """Logits (N, K, h, w) of normalised tiles (N, C, h, w)."""


@dataclass(frozen=True)
class Scale:
    """One scale of the pyramid, and the models that look at it.

    Attributes
    ----------
    place
        Its place in the recipe's pyramid.
    step
        What the recipe says of it.
    stride
        What the sides of the networks' input must be multiples of.
    models
        The members of each run.
    """

    place: int
    step: PyramidScale
    stride: int
    models: dict[str, list[ScaleMember]]

    @property
    def passes(self) -> float:
        """What the networks look at, per image and view: in images of zoom 1, or in pixels."""
        height, width = self.step.size or (self.step.zoom, self.step.zoom)
        return height * width * sum(len(members) for members in self.models.values())


def scales_of(recipe: EnsembleRecipe, placed: Sequence[ScaleMember]) -> list[Scale]:
    """The scales of a recipe's pyramid.

    Parameters
    ----------
    placed
        All members, those of each run next to each other.

    Raises
    ------
    RecipeError
        The recipe names runs or members that are not there, or leaves some out.
    """
    scales = [_scale(recipe, place, placed) for place in range(len(recipe.pyramid))]
    _check_all_are_used(recipe, scales, placed)
    return scales


def labels_of_layers(scales: Sequence[Scale]) -> dict[tuple[int, str], str]:
    """What to write behind a layer's name, by the scale's place and the run.

    It is nothing for a run that looks at one scale, else `@` and the scale's label.
    """
    seen = Counter(run for scale in scales for run in scale.models)
    return {
        (scale.place, run): f"@{scale.step.label}" if seen[run] > 1 else ""
        for scale in scales
        for run in scale.models
    }


def _scale(recipe: EnsembleRecipe, place: int, placed: Sequence[ScaleMember]) -> Scale:
    step = recipe.pyramid[place]
    chosen = [p for p in placed if any(fnmatchcase(p.member.run, run) for run in step.runs)]
    if not chosen:
        kind = "zoom" if step.size is None else "size"
        raise RecipeError(
            f"{recipe.name}: no run matches {', '.join(step.runs)}, which the pyramid "
            f"names at {kind} {step.label}. Correct its 'runs'"
        )
    by_run = groupby(chosen, key=lambda placed: placed.member.run)
    return Scale(
        place=place,
        step=step,
        stride=lcm(*(placed.stride for placed in chosen)),
        models={run: list(members) for run, members in by_run},
    )


def _check_all_are_used(
    recipe: EnsembleRecipe, scales: Sequence[Scale], placed: Sequence[ScaleMember]
) -> None:
    """Refuse members that no pyramid scale uses, and weights that match no member."""
    used = {run for scale in scales for run in scale.models}
    unused = sorted({member.member.run for member in placed} - used)
    if unused:
        raise RecipeError(
            f"{recipe.name}: no scale of the pyramid uses the run(s) {', '.join(unused)}. "
            "Name them in one, or leave them out of 'runs'"
        )
    names = used | {member.member.name for member in placed}
    unmatched = [p for p in recipe.weights if not any(is_named(name, p) for name in names)]
    if unmatched:
        raise RecipeError(
            f"{recipe.name}: the weights name {', '.join(unmatched)}, which is no run or "
            f"member (there are {', '.join(sorted(names))}). Correct the pattern"
        )
