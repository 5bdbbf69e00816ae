"""The areas of all images for all thresholds and sizes, and the scores made of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.stored import Planes
from kernelkit.errors import EvaluationError
from kernelkit.evaluation.metrics import dice_of, iou_of, mean_precision_of
from kernelkit.evaluation.search.levels import levels_of, shares_of
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.sweep import FULL, sweep
from kernelkit.mask import BitMask
from kernelkit.mask.resizing import resize
from kernelkit.vocabulary import Score

__all__ = ["Areas", "SweepTable", "score_of", "sweep_image"]


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas in pixels, of any number of axes: what is found, what of it is true, what is true.

    Attributes
    ----------
    found, both, truth
        Arrays of one shape, or of shapes that broadcast.
    """

    found: NDArray
    both: NDArray
    truth: NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SweepTable:
    """The areas of some images, for each class, threshold and minimum size.

    Attributes
    ----------
    space
        What was tried.
    images, classes
        The names of the rows. A single class without a name is "".
    found, both
        uint32 (images, classes, thresholds, sizes), in pixels of the submitted mask.
    truth
        int64 (images, classes), the true areas.
    """

    space: Space
    images: tuple[str, ...]
    classes: tuple[str, ...]
    found: NDArray[np.uint32]
    both: NDArray[np.uint32]
    truth: NDArray[np.int64]

    @classmethod
    def of(cls, space: Space, classes: Sequence[str], swept: Sequence[tuple[str, Areas]]) -> Self:
        """The table of images that were swept one by one.

        Raises
        ------
        EvaluationError
            There is no image.
        """
        if not swept:
            raise EvaluationError(
                "found no image with predictions and truth, wanted one or more. Predict some first"
            )
        return cls(
            space,
            tuple(name for name, _ in swept),
            tuple(classes),
            np.stack([np.rint(areas.found).astype(np.uint32) for _, areas in swept]),
            np.stack([np.rint(areas.both).astype(np.uint32) for _, areas in swept]),
            np.stack([areas.truth for _, areas in swept]),
        )

    def only(self, images: Collection[str]) -> "SweepTable":
        """The table of some of its images.

        Raises
        ------
        EvaluationError
            One of them is not in it.
        """
        self._refuse_unknown(images)
        chosen = np.array([image in images for image in self.images], bool)
        return self._of(chosen)

    def without(self, images: Collection[str]) -> "SweepTable":
        """The table without some of its images, such as those that are labelled wrongly.

        Raises
        ------
        EvaluationError
            One of them is not in it, or none would be left.
        """
        self._refuse_unknown(images)
        chosen = np.array([image not in images for image in self.images], bool)
        if not chosen.any():
            raise EvaluationError(
                f"found all {len(self.images)} images excluded, wanted some to choose by. Exclude "
                "fewer"
            )
        return self._of(chosen)

    def surface(self, label: int, score: Score) -> NDArray[np.float64]:
        """The score of a class for each threshold and size, (thresholds, sizes)."""
        found, both = self.found[:, label], self.both[:, label]
        truth = self.truth[:, label, None, None]
        return np.asarray(score_of(Areas(found, both, truth), score))

    def at(self, places: NDArray[np.int64]) -> Areas:
        """The areas (images, classes) at a place of the grid per image and class.

        Parameters
        ----------
        places
            int64 (images, classes, 2), the indices of threshold and size.
        """
        rows, columns = np.indices(self.truth.shape)
        index = rows, columns, places[..., 0], places[..., 1]
        return Areas(self.found[index], self.both[index], self.truth)

    def _of(self, chosen: NDArray[np.bool_]) -> "SweepTable":
        images = tuple(name for name, is_in in zip(self.images, chosen, strict=True) if is_in)
        return SweepTable(
            self.space,
            images,
            self.classes,
            self.found[chosen],
            self.both[chosen],
            self.truth[chosen],
        )

    def _refuse_unknown(self, images: Collection[str]) -> None:
        for image in images:
            if image not in self.images:
                raise EvaluationError(
                    f"found {image!r:.60} in a list of images, but no prediction of it. Correct "
                    "the id"
                )


def sweep_image(
    planes: Planes,
    truth: Sequence[BitMask],
    space: Space,
    labels: Sequence[int],
    *,
    scale: int = 1,
    shrink: int = 1,
    within: BitMask | None = None,
) -> Areas:
    """The areas (classes, thresholds, sizes) of one image.

    Parameters
    ----------
    planes
        The probabilities (all classes, h, w), as a store or `MergedPlanes` gives them.
    truth
        The true mask of each submitted class, at the submitted size.
    labels
        Which classes of the planes those are.
    scale
        How many pixels of the mask a pixel of the planes is wide.
    shrink
        Squares of so many by so many pixels of the planes become one pixel before. More than 1 is
        faster, but not exact.
    within
        Only its pixels count, since they hold data.
    """
    levels = levels_of(planes, space.thresholds, labels, shrink)
    size = levels.shape[1], levels.shape[2]
    side = scale * shrink
    if within is not None:
        levels[:, shares_of(~within, size, side) > FULL // 2] = 0
        truth = [mask & resize(within, mask.shape) for mask in truth]
    found, both = zip(
        *(
            sweep(
                plane,
                shares_of(mask, size, side),
                len(space.thresholds),
                space.sizes,
                keep=space.keep,
                connectivity=space.connectivity,
                pixel=side**2,
            )
            for plane, mask in zip(levels, truth, strict=True)
        ),
        strict=True,
    )
    areas = np.array([mask.area for mask in truth], np.int64)
    return Areas(np.stack(found), np.stack(both), areas)


def score_of(areas: Areas, score: Score) -> NDArray[np.float64]:
    """The score over the first axis, the images.

    "dice" and "iou" are means of images, and "precision" that of the salt competition. "set" is the
    Dice coefficient of the sums.
    """
    if score == "set":
        sums = (each.sum(0, dtype=np.int64) for each in (areas.both, areas.found, areas.truth))
        return np.asarray(dice_of(*sums))
    # one image at a time: a table of all would take the memory of several
    total = np.zeros(np.broadcast_shapes(areas.found.shape, areas.truth.shape)[1:])
    for found, both, truth in zip(areas.found, areas.both, areas.truth, strict=True):
        total += _OF_IMAGE[score](both, found, truth)
    return total / len(areas.found)


_OF_IMAGE = {"dice": dice_of, "iou": iou_of, "precision": mean_precision_of}
