"""Labels at another size: each new pixel has the share of its area that is labelled.

Both axes are resampled by matrices of overlaps, so the result is exact for any two sizes.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["overlaps", "resampled"]


def overlaps(edges: NDArray[np.float64], first: int, count: int) -> NDArray[np.float32]:
    """The share of each interval that each pixel covers, along one axis.

    Parameters
    ----------
    edges
        Ascending. Interval `i` goes from `edges[i]` to `edges[i + 1]`, in pixels.
    first, count
        The pixels.

    Returns
    -------
    float32 (len(edges) - 1, count). A row of pixels that hold all of the interval sums to 1.

    >>> overlaps(np.array([0.0, 1.5, 3.0]), 0, 3).round(2).tolist()
    [[0.6700000166893005, 0.33000001311302185, 0.0], [0.0, 0.33000001311302185, 0.6700000166893005]]
    """
    starts, stops = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    pixels = np.arange(first, first + count)
    common = np.minimum(stops, pixels + 1) - np.maximum(starts, pixels)
    return (np.maximum(common, 0) / (stops - starts)).astype(np.float32)


def resampled(
    planes: NDArray[np.uint8], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The weighted sum of pixels (K, H, W) by weights (h, H) and (w, W), so (K, h, w)."""
    return np.stack([rows @ plane.astype(np.float32) @ columns.T for plane in planes])
