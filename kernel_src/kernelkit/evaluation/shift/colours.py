"""Features without a network: the colours of a picture, and how rough it is."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColourFeatures"]

_PERCENTILES = 5, 25, 50, 75, 95


class ColourFeatures:
    """Statistics of each band: its mean, its deviation, some percentiles, and its roughness.

    Roughness is the mean difference of neighbouring pixels. All of these can be named, so the
    result says what differs.

    Attributes
    ----------
    name
        What the features are, for people.
    """

    name = "colour and texture of each band"

    def prepare(self, pictures: Iterable[NDArray[np.float32]]) -> None:
        """Do nothing: no picture's features depend on other pictures."""

    def of(self, picture: NDArray[np.float32]) -> NDArray[np.float64]:
        """The features of a picture, float64 (bands * 8,).

        Parameters
        ----------
        picture
            float32 (bands, h, w).
        """
        values: list[float] = []
        for band in picture:
            rough = [
                float(np.abs(np.diff(band, axis=axis)).mean()) if band.shape[axis] > 1 else 0.0
                for axis in (0, 1)
            ]
            percentiles = np.percentile(band, _PERCENTILES)
            values += [float(band.mean()), float(band.std()), *percentiles, sum(rough) / 2]
        return np.array(values, np.float64)

    def names(self, bands: int) -> list[str]:
        """The name of each feature of a picture."""
        kinds = ("mean", "deviation", *(f"percentile {p}" for p in _PERCENTILES), "roughness")
        return [f"{kind} of band {band}" for band in range(1, bands + 1) for kind in kinds]
