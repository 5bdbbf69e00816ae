"""Connected components of packed masks, found on runs and never on pixels.

Rows are read once from top to bottom. Each run of a row takes the label of a run above that it
touches, or a new label. Labels that meet are united. In memory are two rows of runs, and each
label's parent and area. To measure or remove components, the rows are read again. Then the same
runs meet the same labels in the same order.

Bands of rows are read on all cores at once and united at their borders. Components are numbered by
their first pixels in reading order, as in scipy.ndimage.label. The number of cores changes nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelkit.jit import in_threads
from kernelkit.mask import sweeps
from kernelkit.mask.bits import Words

__all__ = ["Components", "Labels", "bands_of", "label", "measure", "toggle"]

_ROWS_AT_ONCE = 2048
_NO_FLIP, _ALL_ONES = np.uint64(0), np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True)
class Components:
    """The connected components of a mask, in the order of their first pixels, row by row.

    Attributes
    ----------
    areas
        int64 (n,), in pixels.
    boxes
        int64 (n, 4): top, left, bottom, right. The last two are exclusive.
    centroids
        float64 (n, 2): the mean row and column of the pixels' indices.
    touching_border
        bool (n,): whether a pixel lies in the mask's first or last row or column.
    """

    areas: NDArray[np.int64]
    boxes: NDArray[np.int64]
    centroids: NDArray[np.float64]
    touching_border: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.areas)


@dataclass(frozen=True)
class Labels:
    """What a first reading of a mask found.

    Attributes
    ----------
    areas
        int64 (n,), each component's pixels.
    touching_border
        bool (n,), whether a component touches the mask's border.
    component_of
        One array per band of rows: each provisional label's component. Another reading of the band
        meets the labels in this order, if `reach` and `flip` are the same.
    reach, flip
        What the mask was read with, see `kernelkit.mask.sweeps`.
    """

    areas: NDArray[np.int64]
    touching_border: NDArray[np.bool_]
    component_of: list[NDArray[np.int64]]
    reach: int
    flip: np.uint64


class _BandLabels(NamedTuple):
    """The results of `sweeps.label_band`, by name."""

    parents: NDArray[np.int64]
    areas: NDArray[np.int64]
    at_side: NDArray[np.bool_]
    first_row: int
    last_labels: NDArray[np.int64]


def label(words: Words, width: int, connectivity: int, of_background: bool = False) -> Labels:
    """Find the components (`connectivity` 4 or 8) of a mask, or of its background."""
    reach = int(connectivity == 8)
    flip = _ALL_ONES if of_background else _NO_FLIP
    bands = bands_of(words)
    found = in_threads(
        lambda band: _BandLabels(*sweeps.label_band(band, width, reach, flip)),
        bands,
        pixels=len(words) * width,
    )
    offsets = np.cumsum([0, *(len(band.parents) for band in found)])
    parents = np.concatenate(
        [band.parents + start for band, start in zip(found, offsets, strict=False)]
    )
    for i in range(1, len(bands)):
        above = bands[i - 1][-1], found[i - 1].last_labels + offsets[i - 1]
        sweeps.unite_bands(*above, bands[i][0], offsets[i], width, reach, flip, parents)
    areas = np.concatenate([band.areas for band in found])
    at_border = np.concatenate([band.at_side for band in found])
    at_border[: found[0].first_row] = True
    at_border[offsets[-2] + found[-1].last_labels] = True
    count = sweeps.number_components(parents, areas, at_border)
    return Labels(
        areas[:count].copy(),
        at_border[:count].copy(),
        np.split(parents, offsets[1:-1]),
        reach,
        flip,
    )


def measure(words: Words, width: int, labels: Labels) -> Components:
    """Measure the components that `label` found in the same mask."""
    count = len(labels.areas)
    far = np.iinfo(np.int64).max
    boxes = np.tile(np.array([far, far, 0, 0], np.int64), (count, 1))
    sums = np.zeros((count, 2), np.int64)
    top = 0
    for band, component_of in zip(bands_of(words), labels.component_of, strict=True):
        sweeps.measure_band(band, width, labels.reach, labels.flip, top, component_of, boxes, sums)
        top += len(band)
    return Components(labels.areas, boxes, sums / labels.areas[:, None], labels.touching_border)


def toggle(words: Words, width: int, labels: Labels, chosen: NDArray[np.bool_]) -> Words:
    """The words with the chosen components turned off. Those of the background are turned on."""
    out = words.copy()
    if chosen.any():
        in_threads(
            lambda work: sweeps.toggle_band(
                work[0], width, labels.reach, labels.flip, work[1], chosen, work[2]
            ),
            list(zip(bands_of(words), labels.component_of, bands_of(out), strict=True)),
            pixels=len(words) * width,
        )
    return out


def bands_of(words: Words) -> list[Words]:
    """The bands of rows that are read at once, as views."""
    return [words[top : top + _ROWS_AT_ONCE] for top in range(0, len(words), _ROWS_AT_ONCE)]
