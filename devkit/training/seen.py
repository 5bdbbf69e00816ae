"""What the pixels of an image have in common: equal bands, and how much of it is blank."""

import math

import numpy as np

from kernelkit.reader.foreground import foreground_mask
from kernelkit.recipe import ForegroundRule

__all__ = ["Seen", "rule_in_words"]

_COLOURS = 3
# About so many pixels of each array are looked at.
_LOOKED_AT = 1 << 14
_GLASS = ForegroundRule(rule="saturation")


class Seen:
    """What was seen of an image's pixels.

    Parameters
    ----------
    rule
        Which pixels are foreground. None counts glass as blank, and pixels that are 0.
    """

    def __init__(self, rule: ForegroundRule | None) -> None:
        self._rule = rule
        self._equal = True
        self._bands = 0
        self._zero = self._background = self._pixels = 0

    def add(self, pixels: np.ndarray) -> None:
        """Look at pixels (C, h, w), or at as many as take no time from the readers."""
        step = max(1, math.isqrt(pixels[0].size // _LOOKED_AT))
        pixels = pixels[:, ::step, ::step]
        self._bands = len(pixels)
        self._equal = self._equal and all(np.array_equal(pixels[0], band) for band in pixels[1:])
        self._pixels += pixels[0].size
        self._zero += int((pixels == 0).all(axis=0).sum())
        rule = self._rule or _GLASS
        if self._rule is not None or (len(pixels) == _COLOURS and pixels.dtype == np.uint8):
            self._background += int((~foreground_mask(pixels, rule)).sum())

    @property
    def are_equal(self) -> bool | None:
        """Whether all bands hold the same. None if there is one."""
        return self._equal if self._bands > 1 and self._pixels else None

    @property
    def blank(self) -> float | None:
        """The share of blank pixels. None if none was seen."""
        if not self._pixels:
            return None
        # grey in three bands has no saturation anywhere
        is_grey = self._rule is None and self._equal
        return (self._zero if is_grey else max(self._zero, self._background)) / self._pixels


def rule_in_words(rule: ForegroundRule | None) -> str:
    """Which pixels count as blank."""
    if rule is not None:
        return f"outside of the recipe's foreground ({rule.rule})"
    return f"0 in all bands. Of colours: a saturation of at most {_GLASS.above:g} of 255"
