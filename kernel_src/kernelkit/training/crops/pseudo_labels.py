"""`PseudoLabels`: what networks found in an image, as labels of its crops."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window

if TYPE_CHECKING:
    from kernelkit.training.cuts import CutImage

__all__ = ["PseudoLabels"]

_ON, _HALF = np.uint8(255), 127


@dataclass(frozen=True)
class PseudoLabels:
    """What was found in an image, as labels of its crops.

    Attributes
    ----------
    image
        The image, cut with what was found as its labels.
    soft
        Whether probabilities are labels as they are. If not, they are decided at one half.
    least
        A pixel counts if each class is so sure to be there, or not to be. None counts all.
    """

    image: "CutImage"
    soft: bool
    least: float | None

    def read_labels(self, window: Window) -> NDArray[np.uint8]:
        """The labels of a window, (K, height, width)."""
        found = self.image.read_labels(window)
        return found if self.soft else np.where(found > _HALF, _ON, np.uint8(0))

    def read_held(self, window: Window) -> NDArray[np.bool_] | None:
        """Which pixels are sure enough, (height, width)."""
        if self.least is None:
            return None
        found = self.image.read_labels(window)
        sure: NDArray[np.bool_] = (np.maximum(found, _ON - found) >= _ON * self.least).all(axis=0)
        return sure
