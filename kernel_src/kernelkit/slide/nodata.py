"""Which pixels hold the value that means "nothing was measured here"."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["both_hold", "holds", "holds_nodata"]

# Two values of a float dtype are the same nodata value within this share.
_SAME_VALUE = 1e-6


def holds_nodata(
    pixels: np.ndarray, values: Sequence[float | None], every: bool
) -> np.ndarray | None:
    """Return where the bands of pixels (C, h, w) hold their nodata value: all of them, or any.

    None if no band has such a value.
    """
    hits = None
    for band, value in zip(pixels, values, strict=True):
        if value is not None:
            hits = _merged(hits, holds(band, value), every)
    return hits


def _merged(one: np.ndarray | None, other: np.ndarray, every: bool) -> np.ndarray:
    if one is None:
        return other
    return one & other if every else one | other


def both_hold(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """Return where two parts of an image hold nodata. None stands for nowhere."""
    return None if one is None or other is None else one & other


def holds(pixels: np.ndarray, value: float) -> np.ndarray:
    """Return where pixels (h, w) hold a nodata value. NaN is found among those not finite."""
    if not math.isfinite(value):
        return np.zeros(pixels.shape, bool)
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            wanted = pixels.dtype.type(value)
        if not np.isfinite(wanted):
            return np.zeros(pixels.shape, bool)
        near = np.abs(pixels - wanted) <= abs(wanted) * pixels.dtype.type(_SAME_VALUE)
        return np.asarray(near)
    limits = np.iinfo(pixels.dtype)
    if value != int(value) or not limits.min <= value <= limits.max:
        return np.zeros(pixels.shape, bool)
    return np.asarray(pixels == pixels.dtype.type(int(value)))
