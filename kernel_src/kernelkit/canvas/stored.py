"""Masks of probabilities that were kept at the network's scale, as `upsample="band"` makes them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas.accumulate import SLACK, quantise
from kernelkit.canvas.decision import UNIT, Decision
from kernelkit.errors import MaskError, kind_of
from kernelkit.jit import in_threads
from kernelkit.mask import BitMask

__all__ = ["Planes", "enlarge_and_threshold", "in_units"]

# How many probabilities are held at once, in float32.
_AT_ONCE = 1 << 22
# Parts that these are cut into for the threads.
_TASKS = 8


class Planes(Protocol):
    """Probabilities of a whole image, at least as rows: an array, a memory map, or what merges."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(classes, height, width)."""

    def __getitem__(self, index: Any, /) -> NDArray:
        """Return some rows, asked for as `planes[:, top:bottom]`, as uint8 or float32."""


def enlarge_and_threshold(
    values: Planes,
    shape: tuple[int, int],
    scale: int,
    thresholds: Sequence[float] | None,
) -> list[BitMask]:
    """Enlarge the probabilities of an image, and decide which pixels are on.

    Equal probabilities give the masks of `Canvas(upsample="band")`, bit for bit. Memory is bounded:
    the masks, and some rows of the probabilities.

    >>> masks = enlarge_and_threshold(np.full((2, 3, 4), 200, np.uint8), (9, 11), 3, [0.5, 0.9])
    >>> masks
    [BitMask(9 x 11, area 99), BitMask(9 x 11, area 0)]

    Parameters
    ----------
    values
        (classes, ceil(height / scale), ceil(width / scale)). uint8, 255 p, or float32 from 0 to 1.
    shape
        The height and width of the source.
    scale
        How many times larger that is. Enlarging is bilinear, with pixel centres aligned.
    thresholds
        One for all classes, or one per class. None chooses the class of the highest probability, as
        `Canvas` does.

    Raises
    ------
    MaskError
        The values are of another shape or dtype, or are no probabilities. The thresholds do not fit
        the classes.
    """
    height, width = shape
    wanted = -(-height // scale), -(-width // scale)
    if len(values.shape) != 3 or tuple(values.shape[1:]) != wanted:
        raise MaskError(
            f"probabilities came as {tuple(values.shape)} for {height} x {width} pixels at scale "
            f"{scale}. They must be (classes, {wanted[0]}, {wanted[1]})"
        )
    classes, rows, columns = values.shape
    decision = Decision.of(thresholds, classes)
    masks = [BitMask.zeros(height, width) for _ in range(classes)]
    halo = 1 if scale > 1 else 0  # a row that is enlarged needs those beside it
    step = max(1, _AT_ONCE // (classes * columns))
    for first in range(0, rows, step):
        stop = min(first + step, rows)
        top = max(first - halo, 0)
        units = in_units(values[:, top : min(stop + halo, rows)])

        def finish(rows: tuple[int, int], top: int = top, units: NDArray = units) -> None:
            for labels in decision.groups(classes):
                decision.write(units[labels], labels, masks, rows=rows, top=top, scale=scale)

        cuts = np.linspace(first, stop, min(_TASKS, stop - first) + 1).astype(int).tolist()
        in_threads(finish, list(pairwise(cuts)), units.size * scale**2)
    return masks


def in_units(values: NDArray) -> NDArray[np.float32]:
    """Some rows of probabilities in whole units, as a canvas keeps them."""
    if not isinstance(values, np.ndarray) or values.dtype not in (np.uint8, np.float32):
        found = values.dtype if isinstance(values, np.ndarray) else kind_of(values)
        raise MaskError(f"probabilities came as {found}. They must be uint8 or float32")
    if values.dtype == np.uint8:
        return values.astype(np.float32) * np.float32(UNIT // 255)
    units = np.empty(values.shape, np.uint16)
    for plane, out in zip(np.ascontiguousarray(values), units, strict=True):
        if quantise(plane, 0, 0, *plane.shape, np.float32(UNIT), out):
            raise MaskError(
                "found values that are no probabilities: NaN, or further than "
                f"{SLACK:g} outside of 0 to 1"
            )
    return units.astype(np.float32)
