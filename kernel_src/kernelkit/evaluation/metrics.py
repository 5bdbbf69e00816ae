"""What one mask is worth beside another: counts of pixels, and the scores made of them.

`Counts` are whole numbers of one class. They add up over images, so a score over the set is that
of the sum. Dice, IoU, precision and recall are 1 if nothing is found and nothing was to be found.
If only one of both is empty, all four are 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import EvaluationError
from kernelkit.jit import compiled, count_ones
from kernelkit.mask import BitMask

__all__ = [
    "IOU_TWENTIETHS",
    "Confusion",
    "Counts",
    "dice",
    "dice_of",
    "iou_of",
    "mean_precision",
    "mean_precision_of",
]

# The competitions' thresholds of IoU, .5, .55, ..., .95, in twentieths: whole numbers tie exactly.
IOU_TWENTIETHS = range(10, 20)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pixels of one class are found rightly and wrongly, in one image or in many.

    Attributes
    ----------
    true_positives, false_positives, false_negatives, true_negatives
        In pixels. `ObjectOverlaps.counts` counts objects instead, of which none is a true negative.

    Examples
    --------
    >>> found, truth = (BitMask.from_rle(text, (3, 3)) for text in ("1 4", "2 4"))
    >>> counts = Counts.of(found, truth)
    >>> counts
    Counts(true_positives=3, false_positives=1, false_negatives=1, true_negatives=4)
    >>> counts.dice, counts.iou, (counts + counts).recall
    (0.75, 0.6, 0.75)
    """

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0

    @classmethod
    def of(cls, found: BitMask, truth: BitMask, within: BitMask | None = None) -> Self:
        """Count the pixels of one image.

        Parameters
        ----------
        found, truth
            The predicted mask and the true one.
        within
            Only its pixels count, as where there is data. None counts all.

        Raises
        ------
        EvaluationError
            The masks are of different sizes.
        """
        for other, name in ((found, "predicted"), (within, "valid")):
            if other is not None and other.shape != truth.shape:
                raise EvaluationError(
                    f"found a {name} mask of {other.height} x {other.width} pixels and a true one "
                    f"of {truth.height} x {truth.width}, wanted one size. Resize one of them"
                )
        valid = None if within is None else within.words
        both, only_found, only_true = _count(found.words, truth.words, valid)
        pixels = truth.height * truth.width if within is None else within.area
        return cls(both, only_found, only_true, pixels - both - only_found - only_true)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
        )

    def __radd__(self, other: int) -> "Counts":
        """`sum` begins with 0."""
        return self if other == 0 else NotImplemented

    @property
    def of_background(self) -> "Counts":
        """The counts of what is not of the class."""
        return Counts(
            self.true_negatives, self.false_negatives, self.false_positives, self.true_positives
        )

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        both = self.true_positives
        return float(dice_of(both, both + self.false_positives, both + self.false_negatives))

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall. It is the Dice coefficient."""
        return self.dice

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN), the Jaccard index. Of objects it is the competitions' precision."""
        both = self.true_positives
        return float(iou_of(both, both + self.false_positives, both + self.false_negatives))

    @property
    def precision(self) -> float:
        """TP / (TP + FP). If nothing is found, 1 if nothing was to be found, else 0."""
        return self._share(self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """TP / (TP + FN). If nothing was to be found, 1 if nothing is found, else 0."""
        return self._share(self.true_positives + self.false_negatives)

    def _share(self, of: int) -> float:
        if of:
            return self.true_positives / of
        return float(self.false_positives == self.false_negatives == 0)


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Which class each pixel is of, and as which it is found. Background is the first.

    Attributes
    ----------
    pixels
        int64 (classes + 1, classes + 1): rows are the truth, columns what is found.
    """

    pixels: NDArray[np.int64]

    @classmethod
    def of(
        cls, found: Sequence[BitMask], truth: Sequence[BitMask], within: BitMask | None = None
    ) -> Self:
        """The confusion in one image, of a mask per class.

        Raises
        ------
        EvaluationError
            The masks are of other sizes or numbers, or two classes have a pixel in common.
        """
        if not truth or len(found) != len(truth):
            raise EvaluationError(
                f"found {len(found)} predicted masks and {len(truth)} true ones, wanted one each "
                "per class. Compare masks of the same classes"
            )
        for masks, name in ((found, "predicted"), (truth, "true")):
            _refuse_common(masks, name)
        inside = within or ~BitMask.zeros(*truth[0].shape)
        counts = np.zeros((len(truth) + 1,) * 2, np.int64)
        for i, true in enumerate(truth, 1):
            for j, predicted in enumerate(found, 1):
                counts[i, j] = Counts.of(predicted, true, within).true_positives
            counts[i, 0] = (true & inside).area - counts[i, 1:].sum()
        for j, predicted in enumerate(found, 1):
            counts[0, j] = (predicted & inside).area - counts[1:, j].sum()
        counts[0, 0] = inside.area - counts.sum()
        return cls(counts)

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.pixels + other.pixels)

    def __radd__(self, other: int) -> "Confusion":
        """`sum` begins with 0."""
        return self if other == 0 else NotImplemented

    def counts(self, label: int) -> Counts:
        """The counts of a class. 0 is the background."""
        right = int(self.pixels[label, label])
        found, true = int(self.pixels[:, label].sum()), int(self.pixels[label].sum())
        rest = int(self.pixels.sum()) - found - true + right
        return Counts(right, found - right, true - right, rest)

    @property
    def mean_iou(self) -> float:
        """The mean IoU of all classes and the background. A class that is nowhere is left out."""
        return self._mean("iou")

    @property
    def mean_f1(self) -> float:
        """The mean F1 of the same classes."""
        return self._mean("f1")

    def _mean(self, name: str) -> float:
        each = [self.counts(label) for label in range(len(self.pixels))]
        occurring = [c for c in each if c.true_positives + c.false_positives + c.false_negatives]
        return float(np.mean([getattr(c, name) for c in occurring])) if occurring else 1.0


def dice(found: BitMask, truth: BitMask) -> float:
    """The Dice coefficient of two masks. Two empty masks have 1."""
    return Counts.of(found, truth).dice


def dice_of(both: Any, found: Any, truth: Any) -> Any:
    """The Dice coefficient of areas, numbers or arrays: 2 both / (found + truth), 1 if all are 0.

    >>> dice_of(np.array([2, 0]), np.array([3, 0]), 5)
    array([0.5, 0. ])
    """
    total = np.add(found, truth)
    return np.where(total == 0, 1.0, np.multiply(2.0, both) / np.maximum(total, 1))


def iou_of(both: Any, found: Any, truth: Any) -> Any:
    """Intersection over union of areas, numbers or arrays, 1 if all are 0."""
    either = np.subtract(np.add(found, truth), both)
    return np.where(either == 0, 1.0, np.true_divide(both, np.maximum(either, 1)))


def mean_precision_of(both: Any, found: Any, truth: Any) -> Any:
    """The score of the TGS salt competition, of areas in whole pixels, numbers or arrays.

    A mask is one object. The score is the share of the IoU thresholds .5, .55, ..., .95 that its
    IoU is above. If only one of both masks is empty, it is 0, and if both are, it is 1.
    """
    both = np.asarray(both, np.int64)
    either = np.subtract(np.add(found, truth), both).astype(np.int64)
    twentieths = -(-20 * both // np.maximum(either, 1))  # rounded up: those below are passed
    passed = np.clip(twentieths - IOU_TWENTIETHS.start, 0, len(IOU_TWENTIETHS))
    return np.where(either == 0, 1.0, passed / len(IOU_TWENTIETHS))


def mean_precision(counts: Counts) -> float:
    """The score of the TGS salt competition for one image, see `mean_precision_of`."""
    both = counts.true_positives
    found, truth = both + counts.false_positives, both + counts.false_negatives
    return float(mean_precision_of(both, found, truth))


def _refuse_common(masks: Sequence[BitMask], name: str) -> None:
    for (i, first), (j, second) in combinations(enumerate(masks), 2):
        common = Counts.of(first, second).true_positives
        if common:
            raise EvaluationError(
                f"found {common} pixels of class {i} that are of class {j} too in the {name} "
                "masks, wanted one class each. Score classes that overlap one by one"
            )


@compiled
def _count(found, truth, within):  # type: ignore[no-untyped-def]
    """How many bits are set in both words, in the first alone, and in the second alone."""
    both = only_found = only_true = 0
    for r in range(truth.shape[0]):
        for k in range(truth.shape[1]):
            first, second = found[r, k], truth[r, k]
            if within is not None:
                first &= within[r, k]
                second &= within[r, k]
            both += count_ones(first & second)
            only_found += count_ones(first & ~second)
            only_true += count_ones(second & ~first)
    return both, only_found, only_true
