"""A conditional random field (CRF) that smooths a finished mask, as salt's solution used it.

Krähenbühl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials"
(2011). Here only the distance counts between two pixels, not their colours. So the mean field is a
Gaussian blur.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import MaskError
from kernelkit.grid import Window
from kernelkit.mask import BitMask

__all__ = ["crf"]

# The side of the squares in which a large mask is smoothed.
_SIDE = 2048
# So many standard deviations of the Gaussian count. Beyond them lies .006 % of it.
_DEVIATIONS = 4
# In pixels. So far may pixels act on each other, which bounds the memory of one square.
_FARTHEST = 2048


def crf(
    mask: BitMask, *, sigma: float = 3, compat: float = 3, p: float = 0.7, steps: int = 10
) -> BitMask:
    """Smooth a mask by the mean field of a fully connected CRF of two labels.

    It is pydensecrf's `unary_from_labels`, `addPairwiseGaussian` and `inference`, with exact
    Gaussian sums. An all-on mask stays on and an empty one empty.

    Parameters
    ----------
    sigma
        Standard deviation of the Gaussian in pixels, pydensecrf's `sxy`.
    compat
        The weight of the neighbours, pydensecrf's `compat`.
    p
        The probability that a pixel of the mask is right, pydensecrf's `gt_prob`.
    steps
        Updates of the mean field.

    Raises
    ------
    MaskError
        A value cannot be meant, or pixels would act on each other over too great a distance.
    """
    field = _MeanField(sigma, compat, p, steps)
    field.check()
    bounds = Window(0, 0, *mask.shape)
    weights = field.weights(mask.height), field.weights(mask.width)
    result = BitMask.zeros(*mask.shape)
    for core in _squares(bounds):
        around = _grown(core, field.reach).intersection(bounds)
        before = mask.crop(*around)
        if before.area in (0, around.area):  # nothing near it differs, so it stays as it is
            smoothed = before
        else:
            rows, cols = around.slices
            on = field.smooth(before.to_array(), np.outer(weights[0][rows], weights[1][cols]))
            smoothed = BitMask.from_array(on)
        result.paste(core.row, core.col, smoothed.crop(*core.relative_to(around)))
    return result


@dataclass(frozen=True)
class _MeanField:
    """The field of one mask: the arguments of `crf`, and what follows from them."""

    sigma: float
    compat: float
    p: float
    steps: int

    def check(self) -> None:
        """Raise `MaskError` for values that cannot be meant."""
        for name, value, least, most in (
            ("sigma", self.sigma, 0.1, _FARTHEST),
            ("compat", self.compat, 0, 1e6),
            ("steps", self.steps, 1, _FARTHEST),
        ):
            if not least <= value <= most:
                raise MaskError(f"found {name} {value!r:.60}, wanted {least:g} to {most:g}")
        if not 0.5 < self.p < 1:
            raise MaskError(f"found p {self.p!r:.60}, wanted more than 0.5 and less than 1")
        if self.steps != int(self.steps):
            raise MaskError(f"found steps {self.steps!r:.60}, wanted a whole number")
        if self.reach > _FARTHEST:
            raise MaskError(
                f"found sigma {self.sigma:g} with {self.steps} steps, by which pixels act on each "
                f"other over {self.reach} pixels. At most {_FARTHEST} fit into memory. Choose "
                f"steps of at most {_FARTHEST // self.radius}"
            )

    @property
    def radius(self) -> int:
        """Over how many pixels a pixel acts on others in one step."""
        return math.ceil(_DEVIATIONS * self.sigma)

    @property
    def reach(self) -> int:
        """Over how many pixels a pixel acts on others in all steps."""
        return self.radius * int(self.steps)

    @cached_property
    def kernel(self) -> NDArray[np.float32]:
        """The Gaussian, whose sum is 1."""
        distances = np.arange(-self.radius, self.radius + 1)
        gaussian = np.exp(-(distances**2) / (2 * self.sigma**2))
        return (gaussian / gaussian.sum()).astype(np.float32)

    def weights(self, side: int) -> NDArray[np.float32]:
        """pydensecrf's symmetric normalisation along one side: 1 / sqrt(sum of the Gaussian)."""
        sums = np.convolve(np.ones(side), self.kernel)[self.radius : self.radius + side]
        return (1 / np.sqrt(sums)).astype(np.float32)

    def smooth(self, on: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where label 1 wins in the end.

        With two labels the field is one number per pixel. That is the probability of label 1 less
        that of label 0, the hyperbolic tangent of half the logit.
        """
        unary = (2 * on.astype(np.float32) - 1) * np.float32(math.log(self.p / (1 - self.p)))
        logits = unary
        for _ in range(int(self.steps)):
            difference = np.tanh(logits / 2) * weights
            logits = unary + np.float32(self.compat) * weights * self._blurred(difference)
        return logits > 0

    def _blurred(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gaussian sums. What lies outside of the array counts as 0."""
        blurred = cv2.sepFilter2D(
            values, cv2.CV_32F, self.kernel, self.kernel, borderType=cv2.BORDER_CONSTANT
        )
        return np.asarray(blurred)


def _squares(bounds: Window) -> Iterator[Window]:
    """Squares that partition a mask."""
    for row in range(0, bounds.height, _SIDE):
        for col in range(0, bounds.width, _SIDE):
            yield Window(row, col, _SIDE, _SIDE).intersection(bounds)


def _grown(window: Window, by: int) -> Window:
    """The window and so many pixels on each of its sides."""
    return Window(window.row - by, window.col - by, window.height + 2 * by, window.width + 2 * by)
