"""The connected components of a mask, each as runs of its own, and masks of such runs.

No component becomes a mask of the image's size. The mask is read twice, as
`kernelkit.mask.components` reads it, and its runs are sorted by their component.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import MaskError
from kernelkit.jit import compiled
from kernelkit.mask import bits, sweeps
from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.components import bands_of, label
from kernelkit.mask.runs import Runs, fill_runs
from kernelkit.vocabulary import Order

__all__ = ["mask_of_parts", "mean_of_runs", "refuse_overlaps", "runs_of_components"]

_CONNECTIVITY = 8


def runs_of_components(mask: BitMask, order: Order) -> list[Runs]:
    """The runs of each 8-connected component, as positions in the mask's line of pixels.

    Components are in the order of their first pixels in the line.

    >>> [runs.tolist() for runs in runs_of_components(BitMask.from_rle("1 2 5 1", (2, 3)), "row")]
    [[0, 1, 3, 4], [2, 3]]
    """
    words, width = mask.words, mask.width
    if order == "column":
        words, width = bits.turned(words, width), mask.height
    labels = label(words, width, _CONNECTIVITY)
    top = 0
    found = []
    for band, component_of in zip(bands_of(words), labels.component_of, strict=True):
        found.append(sweeps.runs_of_band(band, width, labels.reach, top, component_of))
        top += len(band)
    starts, stops, components = (np.concatenate(each) for each in zip(*found, strict=True))
    order_of_runs = np.argsort(components, kind="stable")
    return _joined(starts[order_of_runs], stops[order_of_runs], components[order_of_runs])


def _joined(starts: NDArray, stops: NDArray, components: NDArray) -> list[Runs]:
    """Join runs that go on in the next row of the line, and part them by component."""
    if not len(starts):
        return []
    is_first = np.ones(len(starts), np.bool_)
    is_first[1:] = (components[1:] != components[:-1]) | (starts[1:] != stops[:-1])
    is_last = np.append(is_first[1:], True)
    runs = np.column_stack([starts[is_first], stops[is_last]])
    borders = np.flatnonzero(np.diff(components[is_first])) + 1
    return [part.reshape(-1) for part in np.split(runs, borders)]


def mask_of_parts(parts: Sequence[Runs], shape: tuple[int, int], order: Order) -> BitMask:
    """The mask of all pixels of several parts, which may overlap."""
    mask = BitMask.zeros(*shape)
    starts, stops = _sorted(parts)
    if len(starts):
        reached = np.maximum.accumulate(stops)
        is_first = np.append(True, starts[1:] > reached[:-1])
        runs = np.column_stack([starts[is_first], reached[np.append(is_first[1:], True)]])
        fill_runs(runs.reshape(-1), mask.width, order, mask.words, is_zero=True)
    return mask


def refuse_overlaps(parts: Sequence[Runs]) -> None:
    """Refuse parts of which two have a pixel in common.

    Raises
    ------
    MaskError
        The message names the pixel's position, counted from 0.
    """
    starts, stops = _sorted(parts)
    overlapping = starts[1:] < stops[:-1]
    if overlapping.any():
        place = int(starts[1:][overlapping][0])
        raise MaskError(
            f"two of its {len(parts)} parts have the pixel at position {place} (counted from 0) in"
            " common. Give each pixel to one part only"
        )


def mean_of_runs(runs: Runs, probabilities: NDArray, order: Order) -> float:
    """The mean probability of the pixels of some runs.

    Parameters
    ----------
    runs, order
        The pixels.
    probabilities
        (height, width), as uint8 of 0 to 255, or as floats of 0 to 1.
    """
    lines = probabilities if order == "row" else probabilities.T
    mean = _sum_of_runs(runs, lines) / int((runs[1::2] - runs[::2]).sum())
    return mean / 255 if probabilities.dtype == np.uint8 else mean


def _sorted(parts: Sequence[Runs]) -> tuple[NDArray, NDArray]:
    runs = np.concatenate([np.empty(0, np.int64), *parts]).reshape(-1, 2)
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    return runs[:, 0], runs[:, 1]


@compiled
def _sum_of_runs(runs, lines):  # type: ignore[no-untyped-def]
    """The sum of the pixels of some runs over lines of pixels, one after the other."""
    total = 0.0
    length = lines.shape[1]
    for i in range(0, len(runs), 2):
        for position in range(runs[i], runs[i + 1]):
            total += lines[position // length, position % length]
    return total
