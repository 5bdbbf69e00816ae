"""Masks of one ground vote, pixel by pixel, on packed words.

>>> ballot = Ballot(1, 4)
>>> for text in ("1 3", "1 2", "2 2"):
...     ballot.add(BitMask.from_rle(text, shape=(1, 4)))
>>> ballot.result(lambda voters: voters - 1).to_array()
array([[1, 1, 1, 0]], dtype=uint8)
"""

from collections.abc import Callable, Sequence

import numpy as np

from kernelkit.errors import MaskError
from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.bits import Words

__all__ = ["Ballot"]

_ROWS_AT_ONCE = 256


class Ballot:
    """The votes of masks that come one after the other.

    Each mask is counted and given back, so memory grows by the digits of their number. Ten masks
    have four binary digits, and as many for those that lack data.

    Parameters
    ----------
    height, width
        The size of all masks.
    """

    def __init__(self, height: int, width: int) -> None:
        self._empty = BitMask.zeros(height, width)
        self._voters = 0
        self._with_gaps = 0
        # how often each bit is set, in binary: one array of words per digit
        self._votes: list[Words] = []
        self._absences: list[Words] = []

    def add(self, mask: BitMask, missing: BitMask | None = None) -> None:
        """Count a mask.

        Parameters
        ----------
        missing
            Its pixels without data, which have no vote. None is a mask that votes everywhere.

        Raises
        ------
        MaskError
            The size is another one.
        """
        wanted = self._empty.shape
        for given in (mask, missing):
            if given is not None and given.shape != wanted:
                raise MaskError(
                    f"a mask of {given.shape} pixels was to vote among masks of {wanted}. "
                    "All must be of one size"
                )
        self._voters += 1
        self._grow(self._votes, self._voters)
        if missing is not None:
            self._with_gaps += 1
            self._grow(self._absences, self._with_gaps)
        for rows in self._rows():
            if missing is None:
                _count(self._votes, mask.words[rows], rows)
            else:
                _count(self._votes, mask.words[rows] & ~missing.words[rows], rows)
                _count(self._absences, missing.words[rows], rows)

    def result(self, needed: Callable[[int], int]) -> BitMask:
        """The pixels on which enough masks agree.

        Parameters
        ----------
        needed
            How many of so many voters have to be on. A result below 1 counts as 1. A pixel without
            a voter is off.

        Raises
        ------
        MaskError
            No mask voted.
        """
        if not self._voters:
            raise MaskError("no masks were to vote. Give at least one")
        result = self._empty.copy()
        for rows in self._rows():
            votes = [digit[rows] for digit in self._votes]
            absent = [digit[rows] for digit in self._absences]
            result.words[rows] = self._agreed(votes, absent, needed)
        return result

    def _agreed(
        self, votes: Sequence[Words], absent: Sequence[Words], needed: Callable[[int], int]
    ) -> Words:
        """Bits on which enough of the voters that are there agree."""
        if not any(digit.any() for digit in absent):
            return _reaches(votes, max(1, needed(self._voters)))
        agreed = np.zeros_like(votes[0])
        for missing in range(min(self._with_gaps, self._voters - 1) + 1):
            exactly = _reaches(absent, missing) & ~_reaches(absent, missing + 1)
            agreed |= exactly & _reaches(votes, max(1, needed(self._voters - missing)))
        return agreed

    def _grow(self, digits: list[Words], most: int) -> None:
        """Add a digit if a count can be so large."""
        if len(digits) < most.bit_length():
            digits.append(np.zeros_like(self._empty.words))

    def _rows(self) -> list[slice]:
        height = self._empty.height
        return [slice(top, top + _ROWS_AT_ONCE) for top in range(0, height, _ROWS_AT_ONCE)]


def _count(digits: Sequence[Words], carry: Words, rows: slice) -> None:
    """Add 1 to the count of each bit that is on."""
    for digit in digits:
        if not carry.any():
            return
        part = digit[rows]
        part[...], carry = part ^ carry, part & carry


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
