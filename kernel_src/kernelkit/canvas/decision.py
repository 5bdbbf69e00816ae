"""Which pixels are on: those above their class's threshold, or those of the likeliest class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.accumulate import choose_enlarged, threshold_enlarged
from kernelkit.errors import MaskError
from kernelkit.mask import BitMask

__all__ = ["UNIT", "Decision"]

# Probability 1 as a whole number. Bytes and twentieths are whole numbers too, so that ties stay.
UNIT = 255 * 256


@dataclass(frozen=True, slots=True)
class Decision:
    """How probabilities become masks.

    Attributes
    ----------
    thresholds
        One per class. A pixel is on if its probability is above it. With None, each pixel is on for
        the class of its highest probability alone. Ties go to the first class. A pixel at which all
        probabilities are 0, as in skipped tiles, is on for none.
    """

    thresholds: tuple[float, ...] | None

    @classmethod
    def of(cls, thresholds: Sequence[float] | None, classes: int) -> Self:
        """Check thresholds, and give each class its own.

        Raises
        ------
        MaskError
            There are no classes, or the thresholds do not fit them.
        """
        if not isinstance(classes, int | np.integer) or classes < 1:
            raise MaskError(
                f"a canvas of {classes!r:.60} classes was requested. It needs at least one class"
            )
        if thresholds is None:
            if classes == 1:
                raise MaskError(
                    "found 1 class and no threshold. The likeliest of one class is that class at "
                    "every pixel. Give a threshold"
                )
            return cls(None)
        if not isinstance(thresholds, Sequence | np.ndarray) or len(thresholds) not in (1, classes):
            count = len(thresholds) if isinstance(thresholds, Sequence | np.ndarray) else "Bare"
            raise MaskError(
                f"{count} thresholds were given for {classes} classes. Give a list with one for "
                "all, or one per class"
            )
        for threshold in thresholds:  # just outside of 0 to 1 it turns all pixels on or off
            if not isinstance(threshold, int | float | np.number) or not -1 < threshold < 2:
                raise MaskError(
                    f"a threshold of {threshold!r:.60} was given. It needs a number between 0 and 1"
                )
        return cls(tuple(thresholds) * (classes // len(thresholds)))

    def groups(self, classes: int) -> list[slice]:
        """The classes that are decided together: each by itself, or all at once."""
        if self.thresholds is None:
            return [slice(0, classes)]
        return [slice(label, label + 1) for label in range(classes)]

    def leaves_empty(self, labels: slice, highest: float, unit: float) -> bool:
        """Whether no pixel of a group can be on, if `highest` is its highest value."""
        if self.thresholds is None:
            return bool(highest <= 0)
        return bool(highest <= np.float32(self.thresholds[labels.start] * unit))

    def write(
        self,
        values: NDArray[np.float32],
        labels: slice,
        masks: Sequence[BitMask],
        *,
        rows: tuple[int, int],
        top: int,
        scale: int,
    ) -> None:
        """Decide some rows of the whole image's width, and write them to its masks.

        Parameters
        ----------
        values
            float32 (the group's classes, any, columns), contiguous, in whole units.
        labels
            The group.
        masks
            Of all classes.
        rows
            Which rows to decide, [first, stop), before they are enlarged.
        top
            The row that `values` begins with.
        scale
            The factor by which they are enlarged.
        """
        first, stop = rows
        parts = [mask.words[first * scale : stop * scale] for mask in masks[labels]]
        words = np.empty((len(parts), *parts[0].shape), np.uint64)
        self.pack(
            values,
            labels,
            corner=(first - top, 0),
            scale=scale,
            unit=UNIT,
            width=masks[0].width,
            out=words,
        )
        for part, packed in zip(parts, words, strict=True):
            part[:] = packed

    def pack(
        self,
        values: NDArray[np.float32],
        labels: slice,
        *,
        corner: tuple[int, int],
        scale: int,
        unit: float,
        width: int,
        out: NDArray[np.uint64],
    ) -> None:
        """Enlarge the probabilities of a group of classes, decide, and pack the pixels that are on.

        Parameters
        ----------
        values
            float32 (the group's classes, rows, columns), contiguous.
        labels
            The group.
        corner
            The row and column of `values` at which to begin.
        scale
            The factor by which they are enlarged.
        unit
            The value that stands for probability 1.
        width
            Pixels per row of the masks.
        out
            The words to write to, uint64 (the group's classes, rows, ceil(width / 64)).
        """
        if self.thresholds is None:
            choose_enlarged(values, *corner, scale, width, out)
        else:
            limit = np.float32(self.thresholds[labels.start] * unit)
            threshold_enlarged(values[0], *corner, scale, limit, width, out[0])
