"""What is counted in a window: its target, its data, and the values of its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.slide.pixels import CV2_DTYPES
from kernelkit.training.cuts.image import CutImage

__all__ = ["WindowNumbers", "count"]


@dataclass(frozen=True, slots=True)
class WindowNumbers:
    """What was counted in a window.

    Attributes
    ----------
    class_shares
        The share of the window that is of each class.
    target_share
        The share that is of any class.
    held_share
        The share that holds data.
    mean, std
        Of the values of all bands that hold data.
    dark_shares
        The share of the pixels with data whose mean over the bands is below each limit.
    """

    class_shares: tuple[float, ...]
    target_share: float
    held_share: float
    mean: float
    std: float
    dark_shares: Mapping[float, float] = field(default_factory=dict)


def count(image: CutImage, window: Window, limits: Sequence[float]) -> WindowNumbers:
    """Count what a window holds.

    Parameters
    ----------
    limits
        Below which pixels are dark.
    """
    pixels, labels, held = image.read(window)
    shares = tuple(float(plane.mean()) / 255 for plane in labels)
    of_any = shares[0] if len(shares) == 1 else float(labels.max(axis=0).mean()) / 255
    held_share = 1.0 if held is None else float(held.mean())
    mean, std = _mean_and_std(pixels, held)
    dark = {limit: _share_below(pixels, held, limit) for limit in limits}
    return WindowNumbers(shares, of_any, held_share, mean, std, dark)


def _mean_and_std(pixels: np.ndarray, held: NDArray[np.bool_] | None) -> tuple[float, float]:
    """Of all bands together. Without any data both are 0."""
    if held is not None and not held.any():
        return 0.0, 0.0
    if pixels.dtype not in CV2_DTYPES:
        values = pixels.reshape(-1) if held is None else pixels[:, held]
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    mask = None if held is None else held.astype(np.uint8)
    found = [cv2.meanStdDev(band, mask=mask) for band in pixels]
    means = np.array([float(mean[0, 0]) for mean, _ in found])
    spreads = np.array([float(std[0, 0]) for _, std in found])
    # the variance of equally many values is that within bands and that between them
    return float(means.mean()), float(np.sqrt((spreads**2).mean() + means.var()))


def _share_below(pixels: np.ndarray, held: NDArray[np.bool_] | None, limit: float) -> float:
    """The share of the pixels whose mean over the bands is below a limit."""
    total = np.uint32 if pixels.dtype.kind == "u" and pixels.itemsize < 4 else np.float64
    below = pixels.sum(axis=0, dtype=total) < limit * len(pixels)
    if held is None:
        return float(below.mean())
    return float(below[held].mean()) if held.any() else 0.0
