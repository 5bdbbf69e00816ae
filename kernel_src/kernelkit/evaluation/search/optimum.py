"""The best place of a surface of scores, and how flat the surface is around it.

A single high point is luck more often than not. So the place is that with the highest mean of its
neighbourhood.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.evaluation.search.space import Space

__all__ = ["Optimum", "find_optimum", "smoothed"]

# How far a place's neighbourhood reaches on either side: in thresholds, and in steps of sizes.
# Thresholds in coarse steps are not smoothed, since their neighbours are far.
_REACH = 0.02
_SIZES = 1
# Thresholds are decimal fractions, so their differences are not exact.
_ROUNDING = 1e-9
# What is within this of the best score is as good.
_TOLERANCE = 0.002


@dataclass(frozen=True, slots=True)
class Optimum:
    """What was chosen of one surface.

    Attributes
    ----------
    threshold, size
        The place with the highest mean of its neighbourhood.
    score
        The score there.
    peak
        The highest score of the surface. It is what a search without a neighbourhood would promise.
    thresholds, sizes
        The lowest and the highest that are as good, if only one of both is changed. The wider they
        are, the flatter is the top.
    at_edge
        Whether the place is on the edge of what was tried, so that more should be.
    place
        The indices of threshold and size.
    """

    threshold: float
    size: int
    score: float
    peak: float
    thresholds: tuple[float, float]
    sizes: tuple[int, int]
    at_edge: bool
    place: tuple[int, int]

    def __str__(self) -> str:
        low, high = self.thresholds
        return (
            f"threshold {self.threshold:g} ({low:g} to {high:g} are as good), minimum size "
            f"{self.size} ({self.sizes[0]} to {self.sizes[1]}), score {self.score:.4f} "
            f"(the peak is {self.peak:.4f})"
        )


def find_optimum(surface: NDArray[np.float64], space: Space) -> Optimum:
    """Choose a place of a surface (thresholds, sizes).

    >>> space = Space((0.51, 0.52, 0.53, 0.54, 0.55, 0.56))
    >>> lonely_peak = np.array([[0.9], [0.1], [0.1], [0.7], [0.7], [0.7]])
    >>> find_optimum(lonely_peak, space).threshold
    0.56
    """
    means = smoothed(surface, space.thresholds)
    is_best = means >= means.max() - 1e-12
    t = _middle(is_best.any(axis=1))  # of equal places, one in the middle
    s = _middle(is_best[t])
    score = float(surface[t, s])
    low, high = _as_good(surface[:, s], t)
    smallest, largest = _as_good(surface[t], s)
    return Optimum(
        threshold=space.thresholds[t],
        size=space.sizes[s],
        score=score,
        peak=float(surface.max()),
        thresholds=(space.thresholds[low], space.thresholds[high]),
        sizes=(space.sizes[smallest], space.sizes[largest]),
        at_edge=_is_edge(t, space.shape[0]) or s == space.shape[1] - 1 > 0,
        place=(t, s),
    )


def smoothed(surface: NDArray[np.float64], thresholds: Sequence[float]) -> NDArray[np.float64]:
    """The mean of each place's neighbourhood. At the edges, of the places that there are.

    It reaches equally far in thresholds, however uneven their steps are.
    """
    places = np.asarray(thresholds)
    first = np.searchsorted(places, places - _REACH - _ROUNDING)
    stop = np.searchsorted(places, places + _REACH + _ROUNDING)
    surface = _means(surface, first, stop)
    columns = np.arange(surface.shape[1])
    reach = min(_SIZES, (len(columns) - 1) // 2)
    first, stop = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, len(columns))
    return _means(surface.T, first, stop).T


def _means(
    surface: NDArray[np.float64], first: NDArray[np.int64], stop: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The means of rows from each `first` up to its `stop`."""
    sums = np.zeros((len(surface) + 1, surface.shape[1]))
    np.cumsum(surface, axis=0, out=sums[1:])
    return np.asarray((sums[stop] - sums[first]) / (stop - first)[:, None])


def _as_good(line: NDArray[np.float64], place: int) -> tuple[int, int]:
    """The ends of the stretch around a place whose scores are not clearly lower than its own."""
    is_good = line >= line[place] - _TOLERANCE
    low = high = place
    while low > 0 and is_good[low - 1]:
        low -= 1
    while high < len(line) - 1 and is_good[high + 1]:
        high += 1
    return low, high


def _middle(is_best: NDArray[np.bool_]) -> int:
    places = np.flatnonzero(is_best)
    return int(places[len(places) // 2])


def _is_edge(place: int, count: int) -> bool:
    return count > 1 and place in (0, count - 1)
