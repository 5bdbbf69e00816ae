"""Dilation and erosion of packed masks by squares, 64 pixels an operation.

What lies outside the mask never counts: it is off for a dilation and on for an erosion, as in cv2.
"""

import numpy as np

from kernelkit.mask.bits import Words, tail_mask

__all__ = ["closing", "dilate", "erode", "opening"]


def dilate(words: Words, width: int, radius: int) -> Words:
    """Turn on all pixels at most `radius` (below 64) rows and columns from one that is on."""
    out = words.copy()
    reached = 0
    while reached < radius:
        # further than it reaches to one side would leave a gap at the border, which cuts the other
        step = min(radius - reached, reached + 1)
        out = _spread_rows(_spread_columns(out, step), step)
        reached += step
    out[:, -1] &= tail_mask(width)
    return out


def erode(words: Words, width: int, radius: int) -> Words:
    """Turn off all pixels at most `radius` (below 64) rows and columns from one that is off."""
    return _inverse(dilate(_inverse(words, width), width, radius), width)


def opening(words: Words, width: int, radius: int) -> Words:
    """Erode, then dilate: what is narrower than 2 `radius` + 1 pixels goes."""
    return dilate(erode(words, width, radius), width, radius)


def closing(words: Words, width: int, radius: int) -> Words:
    """Dilate, then erode: gaps narrower than 2 `radius` + 1 pixels are filled."""
    return erode(dilate(words, width, radius), width, radius)


def _spread_columns(words: Words, step: int) -> Words:
    """Every pixel also where it comes to lie when moved `step` columns left or right."""
    inside, across = np.uint64(step), np.uint64(64 - step)
    out = words | words << inside | words >> inside
    out[:, 1:] |= words[:, :-1] >> across
    out[:, :-1] |= words[:, 1:] << across
    return out


def _spread_rows(words: Words, step: int) -> Words:
    """Every pixel also where it comes to lie when moved `step` rows up or down."""
    out = words.copy()
    out[step:] |= words[:-step]
    out[:-step] |= words[step:]
    return out


def _inverse(words: Words, width: int) -> Words:
    out = ~words
    out[:, -1] &= tail_mask(width)
    return out
