"""What a search tries: thresholds, and minimum sizes of components."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from kernelkit.errors import EvaluationError
from kernelkit.vocabulary import Connectivity, Keep

__all__ = ["Space"]

# A pixel's level is a byte.
_MOST_THRESHOLDS = 255


@dataclass(frozen=True, slots=True)
class Space:
    """The grid of thresholds and minimum sizes.

    Attributes
    ----------
    thresholds
        Ascending, between 0 and 1. A pixel is on if its probability is above one.
    sizes
        Ascending, in pixels of the submitted mask. 0 removes nothing.
    keep, connectivity
        As for `remove_small`.

    Raises
    ------
    EvaluationError
        Nothing is to be tried, or what no recipe can say.

    >>> Space((0.2, 0.5), (0, 100)).shape
    (2, 2)
    """

    thresholds: tuple[float, ...]
    sizes: tuple[int, ...] = (0,)
    keep: Keep = ">="
    connectivity: Connectivity = 8

    def __post_init__(self) -> None:
        _refuse("thresholds", self.thresholds, 0, 1)
        _refuse("minimum sizes", self.sizes, -1, math.inf)
        if len(self.thresholds) > _MOST_THRESHOLDS:
            raise EvaluationError(
                f"found {len(self.thresholds)} thresholds to be tried, wanted at most "
                f"{_MOST_THRESHOLDS}. Take larger steps"
            )

    @classmethod
    def between(
        cls,
        lowest: float = 0.2,
        highest: float = 0.9,
        step: float = 0.01,
        sizes: Sequence[int] = (0,),
        keep: Keep = ">=",
        connectivity: Connectivity = 8,
    ) -> Self:
        """Thresholds in equal steps, both ends included. The defaults are HuBMAP's second place's.

        >>> Space.between(0.2, 0.4, 0.1).thresholds
        (0.2, 0.3, 0.4)
        """
        if not (math.isfinite(step) and step > 0 and highest >= lowest):
            raise EvaluationError(
                f"found thresholds from {lowest:g} to {highest:g} by {step:g}, wanted "
                "a range upward in steps above 0. Correct them"
            )
        count = math.floor((highest - lowest) / step + 1e-6) + 1
        thresholds = tuple(round(lowest + i * step, 6) for i in range(count))
        return cls(thresholds, tuple(sizes), keep, connectivity)

    def including(self, thresholds: Iterable[float], sizes: Iterable[int]) -> "Space":
        """The space with further values, such as those that a recipe has now."""
        return Space(
            tuple(sorted({*self.thresholds, *thresholds})),
            tuple(sorted({*self.sizes, *sizes})),
            self.keep,
            self.connectivity,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """How many thresholds and sizes there are."""
        return len(self.thresholds), len(self.sizes)

    def place(self, threshold: float, size: int) -> tuple[int, int]:
        """Where a threshold and a size stand in the grid. They must be in it."""
        return self.thresholds.index(threshold), self.sizes.index(size)


def _refuse(name: str, values: Sequence[float], above: float, below: float) -> None:
    if not values:
        raise EvaluationError(f"found no {name} to be tried, wanted one or more. Name some")
    if any(not above < value < below for value in values):
        raise EvaluationError(
            f"found {name} from {min(values):g} to {max(values):g}, wanted them "
            f"{'between 0 and 1' if below == 1 else '0 or more'}. Correct them"
        )
    if not np.all(np.diff(values) > 0):
        raise EvaluationError(f"found {name} out of order or twice. Sort them, each once")
