"""Dilation and erosion of packed masks by squares, 64 pixels per operation.

What lies outside of the mask never counts, as in cv2. It is off for a dilation, on for an erosion.
"""

import numpy as np

from kernelkit.mask.bits import Words, tail_mask

__all__ = ["closing", "opening"]


def opening(words: Words, width: int, radius: int) -> Words:
    """Erode, then dilate. What is narrower than 2 `radius` + 1 pixels goes."""
    return _dilate(_erode(words, width, radius), width, radius)


def closing(words: Words, width: int, radius: int) -> Words:
    """Dilate, then erode. Gaps narrower than 2 `radius` + 1 pixels are filled."""
    return _erode(_dilate(words, width, radius), width, radius)


def _dilate(words: Words, width: int, radius: int) -> Words:
    """Turn on all pixels at most `radius` (below 64) rows and columns from one that is on."""
    out = words.copy()
    reached = 0
    while reached < radius:
        # At the border only one side reaches inside. A longer step would leave a gap there.
        step = min(radius - reached, reached + 1)
        out = _spread_rows(_spread_columns(out, step), step)
        reached += step
    out[:, -1] &= tail_mask(width)
    return out


def _erode(words: Words, width: int, radius: int) -> Words:
    """Turn off all pixels at most `radius` (below 64) rows and columns from one that is off."""
    return _inverse(_dilate(_inverse(words, width), width, radius), width)


def _spread_columns(words: Words, step: int) -> Words:
    """Add all pixels moved by `step` columns, to the left and to the right."""
    inside, across = np.uint64(step), np.uint64(64 - step)
    out = words | words << inside | words >> inside
    out[:, 1:] |= words[:, :-1] >> across
    out[:, :-1] |= words[:, 1:] << across
    return out


def _spread_rows(words: Words, step: int) -> Words:
    """Add all pixels moved by `step` rows, up and down."""
    out = words.copy()
    out[step:] |= words[:-step]
    out[:-step] |= words[step:]
    return out


def _inverse(words: Words, width: int) -> Words:
    out = ~words
    out[:, -1] &= tail_mask(width)
    return out
