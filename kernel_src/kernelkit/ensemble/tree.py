"""The tree of merging: views make a fold's answer, folds a model's, models a scale's, scales one.

Each step says in which domain it merges; between steps answers are converted as needed. A branch
is asked only when its turn comes, so of the members' answers one is in memory at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from math import lcm
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from kernelkit.ensemble.merge import combine, convert
from kernelkit.ensemble.placed import Seat
from kernelkit.ensemble.tta import MixedViews, View, view_set
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, MergeStep, PyramidScale
from kernelkit.vocabulary import Domain

__all__ = ["MergeTree", "Spread"]


class Answer(NamedTuple):
    """An answer (N, K, h, w), and the domain it is in."""

    values: Tensor
    domain: Domain


@dataclass
class Spread:
    """How far the members' probabilities lie apart: their standard deviation at each pixel."""

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
        """The members' standard deviation at each pixel, 0 (they agree) to 0.5."""
        assert self.total is not None
        assert self.squares is not None
        mean = self.total / self.count
        return (self.squares / self.count - mean.square()).clamp_min(0).sqrt()


@dataclass(frozen=True)
class _Scale:
    """One scale of the pyramid, and the models that look at it: their folds by run."""

    zoom: float
    weight: float
    stride: int
    models: dict[str, list[Seat]]

    def size_of(self, tiles: Tensor) -> tuple[int, int]:
        """Height and width of the tiles as this scale sees them."""
        height, width = (max(1, round(side * self.zoom)) for side in tiles.shape[-2:])
        return height, width

    def look(self, tiles: Tensor) -> Tensor:
        """The tiles at this zoom, padded at the right and below until the stride divides them.

        What is added repeats the border, and is cut off the answer again.
        """
        height, width = self.size_of(tiles)
        margin = (0, -width % self.stride, 0, -height % self.stride)
        return F.pad(_resize(tiles, (height, width)), margin, mode="replicate")


class MergeTree:
    """The members of an ensemble, merged as its recipe says."""

    def __init__(self, seats: Sequence[Seat], recipe: EnsembleRecipe) -> None:
        self.views = view_set(recipe.views)
        self._recipe = recipe
        self._scales = [self._scale(scale, seats) for scale in recipe.pyramid]
        self._check_all_are_used(seats)

    def __call__(
        self, tiles: Tensor, indices: Sequence[int], spread: Spread | None = None
    ) -> Tensor:
        """Probabilities, float32 (N, K, h, w), of normalised tiles (N, C, h, w) of any sides.

        `spread`, where given, takes each member's answer on its way.
        """
        answers = (self._at_scale(scale, tiles, indices, spread) for scale in self._scales)
        weights = [scale.weight for scale in self._scales]
        merged = self._merge(answers, self._recipe.merge.scales, weights)
        return self._converted(merged, "probabilities")

    def looks(self, tiles: Tensor) -> Iterator[tuple[list[Seat], Tensor]]:
        """For each model of each scale: its folds, and the tiles as they see them."""
        for scale in self._scales:
            seen = scale.look(tiles)
            for folds in scale.models.values():
                yield folds, seen

    def _at_scale(
        self, scale: _Scale, tiles: Tensor, indices: Sequence[int], spread: Spread | None
    ) -> Answer:
        merge = self._recipe.merge
        size = tiles.shape[-2:]
        height, width = scale.size_of(tiles)
        seen = scale.look(tiles)
        passes = self.views.passes(indices, square=seen.shape[-2] == seen.shape[-1])

        def folds(seats: Iterable[Seat]) -> Iterator[Answer]:
            for seat in seats:
                answer = self._merge(_views(seat, seen, passes), merge.views)
                values = self._converted(answer, merge.folds.of)[..., :height, :width]
                answer = Answer(_resize(values, size), merge.folds.of)
                if spread is not None:
                    spread.add(self._converted(answer, "probabilities"))
                yield answer

        def models() -> Iterator[Answer]:
            for seats in scale.models.values():
                weights = [self._weight(seat.member.name) for seat in seats]
                yield self._merge(folds(seats), merge.folds, weights)

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

    def _scale(self, scale: PyramidScale, seats: Sequence[Seat]) -> _Scale:
        chosen = [s for s in seats if any(fnmatchcase(s.member.run, p) for p in scale.runs)]
        if not chosen:
            raise RecipeError(
                f"{self._recipe.name}: no run matches {', '.join(scale.runs)}, which the pyramid "
                f"wants at zoom {scale.zoom:g}; correct its 'runs'."
            )
        by_run = groupby(chosen, key=lambda seat: seat.member.run)
        return _Scale(
            zoom=scale.zoom,
            weight=scale.weight,
            stride=lcm(*(seat.stride for seat in chosen)),
            models={run: list(folds) for run, folds in by_run},
        )

    def _check_all_are_used(self, seats: Sequence[Seat]) -> None:
        """Refuse members that no scale looks at, and weights for nobody."""
        recipe = self._recipe
        taken = {run for scale in self._scales for run in scale.models}
        idle = sorted({seat.member.run for seat in seats} - taken)
        if idle:
            raise RecipeError(
                f"{recipe.name}: no scale of the pyramid takes the run(s) {', '.join(idle)}; name "
                "them in one, or leave them out of 'runs'."
            )
        names = taken | {seat.member.name for seat in seats}
        vain = [p for p in recipe.weights if not any(fnmatchcase(name, p) for name in names)]
        if vain:
            raise RecipeError(
                f"{recipe.name}: the weights name {', '.join(vain)}, which is no run or member "
                f"(there are {', '.join(sorted(names))}); correct the pattern."
            )


def _views(seat: Seat, tiles: Tensor, passes: Sequence[View | MixedViews]) -> Iterator[Answer]:
    for view in passes:
        yield Answer(view.undo(seat(view.apply(tiles))), "logits")


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, pixel centres aligned, averaging where it shrinks."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True)
