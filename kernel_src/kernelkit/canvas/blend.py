"""How much each of several overlapping tiles counts at a pixel: windows that add up to 1.

A blend is a product of two windows, one along the rows and one along the columns, so its weights
are kept as one vector a tile and axis. They are divided by their sum over all tiles that cover a
pixel, at the image's border too, where there may be only one: nothing fades out there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import GridError
from kernelkit.vocabulary import Blend

__all__ = ["AxisWeights", "axis_weights", "window"]


def window(blend: Blend, size: int) -> NDArray[np.float64]:
    """Weights of a tile's `size` pixels along one axis, positive and symmetric, 1 at the most.

    Sampled at the pixels' centres, `t = (i + 1/2) / size`, so that none is 0:

    `crop`, `mean`  1
    `linear`        1 - |2 t - 1|, a pyramid's edge
    `hann`          sin^2(pi t)
    `gaussian`      exp(-(t - 1/2)^2 / (2 sigma^2)), sigma = 1/8, as MONAI and deepflash2 have it
    """
    t = (np.arange(size) + 0.5) / size
    match blend:
        case "crop" | "mean":
            return np.ones(size)
        case "linear":
            return 1 - np.abs(2 * t - 1)
        case "hann":
            return np.sin(np.pi * t) ** 2
        case "gaussian":
            return np.exp(-((t - 0.5) ** 2) / (2 * 0.125**2))
    raise GridError(
        f'there is no blend {blend!r}; choose "crop", "mean", "linear", "hann" or "gaussian".'
    )


@dataclass(frozen=True, slots=True)
class AxisWeights:
    """The tiles along one axis of an image of `length` pixels: what counts of each, and how much.

    Tile `i` counts in image pixels [starts[i], stops[i]), which are its own pixels from
    `offsets[i]` on, with `weights[i, : stops[i] - starts[i]]`; at every image pixel the weights of
    all tiles add up to 1.
    """

    length: int
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    offsets: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def longest(self) -> int:
        """The most pixels that count of any tile."""
        return self.weights.shape[1]

    def complete(self, tiles: int) -> int:
        """How many pixels are covered by none but the first `tiles` tiles."""
        return int(self.starts[tiles]) if tiles < len(self.starts) else self.length

    def covering(self, start: int, stop: int) -> range:
        """The tiles that count somewhere in [start, stop)."""
        first = int(np.searchsorted(self.stops, start, side="right"))
        return range(first, int(np.searchsorted(self.starts, stop, side="left")))


def axis_weights(
    blend: Blend, length: int, size: int, reads: Sequence[int], cores: Sequence[tuple[int, int]]
) -> AxisWeights:
    """Weigh the tiles of one axis.

    `reads` are the first pixels of the tiles' read windows, each `size` long, and `cores` the
    (start, stop) of their cores. With `crop` only cores count, else all that lies in the image.
    """
    first = np.asarray(reads, np.int64)
    if blend == "crop":
        starts, stops = np.asarray(cores, np.int64).T
    else:
        starts, stops = np.maximum(first, 0), np.minimum(first + size, length)
    offsets = starts - first
    shape = window(blend, size)
    total = np.zeros(length)
    spans = list(zip(starts, stops, offsets, strict=True))
    for start, stop, offset in spans:
        total[start:stop] += shape[offset : offset + stop - start]
    weights = np.zeros((len(first), int((stops - starts).max())), np.float32)
    for row, (start, stop, offset) in zip(weights, spans, strict=True):
        row[: stop - start] = shape[offset : offset + stop - start] / total[start:stop]
    return AxisWeights(length, starts.copy(), stops.copy(), offsets, weights)
