"""Random maps of probabilities for the tests of the search, and how the slow way scores them."""

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

from kernelkit.vocabulary import Connectivity, Keep
from tests.made import masks

__all__ = ["brute_force", "byte_maps", "masks"]


@st.composite
def byte_maps(draw: st.DrawFn, most: int = 24, classes: int = 1) -> np.ndarray:
    """uint8 (classes, height, width): noise, or smooth hills, of few values or of many."""
    height, width = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hills = rng.random((classes, height, width))
    if draw(st.booleans()):
        hills = ndimage.gaussian_filter(hills, (0, 2, 2))
        hills = (hills - hills.min()) / max(float(np.ptp(hills)), 1e-9)
    values = draw(st.sampled_from([2, 5, 256]))
    return np.floor(hills * (values - 1e-6)).astype(np.uint8) * np.uint8(255 // (values - 1))


def brute_force(
    is_on: np.ndarray, truth: np.ndarray, size: float, keep: Keep, connectivity: Connectivity
) -> tuple[int, int]:
    """What is left of one mask without its small components, and what of that is true."""
    labels, count = ndimage.label(is_on, np.ones((3, 3)) if connectivity == 8 else None)
    left = np.zeros(is_on.shape, bool)
    for number in range(1, count + 1):
        component = labels == number
        area = component.sum()
        if area > size or (keep == ">=" and area == size):
            left |= component
    return int(left.sum()), int((left & truth.astype(bool)).sum())
