"""Masks of one ground vote, pixel by pixel, on packed words.

>>> scenes = [BitMask.from_rle(text, shape=(1, 4)) for text in ("1 3", "1 2", "2 2")]
>>> vote(scenes, lambda voters: voters - 1).to_array()
array([[1, 1, 1, 0]], dtype=uint8)
"""

from collections.abc import Callable, Sequence

import numpy as np

from kernelkit.errors import MaskError
from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.bits import Words

__all__ = ["vote"]

_ROWS_AT_ONCE = 256


def vote(
    masks: Sequence[BitMask],
    needed: Callable[[int], int],
    missing: Sequence[BitMask | None] | None = None,
) -> BitMask:
    """The pixels on which enough masks agree.

    Parameters
    ----------
    masks
        One or more, all of one size.
    needed
        How many of so many voters have to be on. A result below 1 counts as 1.
    missing
        The pixels of each mask that have no data there, and so no vote. None is a mask that votes
        everywhere. A pixel without a voter is off.

    Raises
    ------
    MaskError
        There is no mask, or the sizes differ.
    """
    if not masks:
        raise MaskError("no masks were to vote. Give at least one")
    absent = [None] * len(masks) if missing is None else list(missing)
    given = [*masks, *(mask for mask in absent if mask is not None)]
    if different := [mask.shape for mask in given if mask.shape != masks[0].shape]:
        raise MaskError(
            f"masks of {masks[0].shape} and {different[0]} pixels were to vote. "
            "All must be of one size"
        )
    result = BitMask.zeros(*masks[0].shape)
    for top in range(0, result.height, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        votes, absences = [], []
        for mask, lacking in zip(masks, absent, strict=True):
            away = None if lacking is None else lacking.words[rows]
            votes.append(mask.words[rows] if away is None else mask.words[rows] & ~away)
            absences += [] if away is None or not away.any() else [away]
        result.words[rows] = _agreed(votes, absences, needed)
    return result


def _agreed(
    votes: Sequence[Words], absences: Sequence[Words], needed: Callable[[int], int]
) -> Words:
    """Bits on which enough of the voters that are there agree."""
    count = _count(votes)
    if not absences:
        return _reaches(count, max(1, needed(len(votes))))
    absent = _count(absences)
    agreed = np.zeros_like(votes[0])
    for missing in range(min(len(absences), len(votes) - 1) + 1):
        exactly = _reaches(absent, missing) & ~_reaches(absent, missing + 1)
        agreed |= exactly & _reaches(count, max(1, needed(len(votes) - missing)))
    return agreed


def _count(words: Sequence[Words]) -> list[Words]:
    """How often each bit is set, in binary: one array of words per digit."""
    digits: list[Words] = []
    for carry in words:
        for place, digit in enumerate(digits):
            digits[place], carry = digit ^ carry, digit & carry
        if len(digits) < len(words).bit_length():
            digits.append(carry)
    return digits


def _reaches(digits: Sequence[Words], at_least: int) -> Words:
    """Bits whose count is at least that."""
    above = np.zeros_like(digits[0])
    if at_least >> len(digits):
        return above
    equal = ~above
    for place in reversed(range(len(digits))):
        if at_least >> place & 1:
            equal &= digits[place]
        else:
            above |= equal & digits[place]
            equal &= ~digits[place]
    return above | equal
