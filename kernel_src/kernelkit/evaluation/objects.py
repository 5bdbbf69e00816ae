"""Objects beside objects: the connected components of two masks, matched by their overlap.

Runs of both masks are read side by side in row order. So no component becomes a mask of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.metrics import IOU_TWENTIETHS, Counts
from kernelkit.jit import compiled
from kernelkit.mask import BitMask
from kernelkit.mask.components import bands_of, label
from kernelkit.mask.sweeps import runs_of_band
from kernelkit.vocabulary import Connectivity

__all__ = ["ObjectOverlaps", "overlaps_of"]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectOverlaps:
    """The components of two masks, and the pixels that they have in common.

    Attributes
    ----------
    found_areas, true_areas
        int64, in pixels, in the order of `BitMask.components`.
    pairs
        int64 (n, 3): a found component, a true one, and how many pixels they have in common.
    """

    found_areas: NDArray[np.int64]
    true_areas: NDArray[np.int64]
    pairs: NDArray[np.int64]

    @property
    def precision(self) -> float:
        """The score of the Data Science Bowl of 2018 for one image.

        It is the mean of TP / (TP + FP + FN) of objects over the IoU thresholds .5, .55, ..., .95.
        """
        return float(np.mean([self.counts(step / 20).iou for step in IOU_TWENTIETHS]))

    def counts(self, least_iou: float = 0.5) -> Counts:
        """Count objects. Two are a match if their IoU is above `least_iou`.

        `Counts.f1` is then the F1 of the objects. From one half on, an object matches one other
        at most.

        Raises
        ------
        EvaluationError
            The least IoU is below one half, where matches would not be unique.
        """
        if not 0.5 <= least_iou <= 1:
            raise EvaluationError(
                f"found {least_iou!r} as the least IoU of a match, wanted 0.5 to 1. Below one "
                "half, an object could match two others"
            )
        found, true, both = self.pairs.T
        either = self.found_areas[found] + self.true_areas[true] - both
        # twentieths as whole numbers, or rounding would decide ties
        matches = int((20 * both > np.round(20 * least_iou, 9) * either).sum())
        return Counts(matches, len(self.found_areas) - matches, len(self.true_areas) - matches)


def overlaps_of(found: BitMask, truth: BitMask, connectivity: Connectivity = 8) -> ObjectOverlaps:
    """Find the components of two masks of one size, and what they have in common.

    >>> found = BitMask.from_array([[1, 1, 0, 1, 0, 0]])
    >>> truth = BitMask.from_array([[1, 1, 0, 1, 1, 0]])
    >>> overlaps_of(found, truth).counts()
    Counts(true_positives=1, false_positives=1, false_negatives=1, true_negatives=0)
    """
    if found.shape != truth.shape:
        Counts.of(found, truth)  # says what is wrong
    found_areas, found_runs = _components(found, connectivity)
    true_areas, true_runs = _components(truth, connectivity)
    overlaps = _common(*found_runs, *true_runs)
    others = max(len(true_areas), 1)
    keys, places = np.unique(overlaps[:, 0] * others + overlaps[:, 1], return_inverse=True)
    common = np.bincount(places, overlaps[:, 2], len(keys)).astype(np.int64)
    pairs = np.column_stack([keys // others, keys % others, common])
    return ObjectOverlaps(found_areas, true_areas, pairs)


type _Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _components(mask: BitMask, connectivity: Connectivity) -> tuple[NDArray[np.int64], _Runs]:
    """The areas of a mask's components. Its runs in row order: starts, stops, components."""
    labels = label(mask.words, mask.width, connectivity)
    top = 0
    found = []
    for band, component_of in zip(bands_of(mask.words), labels.component_of, strict=True):
        found.append(runs_of_band(band, mask.width, labels.reach, top, component_of))
        top += len(band)
    starts, stops, components = (np.concatenate(each) for each in zip(*found, strict=True))
    return labels.areas, (starts, stops, components)


@compiled
def _common(starts, stops, components, true_starts, true_stops, true_components):  # type: ignore[no-untyped-def]
    """The stretches of two lists of runs that lie in both: the components, and their length."""
    out = np.empty((len(starts) + len(true_starts), 3), np.int64)
    n = i = j = 0
    while i < len(starts) and j < len(true_starts):
        length = min(stops[i], true_stops[j]) - max(starts[i], true_starts[j])
        if length > 0:
            out[n] = components[i], true_components[j], length
            n += 1
        if stops[i] <= true_stops[j]:
            i += 1
        else:
            j += 1
    return out[:n]
