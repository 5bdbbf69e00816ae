"""All thresholds and all minimum sizes of one map in one pass over its pixels.

As the threshold falls, pixels join and components grow and unite, but never part. So pixels are
taken from the highest level down and united with those beside them. After each level, the sizes of
the components and their overlap with the truth are put into a histogram. Its sums from the largest
size down are the areas for every minimum size. This is the component tree of the field (Najman and
Couprie, 2006), of which only the sums are kept.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernelkit.jit import compiled
from kernelkit.vocabulary import Connectivity, Keep

__all__ = ["FULL", "sweep"]

# The byte of a pixel that is wholly of the truth.
FULL = 255


def sweep(
    levels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    count: int,
    sizes: Sequence[float],
    *,
    keep: Keep = ">=",
    connectivity: Connectivity = 8,
    pixel: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The areas that remain of a map, for each threshold and each minimum size.

    Parameters
    ----------
    levels
        uint8 (height, width): above how many of the thresholds a pixel is.
    truth
        uint8 (height, width): the share of each pixel that is of the truth, of 255.
    count
        How many thresholds there are, at most 255.
    sizes
        The minimum sizes, ascending.
    keep, connectivity
        As for `BitMask.remove_small`.
    pixel
        How many pixels of the mask one pixel of the map stands for. Sizes and areas are in those.

    Returns
    -------
    found, both
        float64 (count, sizes): the area that is left of the map, and what of it is of the truth.

    >>> levels = np.array([[2, 1, 0, 1]], np.uint8)
    >>> found, both = sweep(levels, np.array([[255, 0, 0, 255]], np.uint8), 2, [1, 2])
    >>> found.tolist(), both.tolist()
    ([[3.0, 2.0], [1.0, 0.0]], [[2.0, 1.0], [1.0, 0.0]])
    """
    height, width = levels.shape
    # where the pixels of each level begin, the highest first
    starts = np.zeros(count + 1, np.int64)
    starts[1:] = np.cumsum(_histogram(levels)[count:0:-1])
    places = np.empty(starts[count], np.uint32)
    shares = np.empty(starts[count], np.uint8)
    _sort(levels, truth, count, starts.copy(), places, shares)
    limits = np.asarray(sizes, np.float64) / pixel
    # in whole pixels: the least area that stays
    least = np.floor(limits) + 1 if keep == ">" else np.ceil(limits)
    areas = np.zeros((count, len(sizes) + 1), np.int64)
    overlaps = np.zeros_like(areas)
    row = width + 2  # a border of pixels that are never on
    labels = np.zeros((height + 2) * row, np.int32)
    _flood(
        starts, places, shares, labels, row, connectivity == 8, least.astype(np.int64), areas,
        overlaps,
    )  # fmt: skip
    found, both = (_from_the_largest(each)[::-1] * pixel for each in (areas, overlaps))
    return found.astype(np.float64), both / float(FULL)


def _from_the_largest(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is at least of each size. The first column is what no size keeps."""
    return np.cumsum(histogram[:, :0:-1], axis=1)[:, ::-1]


@compiled
def _histogram(levels):  # type: ignore[no-untyped-def]
    """How many pixels there are of each level, int64 (256,)."""
    counts = np.zeros(256, np.int64)
    for line in levels:
        for level in line:
            counts[level] += 1
    return counts


@compiled
def _sort(levels, truth, count, ends, places, shares):  # type: ignore[no-untyped-def]
    """Sort the pixels above level 0 by their level, the highest first, in row order.

    Parameters
    ----------
    levels, truth, count
        As for `sweep`.
    ends
        int64 (count + 1,): where the next pixel of each level goes.
    places
        uint32: gets the pixels' places in an image with a border of one pixel.
    shares
        uint8: gets their truth.
    """
    height, width = levels.shape
    for r in range(height):
        place = (r + 1) * (width + 2) + 1
        for c in range(width):
            level = levels[r, c]
            if level:
                i = ends[count - level]
                ends[count - level] = i + 1
                places[i] = place + c
                shares[i] = truth[r, c]


@compiled
def _flood(starts, places, shares, labels, row, is_eight, least, areas, overlaps):  # type: ignore[no-untyped-def]
    """Take pixels level by level, and fill the histograms of the components' areas and overlaps.

    Parameters
    ----------
    starts
        int64: where the pixels of each level begin.
    places, shares
        As `_sort` gives them.
    labels
        int32, all 0: gets the component of each pixel, as it was when the pixel came.
    row
        Pixels per row of the image with its border.
    is_eight
        Whether pixels that touch at a corner are neighbours.
    least
        int64, ascending: the least areas.
    areas, overlaps
        int64 (levels, sizes + 1), all 0. Column j is of components that j sizes keep.
    """
    beside = np.array([-row, -1, 1, row, -row - 1, -row + 1, row - 1, row + 1])
    neighbours = 8 if is_eight else 4
    room = 1024
    parents = np.empty(room, np.int32)
    sizes = np.empty(room, np.int64)
    trues = np.empty(room, np.int64)
    alive = np.empty(room, np.int32)  # the components that no other took in
    used = 1  # label 0 is no component
    living = 0
    for level in range(areas.shape[0]):
        for i in range(starts[level], starts[level + 1]):
            place = np.int64(places[i])
            root = np.int32(0)
            last = np.int32(0)
            for n in range(neighbours):
                label = labels[place + beside[n]]
                if label == 0 or label == last:
                    continue
                last = label
                while parents[label] != label:
                    parents[label] = parents[parents[label]]
                    label = parents[label]
                if root == 0:
                    root = label
                elif label != root:
                    if sizes[label] > sizes[root]:
                        root, label = label, root
                    parents[label] = root
                    sizes[root] += sizes[label]
                    trues[root] += trues[label]
            if root == 0:
                if used == room:
                    room *= 2
                    parents, sizes = _longer(parents, room), _longer(sizes, room)
                    trues = _longer(trues, room)
                root = np.int32(used)
                parents[root], sizes[root], trues[root] = root, 0, 0
                if living == len(alive):
                    alive = _longer(alive, 2 * living)
                alive[living] = root
                used += 1
                living += 1
            labels[place] = root
            sizes[root] += 1
            trues[root] += shares[i]
        kept = 0
        for k in range(living):
            root = alive[k]
            if parents[root] == root:
                alive[kept] = root
                kept += 1
                column = np.searchsorted(least, sizes[root], side="right")
                areas[level, column] += sizes[root]
                overlaps[level, column] += trues[root]
        living = kept


@compiled
def _longer(array, length):  # type: ignore[no-untyped-def]
    longer = np.empty(length, array.dtype)
    longer[: len(array)] = array
    return longer
