"""`MergeTree`: views become a fold's answer, folds a model's, models a scale's, and scales one.

Each step says in which domain it merges. Answers are converted between the steps if needed. A
branch is asked only when its turn comes. So only one member's answer is in memory at a time.
"""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import groupby
from math import lcm
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from kernelkit.ensemble.merge import combine, convert
from kernelkit.ensemble.placed import PlacedMember
from kernelkit.ensemble.tta import MixedViews, View, ViewSet, view_set
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, MergeStep, PyramidScale
from kernelkit.vocabulary import Domain, GiveUp

__all__ = ["MergeTree", "Spread"]


class Answer(NamedTuple):
    """An answer (N, K, h, w), and the domain it is in."""

    values: Tensor
    domain: Domain


@dataclass
class Spread:
    """Sums up the members' probabilities, for their standard deviation at each pixel.

    Attributes
    ----------
    count
        How many members have answered.
    total, squares
        The sums of their probabilities, and of the squares of these.
    """

    count: int = 0
    total: Tensor | None = None
    squares: Tensor | None = None

    def add(self, probabilities: Tensor) -> None:
        """Take one member's answer."""
        squares = probabilities.square()
        self.total = probabilities if self.total is None else self.total + probabilities
        self.squares = squares if self.squares is None else self.squares + squares
        self.count += 1

    def deviation(self) -> Tensor:
        """The members' standard deviation at each pixel, from 0 (they agree) to 0.5."""
        assert self.total is not None
        assert self.squares is not None
        mean = self.total / self.count
        return (self.squares / self.count - mean.square()).clamp_min(0).sqrt()


@dataclass(frozen=True)
class _Scale:
    """One scale of the pyramid, and the models that look at it.

    Attributes
    ----------
    zoom
        How much tiles are enlarged.
    weight
        In the merge of the scales.
    stride
        What the sides of the networks' input must be multiples of.
    models
        The folds of each run.
    """

    zoom: float
    weight: float
    stride: int
    models: dict[str, list[PlacedMember]]

    @property
    def passes(self) -> float:
        """How many tiles of the source's size the networks look at, per tile and view."""
        return self.zoom**2 * sum(len(folds) for folds in self.models.values())

    def size_of(self, tiles: Tensor) -> tuple[int, int]:
        """Height and width of the tiles at this scale."""
        height, width = (max(1, round(side * self.zoom)) for side in tiles.shape[-2:])
        return height, width

    def resized(self, tiles: Tensor) -> Tensor:
        """The tiles at this scale, padded at the right and below until the stride divides them.

        The padding repeats the border, and is cut off the answer again.
        """
        height, width = self.size_of(tiles)
        margin = (0, -width % self.stride, 0, -height % self.stride)
        return F.pad(_resize(tiles, (height, width)), margin, mode="replicate")


class MergeTree:
    """The members of an ensemble, merged as its recipe says.

    Parameters
    ----------
    placed
        All members, the folds of each run next to each other.
    recipe
        Says which members see which scale, and how each step merges.

    Attributes
    ----------
    views
        In which views each tile is seen. `ask_less` may leave some out.

    Raises
    ------
    RecipeError
        The recipe names runs or members that are not there, or leaves some out.
    """

    def __init__(self, placed: Sequence[PlacedMember], recipe: EnsembleRecipe) -> None:
        self.views = view_set(recipe.views)
        self._recipe = recipe
        self._scales = [self._scale(scale, placed) for scale in recipe.pyramid]
        self._check_all_are_used(placed)

    def __call__(
        self, tiles: Tensor, indices: Sequence[int], spread: Spread | None = None
    ) -> Tensor:
        """Probabilities, float32 (N, K, h, w), of normalised tiles (N, C, h, w) of any size.

        Parameters
        ----------
        indices
            The tiles' indices in their grid, which rotating views go by.
        spread
            Takes each member's answer, if it is given.
        """
        answers = (self._at_scale(scale, tiles, indices, spread) for scale in self._scales)
        weights = [scale.weight for scale in self._scales]
        merged = self._merge(answers, self._recipe.merge.scales, weights)
        return self._converted(merged, "probabilities")

    @property
    def cost(self) -> float:
        """The networks' passes per tile, each counted by the pixels that it looks at."""
        views = 1 if self.views.rotating else len(self.views.views)
        return views * sum(scale.passes for scale in self._scales)

    @property
    def asked(self) -> dict[str, Any]:
        """Who is asked in which views, for a fingerprint."""
        return {
            "views": [view.name for view in self.views.views],
            "scales": [
                [scale.zoom, [placed.member.name for f in scale.models.values() for placed in f]]
                for scale in self._scales
            ],
        }

    def ask_less(self, what: GiveUp) -> str | None:
        """Ask half as much from now on, and return what is still asked. None if nothing is left."""
        match what:
            case "views":
                return self._ask_less_views()
            case "folds":
                return self._ask_less_folds()
            case "scales":
                return self._ask_less_scales()

    def _ask_less_views(self) -> str | None:
        views = self.views.views
        if self.views.rotating or len(views) == 1:
            return None
        self.views = ViewSet(views[: _half(views)])
        return f"{len(self.views.views)} of {len(views)} views"

    def _ask_less_folds(self) -> str | None:
        before = max(len(folds) for scale in self._scales for folds in scale.models.values())
        if before == 1:
            return None
        self._scales = [
            replace(s, models={run: folds[: _half(folds)] for run, folds in s.models.items()})
            for s in self._scales
        ]
        return f"{(before + 1) // 2} of {before} folds of a model"

    def _ask_less_scales(self) -> str | None:
        before = self._scales
        if len(before) == 1:
            return None
        # of equal weights the first ones stay, since sorting is stable
        heaviest = sorted(range(len(before)), key=lambda i: -before[i].weight)[: _half(before)]
        self._scales = [before[i] for i in sorted(heaviest)]
        return f"{len(self._scales)} of {len(before)} scales"

    def inputs(self, tiles: Tensor) -> Iterator[tuple[list[PlacedMember], Tensor]]:
        """Iterate over each scale's models: the model's folds, and the tiles as they see them."""
        for scale in self._scales:
            seen = scale.resized(tiles)
            for folds in scale.models.values():
                yield folds, seen

    def _at_scale(
        self, scale: _Scale, tiles: Tensor, indices: Sequence[int], spread: Spread | None
    ) -> Answer:
        merge = self._recipe.merge
        size = tiles.shape[-2:]
        height, width = scale.size_of(tiles)
        seen = scale.resized(tiles)
        passes = self.views.passes(indices, square=seen.shape[-2] == seen.shape[-1])

        def folds(members: Iterable[PlacedMember]) -> Iterator[Answer]:
            for member in members:
                answer = self._merge(_views(member, seen, passes), merge.views)
                values = self._converted(answer, merge.folds.of)[..., :height, :width]
                answer = Answer(_resize(values, size), merge.folds.of)
                if spread is not None:
                    spread.add(self._converted(answer, "probabilities"))
                yield answer

        def models() -> Iterator[Answer]:
            for members in scale.models.values():
                weights = [self._weight(placed.member.name) for placed in members]
                yield self._merge(folds(members), merge.folds, weights)

        return self._merge(models(), merge.models, [self._weight(run) for run in scale.models])

    def _merge(
        self, answers: Iterable[Answer], step: MergeStep, weights: Sequence[float] | None = None
    ) -> Answer:
        merged = combine(
            (self._converted(answer, step.of) for answer in answers),
            step.how,
            weights=weights,
            temperature=step.temperature,
            activation=self._recipe.activation,
        )
        return Answer(merged, step.of)

    def _converted(self, answer: Answer, domain: Domain) -> Tensor:
        return convert(answer.values, answer.domain, domain, self._recipe.activation)

    def _weight(self, name: str) -> float:
        """The weight of a run (`unet`) or a member (`unet/fold_0`) by the first pattern for it."""
        weights = self._recipe.weights.items()
        return next((w for pattern, w in weights if fnmatchcase(name, pattern)), 1.0)

    def _scale(self, scale: PyramidScale, placed: Sequence[PlacedMember]) -> _Scale:
        chosen = [p for p in placed if any(fnmatchcase(p.member.run, run) for run in scale.runs)]
        if not chosen:
            raise RecipeError(
                f"{self._recipe.name}: no run matches {', '.join(scale.runs)}, which the pyramid "
                f"names at zoom {scale.zoom:g}. Correct its 'runs'"
            )
        by_run = groupby(chosen, key=lambda placed: placed.member.run)
        return _Scale(
            zoom=scale.zoom,
            weight=scale.weight,
            stride=lcm(*(placed.stride for placed in chosen)),
            models={run: list(folds) for run, folds in by_run},
        )

    def _check_all_are_used(self, placed: Sequence[PlacedMember]) -> None:
        """Refuse members that no pyramid scale uses, and weights that match no member."""
        recipe = self._recipe
        used = {run for scale in self._scales for run in scale.models}
        unused = sorted({member.member.run for member in placed} - used)
        if unused:
            raise RecipeError(
                f"{recipe.name}: no scale of the pyramid uses the run(s) {', '.join(unused)}. "
                "Name them in one, or leave them out of 'runs'"
            )
        names = used | {member.member.name for member in placed}
        unmatched = [p for p in recipe.weights if not any(fnmatchcase(name, p) for name in names)]
        if unmatched:
            raise RecipeError(
                f"{recipe.name}: the weights name {', '.join(unmatched)}, which is no run or "
                f"member (there are {', '.join(sorted(names))}). Correct the pattern"
            )


def _views(
    member: PlacedMember, tiles: Tensor, passes: Sequence[View | MixedViews]
) -> Iterator[Answer]:
    for view in passes:
        yield Answer(view.undo(member(view.apply(tiles))), "logits")


def _half(parts: Sized) -> int:
    return (len(parts) + 1) // 2


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly, with pixel centres aligned. Shrinking averages."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True)
